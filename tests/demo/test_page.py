"""The demo's page: names of files and layers are text in it, and every link leads to a picture."""

import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest

from featscope.demo.page import write_page
from featscope.records import CapturedMap, RunInfo, Sample
from featscope.store.feature_maps import feature_maps
from featscope.store.reader import open_run
from featscope.store.writer import RunWriter

NAMES = [
    "<script>alert(1)<", "<img src=x onerror=alert(1)>", "' onload='alert(1)", '" onload="alert(1)', "&lt;b&gt;",
    "javascript:alert(1)", "%2e%2e%2f", "a?b#c", "\x1b[31mred", "船", "byte \udce4",
]  # fmt: skip


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.links += [value for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data):
        self.text += data


@pytest.mark.skipif(os.name == "nt", reason="Windows has no files of such names")
@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_text_and_its_links_lead_to_its_pictures(tmp_path, name):
    plain = _tags(tmp_path / "plain", "harbour")
    folder = tmp_path / name
    assert _tags(folder, name) == plain, "nothing in a name is a tag or an attribute"
    page = _Page((folder / "index.html").read_text(encoding="utf-8"))
    assert name.encode(errors="backslashreplace").decode() in page.text
    for link in page.links:
        assert Path(os.fsdecode(os.path.join(os.fsencode(folder), unquote_to_bytes(link)))).is_file()


def _tags(folder, name):
    """The tags of the page of a run whose every name is this one."""
    writer = RunWriter(folder / "run", RunInfo(model=name))
    writer.put_sample(Sample(name))
    writer.put(CapturedMap(name, name, name, 0, 0, 0, [name], name.replace("\udce4", "")), np.zeros((1, 1, 2, 2)))
    writer.close()
    run = open_run(folder / "run")
    pictures = [folder / "detections" / f"{name}.png"]
    for kind, end in (("heat", "_overlay.png"), ("render", ".png")):
        pictures += [folder / "run" / kind / m.folder / f"{one.stem}{end}" for m in run.maps for one in feature_maps(m)]
    for picture in pictures:
        picture.parent.mkdir(parents=True)
        picture.write_bytes(b"")
    return _Page(write_page(folder, run, pictures[:1]).read_text(encoding="utf-8")).tags
