"""What a wheel and an sdist hold: python tools/check_package.py dist

The wheel has the source with its data, and nothing else; the sdist has what a packager needs to test it.
"""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
IN_SDIST = [".ci", ".github", "src", "tests", "docs", "examples", "benchmarks", "tools"]
"""Folders of which the sdist has every file that git keeps."""


def kept_by_git(*folders):
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", *folders], capture_output=True, text=True, check=True
    ).stdout
    return set(filter(None, listed.split("\0")))


def one(folder, pattern):
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        sys.exit(f"{folder} has {len(found)} files {pattern}; remove the folder and build again")
    return found[0]


def report(archive, expected, found):
    """What is missing or should not be there, in lines."""
    return [
        *(f"{archive.name} lacks {name}" for name in sorted(expected - found)),
        *(f"{archive.name} should not have {name}" for name in sorted(found - expected)),
    ]


def check_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    return report(wheel, {name[len("src/") :] for name in kept_by_git("src")}, found)


def check_sdist(sdist):
    with tarfile.open(sdist) as archive:
        found = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    pages = {path.name for path in ROOT.glob("*.md")}
    expected = kept_by_git(*IN_SDIST) | pages | {"LICENSE", "CITATION.cff", "pyproject.toml"}
    return report(sdist, expected, found - {"PKG-INFO", ".gitignore"})


def main():
    folder = Path(sys.argv[1])
    wheel, sdist = one(folder, "*.whl"), one(folder, "*.tar.gz")
    wrong = check_wheel(wheel) + check_sdist(sdist)
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{wheel.name} and {sdist.name} hold what they should")


if __name__ == "__main__":
    main()
