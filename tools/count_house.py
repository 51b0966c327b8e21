"""Count what should become fewer, and fail where it has grown: python tools/count_house.py

ruff has no rule for these. Its own limits (branches, positional parameters) are in pyproject.toml.
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_LINES = 350
MOST_POSITIONAL = 5

LIMITS = {
    "annotations of src that say Any, in percent": 1.2,
    "calls in src with six or more positional arguments": 2,
    "files of src of more than 350 lines": 5,
    "files of tests and tools of more than 350 lines": 8,
}
"""What holds today. Lower a limit when the count goes down."""


def files(*folders):
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def annotations(tree):
    """Every annotation of a parameter, a result or a variable."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.returns is not None:
            yield node.returns
        elif isinstance(node, (ast.arg, ast.AnnAssign)) and node.annotation is not None:
            yield node.annotation


def says_any(annotation):
    return any(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(annotation))


def positional(call):
    """How many arguments have no name; `*values` is one that may be many, by intent."""
    return sum(not isinstance(argument, ast.Starred) for argument in call.args)


def long_files(*folders):
    lengths = ((path, len(path.read_text(encoding="utf-8").splitlines())) for path in files(*folders))
    return [f"{path.relative_to(ROOT)}: {lines} lines" for path, lines in lengths if lines > MOST_LINES]


def counts():
    """Of each name in LIMITS: the count, and where it is."""
    total, loose, calls = 0, [], []
    for path in files("src"):
        tree, place = ast.parse(path.read_text(encoding="utf-8")), path.relative_to(ROOT)
        found = list(annotations(tree))
        total += len(found)
        loose += [f"{place}:{annotation.lineno}" for annotation in found if says_any(annotation)]
        calls += [
            f"{place}:{node.lineno}: {positional(node)} arguments"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and positional(node) > MOST_POSITIONAL
        ]
    long_source, long_others = long_files("src"), long_files("tests", "tools")
    found = [(100 * len(loose) / total, loose), (len(calls), calls)]
    found += [(len(long_source), long_source), (len(long_others), long_others)]
    return dict(zip(LIMITS, found))


def main():
    grown = False
    for name, (count, places) in counts().items():
        limit = LIMITS[name]
        print(f"{name}: {count:.4g} of at most {limit}")
        if count > limit:
            grown = True
            print("\n".join(f"    {place}" for place in places))
    sys.exit("write it in a simpler way; the limits are in tools/count_house.py" if grown else 0)


if __name__ == "__main__":
    main()
