"""What goes to a terminal cannot move its cursor, and never fails over a character."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import run_study
from xlli_ray.errors import counted
from xlli_ray.recipe import load_recipe
from xlli_ray.report.page import write_report
from xlli_ray.report.text import excerpt, grid, scanned_text, sets_text, status_text
from xlli_ray.store.archive import Archive
from xlli_ray.store.records.manifest import Bucket, Manifest, SampleTable
from xlli_ray.study import Study
from xlli_ray.terminal import fitting, harmless, say


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("plain, ü, ─ and\ttab\nline", "plain, ü, ─ and\ttab\nline"),
        ("\x1b[31mred\x07\r", r"\x1b[31mred\x07\x0d"),
        ("\x9b2J", r"\x9b2J"),
        ("a\u202egnp.exe", r"a\u202egnp.exe"),
        (os.fsdecode(b"\xff.png"), r"\xff.png"),
    ],
)
def test_control_characters_are_written_out(text: str, told: str) -> None:
    assert harmless(text) == told


def test_a_name_in_a_table_stays_in_its_cell() -> None:
    assert grid([["a\nb\x1b[2J", 1]], ["name", "n"]).splitlines()[-1] == r"a\nb\x1b[2J  1"


@pytest.mark.parametrize(
    ("encoding", "told"), [("utf-8", "─ 3 × 4 – ü"), ("latin-1", "- 3 x 4 - ü"), ("ascii", "- 3 x 4 - \\xfc")]
)
def test_what_an_encoding_lacks_becomes_ascii(encoding: str, told: str) -> None:
    assert fitting("─ 3 × 4 – ü", encoding) == told
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    say("─ 3 × 4 – ü", stream)
    stream.flush()
    assert stream.buffer.getvalue().decode(encoding) == told + "\n"  # type: ignore[attr-defined]


def test_programs_get_what_is_there_and_a_terminal_does_not() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, told in ((io.StringIO(), "\x1b[31m\n"), (Terminal(), "\\x1b[31m\n")):
        say("\x1b[31m", stream, raw=True)
        assert stream.getvalue() == told


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study over images whose names are an escape sequence, not UTF-8, and plain."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for name in (b"a", b"\xff\xe4", b"\x1b[31mred\x07"):
        with open(os.fsencode(folder / "photos") + b"/" + name + b".png", "wb") as file:
            Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(file, "PNG")
    recipe = {"name": "odd", "corpus": {"images": "photos", "scale": 4}, "stages": [{"restore": {}}],
              "models": [{"id": "a", "weights": "builtin:srresnet-gr-clean"}]}  # fmt: skip
    (folder / "r.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def xlli(folder: Path, *arguments: str, **environment: str) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "xlli_ray", *arguments], cwd=folder, capture_output=True, timeout=200, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **environment},
    )  # fmt: skip


def test_a_terminal_that_knows_latin_1_only_gets_ascii_tables_and_the_run_its_exit_code(
    odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(odd)
    run_study(load_recipe(Path("r.yaml")), "st", Options(workers=0, quiet=True))  # there is less to load for a study that is finished
    write_report("st", last=True)
    done = xlli(odd, "run", "r.yaml", "--workers", "0", "--out", "st", PYTHONIOENCODING="latin-1")
    assert done.returncode == 0, done.stderr
    out = done.stdout.decode("latin-1")
    assert "stage" in out
    assert "-----" in out
    assert "1 file rejected" in out
    for environment in ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        told = xlli(odd, "query", "st", "select source, reason from failures", **environment)
        assert told.returncode == 0, told.stderr
        assert rb"its name is not UTF-8" in told.stdout
    told = xlli(odd, "query", "st", "select source from samples")
    assert b"\x1b" not in told.stdout
    assert rb"photos/\x1b[31mred\x07.png" in told.stdout


STATE: dict[str, Any] = {
    "name": "x", "running": None, "samples": 4, "rejected": 0, "failed": {}, "failures": {"samples": 0, "of": 4}, "complete": False,
    "cells": [{"cell": "restore/a/restore", "units": 4, "done": 4, "rows": 4}], "analyses": [],
}  # fmt: skip


def analysis(state: str) -> dict[str, Any]:
    return {"id": "srga", "kind": "srga", "state": state, "why": "36 samples", "wanted": True}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"complete": True}, "x: complete"),
        ({"cells": [{"cell": "restore/a/restore", "units": 4, "done": 1, "rows": 4}]}, "x: not complete, 25 % of its units done: run"),
        ({"cells": []}, "x: not complete, no units yet: run the same command again"),
        ({"running": {"host": "h", "pid": 7, "seconds": 400.0}}, "x: running on h, pid 7, for 7 min: 100 % of its units done"),
        ({"running": {"host": "h", "pid": 7, "seconds": 9000.0}, "cells": []}, "x: running on h, pid 7, for 2 h 30 min: no units yet"),
        ({"analyses": [analysis("stale")]}, "x: measured, analyses are left: run the same command again"),
        ({"analyses": [analysis("failed")]}, "x: measured, but srga failed: the same command fails again; change what the reason"),
    ],
)
def test_status_says_how_it_stands_and_advises_only_what_can_help(change: dict[str, Any], told: str) -> None:
    assert status_text({**STATE, **change}).startswith(told)


def test_a_table_at_the_end_of_a_run_is_narrow_and_says_how_to_have_the_rest() -> None:
    import pyarrow as pa

    wide = pa.table({f"c{number}": list(range(30)) for number in range(11)})
    text = excerpt(wide, "srga", "studies/x", ("c9", "c0"))
    assert text.splitlines()[0].split() == ["c9", "c0"]
    assert text.splitlines()[-1] == '… 6 more rows and 9 more columns: xlli query studies/x "from srga"'
    assert len(excerpt(wide, "", "x").splitlines()[0].split()) == 8
    assert "more" not in excerpt(wide.select(["c1"]).slice(0, 3), "", "x")


def test_every_headline_is_a_table_of_its_analysis_with_at_most_eight_of_its_columns() -> None:
    from xlli_ray.analyses import analysis_class
    from xlli_ray.registry import ANALYSES

    for kind in ANALYSES:
        cls = analysis_class(kind)
        if not hasattr(cls, "HEADLINE"):  # its first table is shown
            assert len(cls.TABLES[0].columns) >= 1
            continue
        name, columns = cls.HEADLINE
        (table,) = (table for table in cls.TABLES if table.name == name)
        assert set(columns) <= {column.name for column in table.columns}, kind
        assert len(columns) <= 8


def test_numbers_and_nouns_agree() -> None:
    assert [counted(number, "file") for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert [counted(number, "patch", "patches") for number in (0, 1, 2)] == ["0 patches", "1 patch", "2 patches"]


def test_one_of_a_thing_is_one_thing_wherever_a_study_is_described() -> None:
    def table(rows: int) -> SampleTable:
        blocks = (("clean", 0, 1), ("noise20", 1, rows - 1))[:rows]
        return SampleTable("", "", rows, 1, (Bucket("8x8", 8, 8, 0, rows, blocks),), 1, 1)

    objects: Any = None
    assert repr(Study(Archive(objects, Manifest("s", 0, {}, table(1))))) == "<study s: 1 sample, 0 models, 0 cells>"
    assert repr(Study(Archive(objects, Manifest("s", 0, {}, table(2))))) == "<study s: 2 samples, 0 models, 0 cells>"
    assert scanned_text(table(1)) == "1 sample in 1 size, 1 file rejected"
    assert sets_text(table(2)) == "2 sets of 1 sample: clean, noise20"
    assert sets_text(table(3)) == "2 sets of 1 to 2 samples: clean, noise20"
