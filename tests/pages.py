"""The pages that users read: their fences, in order, and the commands in them."""

import re
from pathlib import Path
from typing import List, NamedTuple

PROJECT = Path(__file__).parents[1]
DOCS = PROJECT / "docs"

_FENCE = re.compile(
    r"(?:<!-- not run: (?P<why>.+?) -->\n)?^```(?P<language>\S+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


class Fence(NamedTuple):
    """language: what stands behind the backquotes. why: the reason that it is not run, or ''."""

    language: str
    text: str
    why: str

    @property
    def commands(self) -> List[str]:
        """The lines of a shell fence, those that go on in the next one joined."""
        lines = self.text.replace("\\\n", " ").splitlines() if self.language == "sh" else []
        return [line for line in lines if line.strip()]


def fences(page: Path) -> List[Fence]:
    """The fences of a page."""
    text = page.read_text(encoding="utf-8")
    return [Fence(found["language"], found["text"], found["why"] or "") for found in _FENCE.finditer(text)]


def english_pages() -> List[Path]:
    """README and every page of the site that also exists in Chinese."""
    return [PROJECT / "README.md", *(page for page in sorted(DOCS.rglob("*.md")) if chinese_of(page).exists())]


def chinese_of(page: Path) -> Path:
    """The Chinese page beside an English one."""
    suffix = ".zh-CN.md" if page.name == "README.md" else ".zh.md"
    return page.with_name(page.name[: -len(".md")] + suffix)


def name_of(page: Path) -> str:
    """A page's path in the project."""
    return page.relative_to(PROJECT).as_posix()
