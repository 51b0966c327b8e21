"""The viewer as a file."""

import base64
import gzip
import json
import os
import re
import subprocess
import sys
import time
from html import unescape

import numpy as np
import pytest

from featscope import open_run
from featscope.cli import main
from featscope.errors import FeatscopeWarning, UnknownNameError
from featscope.viewer import notebook, report
from featscope.viewer.answers import Viewer
from featscope.viewer.page import static_files
from featscope.viewer.report import Frozen, page_with, question, write_report

IMPORT_MAP = re.compile(r'<script type="importmap">(.*?)</script>', re.DOTALL)
HELD = re.compile(
    r'<script type="application/json" id="featscope-answers" data-beside="(\w+)">(.*?)</script>', re.DOTALL
)


def held(text):
    return {key: gzip.decompress(base64.b64decode(value)) for key, value in json.loads(HELD.search(text)[2]).items()}


def test_a_question_has_one_key_however_it_is_asked():
    assert question("map", run=0, sample=3, group=1, level=0, reduce="auto")[0] == "map?group=1&sample=3"
    assert question("map", level=0, group=1, sample=3)[0] == "map?group=1&sample=3"
    assert question("map", reduce="channel:3", group=10)[0] == "map?group=10&reduce=channel%3A3"
    assert question("channels", size=32, by="peak")[0] == question("channels", size=64)[0] == "channels?"


def test_the_page_holds_the_answers_of_the_viewer(two_samples, tmp_path):
    viewer = Viewer([two_samples])
    written = write_report(Frozen(viewer, ["mean"]), tmp_path / "out" / "report.html")
    text = written.page.read_text(encoding="utf-8")
    assert (written.samples, written.maps, written.bytes) == (2, 8, len(text.encode()))
    answers = held(text)
    for sample in "01":
        for level in "01":
            for reduce in ("auto", "mean"):
                query = {"sample": sample, "level": level, "reduce": reduce}
                assert answers[question("map", run=0, group=0, **query)[0]] == viewer.answer("map", query).body
    assert answers["image?"] == viewer.answer("image", {}).body
    assert "image?sample=1" not in answers  # it has none
    assert answers["ranks?order=energy"] == viewer.answer("ranks", {"order": "energy"}).body
    about = json.loads(answers["about?"])
    assert about["reductions"] == ["auto", "mean", "channel"]


def test_only_what_was_chosen_is_held(two_samples, tmp_path):
    frozen = Frozen(Viewer([two_samples], ["neck"], "photo"), channels=False)
    answers = held(write_report(frozen, tmp_path / "report.html").page.read_text(encoding="utf-8"))
    assert json.loads(answers["samples?"])["ids"] == ["photo"]
    assert sorted(answers) == [*("about?", "image?", "map?", "map?level=1", "misses?", "sample?", "samples?", "thumb?")]


def test_the_size_said_beforehand_is_about_right(tmp_path):
    from featscope.records import CapturedMap, RunInfo, Sample
    from featscope.store.writer import RunWriter

    writer = RunWriter(tmp_path / "run", RunInfo(model="Toy"))
    writer.put_sample(Sample("a"), None)
    array = np.random.default_rng(0).normal(size=(1, 256, 128, 128)).astype(np.float32)
    writer.put(CapturedMap("neck", "FPN", "", 0, 0, 0, ["a"], "neck.fpn"), array)
    writer.close()
    frozen = Frozen(Viewer([tmp_path / "run"]))
    assert 0.7 < write_report(frozen, tmp_path / "r.html").bytes / frozen.estimate() < 1.3


def test_a_large_report_is_a_folder_with_a_script_a_sample(two_samples, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "LARGEST_FILE", 1000)
    written = write_report(Frozen(Viewer([two_samples])), tmp_path / "report.html")
    assert written.page == tmp_path / "report" / "index.html"
    text = written.page.read_text(encoding="utf-8")
    assert HELD.search(text)[1] == "yes"
    assert sorted(held(text)) == ["about?", "misses?", "samples?", "thumb?"]
    script = (tmp_path / "report" / "samples" / "0-1.js").read_text(encoding="utf-8")
    own = json.loads(script[len("featscopeAnswers.add(") : -2])
    assert "map?level=1&sample=1" in own


def test_every_module_of_the_page_finds_those_that_it_imports():
    text = page_with({})
    modules = json.loads(IMPORT_MAP.search(text)[1])["imports"]
    assert set(modules) == {f"featscope/{name}" for name in static_files() if name.endswith(".js")}
    for name, address in modules.items():
        code = base64.b64decode(address.partition(",")[2]).decode()
        assert not re.search(r"""from\s*['"]\.""", code), name
        for imported in re.findall(r"""(?m)^(?:import|export)\b[^'";]*?\bfrom\s*['"]([^'"]+)""", code):
            assert imported in modules, (name, imported)


def test_names_from_files_cannot_end_the_script_that_holds_them():
    text = page_with({"</script><img src=x onerror=alert(1)>": "x"})
    assert text.count("</script>") == page_with({}).count("</script>")
    assert "<img" not in text


def test_a_map_that_cannot_be_read_is_named_and_the_others_are_held(two_samples, tmp_path, capsys):
    path = two_samples / "neck.fpn" / "batch_1_layer_1.npy"
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(SystemExit) as ended:
        main(["report", str(two_samples), "-o", str(tmp_path / "report.html")])
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert "batch_1_layer_1.npy is truncated" in said.err
    assert "3 maps of 2 samples" in said.out
    assert "map?level=1&sample=1" not in held((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_the_command_says_what_it_left_out(two_samples, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["report", str(two_samples), "-o", str(tmp_path / "report.html"), "--max-samples", "1"])
    assert ended.value.code == 0
    said = capsys.readouterr()
    assert "1 of 2 samples; choose them with --sample" in said.err
    assert "2 maps of 1 sample" in said.out


def test_a_notebook_shows_the_page(two_samples, tmp_path):
    view = open_run(two_samples).view(sample="photo", layer="neck", height=500)
    assert repr(view) == f"<View of 2 maps of 1 sample of {two_samples}; a notebook shows it>"
    shown = view._repr_html_()
    assert shown.startswith('<iframe srcdoc="')
    assert "height:500px" in shown
    page = unescape(shown.partition('srcdoc="')[2].partition('" style="')[0])
    assert json.loads(held(page)["samples?"])["ids"] == ["photo"]
    assert view.save(tmp_path / "view.html").read_text(encoding="utf-8") == page
    with pytest.raises(UnknownNameError, match="layer 'nick'"):
        open_run(two_samples).view(layer="nick")


def test_a_report_has_the_same_bytes_in_every_process(two_samples, tmp_path):
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "featscope", "report", str(two_samples), "-o", str(tmp_path / f"{seed}.html")]
        subprocess.run(command, env=dict(os.environ, PYTHONHASHSEED=seed), check=True, capture_output=True)
        time.sleep(1.1 if seed == "1" else 0)  # the head of gzip holds seconds
    assert (tmp_path / "1.html").read_bytes() == (tmp_path / "2.html").read_bytes()


@pytest.mark.parametrize("name", ["out", "there"])
def test_a_folder_gets_a_page(two_samples, tmp_path, name):
    (tmp_path / "there").mkdir()
    written = write_report(Frozen(Viewer([two_samples])), tmp_path / name)
    assert written.page == tmp_path / name / "index.html"


def test_a_reduction_that_the_page_cannot_show(two_samples, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["report", str(two_samples), "-r", "pca", "-o", str(tmp_path / "r.html")])
    assert ended.value.code
    assert "reduction 'pca'" in capsys.readouterr().err


def test_a_notebook_names_what_it_lacks_and_holds_no_huge_page(two_samples, monkeypatch):
    path = two_samples / "neck.fpn" / "batch_1_layer_1.npy"
    path.write_bytes(path.read_bytes()[:150])
    assert "batch_1_layer_1.npy is truncated" in open_run(two_samples).view()._repr_html_()
    with pytest.warns(FeatscopeWarning, match="batch_1_layer_1"):
        open_run(two_samples).view().save(two_samples.parent / "view.html")
    monkeypatch.setattr(notebook, "LARGEST_FILE", 1000)
    assert "Choose fewer samples" in open_run(two_samples).view()._repr_html_()
