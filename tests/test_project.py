"""What is said twice agrees: the version, and the steps of CI."""

import re
from pathlib import Path

import pytest

import featscope

PROJECT = Path(__file__).parents[1]


def text(name):
    return (PROJECT / name).read_text(encoding="utf-8")


def released(changes):
    """The versions of a changelog, newest first; what is not released yet may come before them."""
    headings = re.findall(r"^## (.+)$", changes, re.MULTILINE)
    assert "Unreleased" not in headings[1:], "only the top of CHANGELOG.md can be unreleased"
    return [re.fullmatch(r"(\d+\.\d+\.\d+)\b.*", heading).group(1) for heading in headings if heading != "Unreleased"]


def test_the_changelog_begins_with_this_version():
    versions = released(text("CHANGELOG.md"))
    assert versions[0] == featscope.__version__
    assert versions == sorted(versions, key=lambda version: [int(part) for part in version.split(".")], reverse=True)


@pytest.mark.parametrize("changes", ["# Changes\n## 0.2.0\n## Unreleased\n", "# Changes\n## next\n## 0.1.0\n"])
def test_a_changelog_that_is_not_by_version_is_seen(changes):
    with pytest.raises((AssertionError, AttributeError)):
        released(changes)


def test_a_citation_names_this_version():
    assert re.search(r"^version: (.+)$", text("CITATION.cff"), re.MULTILINE).group(1) == featscope.__version__


def test_the_public_workflow_calls_the_steps_of_ci():
    script = text(".ci/run")
    steps = set(re.findall(r"^step_([\w-]+)\(\)", script, re.MULTILINE))
    in_all = set(re.search(r'^ALL="(.+)"$', script, re.MULTILINE).group(1).split())
    called = set(re.findall(r"bash \.ci/run ([\w-]+)$", text(".github/workflows/ci.yml"), re.MULTILINE))
    assert in_all | {"tests"} == steps
    # The images and weights that the others need are not public.
    assert called == steps - {"integration", "integration-old"}
