"""The tree in the README is the tree on the disk: what it names exists, and no part of the package is left out.

The tree is the fenced block that has `xlli_ray/` as a line's first word. One name a line, indented under its folder by blanks or by
box-drawing lines; what follows the name is prose.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

LINE = re.compile(r"^(?P<indent>[\s│├└─|`]*)(?P<name>[A-Za-z0-9_.\-/*]+)")
UNSAID = {"__init__.py", "py.typed", "__pycache__"}


def tree_block(text: str) -> list[str]:
    """Lines of the fenced block that holds the tree. Raises LookupError."""
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        lines = block.splitlines()
        if any((found := LINE.match(line)) and found["name"] == "xlli_ray/" for line in lines):
            return lines
    raise LookupError("README.md: no fenced block has a line that starts with `xlli_ray/`")


def paths(lines: list[str]) -> list[str]:
    """`folder/name` for each line of a tree."""
    out: list[str] = []
    above: list[tuple[int, str]] = []
    for line in lines:
        found = LINE.match(line)
        if not found or not line.strip():
            continue
        indent, name = len(found["indent"]), found["name"].rstrip("/")
        while above and above[-1][0] >= indent:
            above.pop()
        here = "/".join([*(folder for _, folder in above), name])
        above.append((indent, name))
        out.append(here)
    return out


@pytest.fixture(scope="module")
def named(root: Path) -> list[str]:
    readme = root / "README.md"
    assert readme.exists(), "README.md is absent"
    return paths(tree_block(readme.read_text()))


def test_every_path_in_the_readmes_tree_exists(root: Path, named: list[str]) -> None:
    assert [path for path in named if not list(root.glob(path))] == []


def test_every_part_of_the_package_is_in_the_readmes_tree(root: Path, named: list[str]) -> None:
    parts = {entry.name for entry in (root / "xlli_ray").iterdir()} - UNSAID
    assert parts - {path.removeprefix("xlli_ray/") for path in named if path.startswith("xlli_ray/")} == set()


def test_every_folder_at_the_top_is_in_the_readmes_tree(root: Path, named: list[str]) -> None:
    from_disk = {"pipelines", "xlli_ray", "tests", "docs"} & {entry.name for entry in root.iterdir()}
    assert from_disk <= {path.split("/")[0] for path in named}


def test_both_ways_of_drawing_a_tree_are_read_alike() -> None:
    blanks = ["xlli_ray/", "  cli.py    run · plan", "  store/    arrays", "    shard.py  bytes", "", "docs/  for people"]
    lines = ["xlli_ray/", "├── cli.py    run", "└── store/", "    └── shard.py  bytes", "docs/"]
    expected = ["xlli_ray", "xlli_ray/cli.py", "xlli_ray/store", "xlli_ray/store/shard.py", "docs"]
    assert paths(blanks) == paths(lines) == expected
    assert tree_block("text\n```text\nxlli run\n```\nmore\n```\nxlli_ray/  x\n```\n") == ["xlli_ray/  x"]
