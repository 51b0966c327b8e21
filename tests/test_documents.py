"""What users read is true: its commands parse, are equal in both languages, and its names and files exist.

The commands themselves run in tests/integration/test_pages.py.
"""

import ast
import re
import shlex

import numpy as np
import pages
import pytest
import typer.main
from pages import DOCS, PROJECT

import featscope
from featscope.arrays.normalise import RANGES
from featscope.arrays.reduce import REDUCTIONS
from featscope.cli import app
from featscope.explaining.methods import METHODS
from featscope.render.heat import STYLES

COMMANDS = typer.main.get_command(app).commands
BOTH = pages.english_pages()
SITE = sorted(DOCS.rglob("*.md"))


def typed(page):
    """The featscope commands of a page: in its fences, and behind torchrun."""
    for fence in pages.fences(page):
        for line in fence.commands:
            words = shlex.split(line, comments=True)
            for start, word in enumerate(words):
                if word == "featscope" and (start == 0 or words[start - 1] == "-m"):
                    yield words[start + 1 :]
                    break


@pytest.mark.parametrize("page", BOTH, ids=pages.name_of)
def test_commands_and_code_are_equal_in_both_languages(page):
    ours = [(fence.language, fence.text) for fence in pages.fences(page)]
    theirs = [(fence.language, fence.text) for fence in pages.fences(pages.chinese_of(page))]
    assert theirs == ours


@pytest.mark.parametrize("page", BOTH, ids=pages.name_of)
def test_inline_commands_and_options_are_equal_in_both_languages(page):
    def inline(one):
        prose = re.sub(r"```.*?```", "", one.read_text(encoding="utf-8"), flags=re.DOTALL)
        return {code for code in re.findall(r"`([^`\n]+)`", prose) if code.startswith(("-", "featscope"))}

    assert inline(pages.chinese_of(page)) == inline(page)


def test_every_page_for_users_is_there_in_both_languages():
    wanted = {"index", "first-steps", "concepts", "methods", "gallery", "file-format", "command-line", "cluster"}
    wanted |= {"extend", "api"} | {
        f"guides/{page.stem}" for page in (DOCS / "guides").glob("*.md") if ".zh" not in page.name
    }
    assert wanted <= {page.relative_to(DOCS).with_suffix("").as_posix() for page in BOTH[1:]}


@pytest.mark.parametrize("page", [*BOTH, PROJECT / "CONTRIBUTING.md"], ids=pages.name_of)
def test_the_commands_parse(page):
    for verb, *arguments in typed(page):
        if verb.startswith("--"):
            assert verb in ("--install-completion", "--version")
            continue
        command = COMMANDS[verb]
        with command.make_context(verb, list(arguments), resilient_parsing=False) as context:
            assert context.params


def test_a_wrong_option_does_not_parse():
    with pytest.raises(Exception, match="No such option"):
        COMMANDS["heat"].make_context("heat", ["runs/s2anet", "--no-such-option"])


@pytest.mark.parametrize("page", [PROJECT / "README.md", PROJECT / "README.zh-CN.md"], ids=pages.name_of)
def test_the_readme_is_one_screen_and_its_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 75
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    assert len(targets) > 10
    assert [target for target in targets if not (PROJECT / target).exists()] == []


@pytest.mark.parametrize("page", BOTH, ids=pages.name_of)
def test_python_code_parses_and_its_names_exist(page):
    for fence in pages.fences(page):
        if fence.language != "python":
            continue
        for node in ast.walk(ast.parse(fence.text)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "featscope":
                assert node.attr in featscope.__all__
            if isinstance(node, ast.ImportFrom) and node.module == "featscope":
                assert {alias.name for alias in node.names} <= set(featscope.__all__)


@pytest.mark.parametrize("page", [*SITE, PROJECT / "CONTRIBUTING.md"], ids=pages.name_of)
def test_files_of_the_project_that_a_page_names_exist(page):
    named = re.findall(r"`((?:src|tests|tools|examples|benchmarks)/[\w./-]+)`", page.read_text(encoding="utf-8"))
    named = [name for name in named if name != "tools/test.py"]  # OpenMMLab's
    assert [name for name in named if not (PROJECT / name).exists()] == []


def test_the_tests_that_the_page_of_proofs_names_exist():
    text = (DOCS / "truth.md").read_text(encoding="utf-8")
    sources = {
        path.relative_to(PROJECT / "tests").as_posix(): path.read_text(encoding="utf-8")
        for path in (PROJECT / "tests").rglob("*.py")
    }
    everything = "".join(sources.values())
    named = re.findall(r"`((?:[\w]+/)*test_\w+\.py)?(?:::(\w+))?`", text)
    assert len([one for one in named if any(one)]) > 80
    missing = [
        f"{file}::{test}"
        for file, test in named
        if (file and file not in sources)
        or (test and not re.search(rf"(def|class) {test}\b", sources.get(file, everything)))
    ]
    assert missing == []


@pytest.mark.parametrize("language", ["", ".zh"])
def test_the_example_of_a_reduction_adds_one(monkeypatch, language):
    from featscope.arrays import reduce as module

    monkeypatch.setattr(module, "REDUCTIONS", dict(REDUCTIONS))
    (code,) = [one.text for one in pages.fences(DOCS / f"extend{language}.md") if "_median" in one.text]
    exec(code, {**vars(module)})
    channels = np.array([0.0, 1.0, 9.0]).reshape(3, 1, 1)  # their mean is another number
    assert module.reduce(channels, "median").tolist() == [[1.0]]
    assert module.words_of("median") == "median of the channels"


@pytest.mark.parametrize("language", ["", ".zh"])
@pytest.mark.parametrize(
    "table", [REDUCTIONS, RANGES, STYLES, METHODS], ids=["reductions", "ranges", "styles", "methods"]
)
def test_the_page_of_methods_has_every_name(table, language):
    text = (DOCS / f"methods{language}.md").read_text(encoding="utf-8")
    assert [name for name in table if f"`{name}`" not in text] == []


@pytest.mark.parametrize("language", ["", ".zh"])
def test_the_page_of_commands_has_every_command(language):
    text = (DOCS / f"command-line{language}.md").read_text(encoding="utf-8")
    assert [verb for verb in COMMANDS if f"| `featscope {verb}" not in text] == []


def test_pictures_are_small_and_all_are_shown():
    shown = "".join(page.read_text(encoding="utf-8") for page in [*SITE, *PROJECT.glob("*.md")])
    pictures = [path for path in (DOCS / "images").rglob("*") if path.is_file() and path.name != "favicon.svg"]
    assert [path.name for path in pictures if path.stat().st_size > 160_000] == []
    assert [
        path.name for path in pictures if f"images/{path.relative_to(DOCS / 'images').as_posix()}" not in shown
    ] == []
