"""Short runs of the fuzzers of studies, and what becomes of each kind of damage: named, repaired, computed again, the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import fuzz_arguments
import fuzz_flips
import fuzz_studies
from small_study import PACKED, small_study

from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import run_study
from xlli_ray.engine.run.repair import repair_study
from xlli_ray.errors import StudyError
from xlli_ray.recipe import Recipe
from xlli_ray.store.records import listing
from xlli_ray.store.tables import study_tables as tables
from xlli_ray.store.verify.check_study import verify
from xlli_ray.study import open_study

QUIET = Options(workers=0, quiet=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Recipe, Path]]:
    before = listing.PACK
    yield small_study(tmp_path_factory.mktemp("fuzz") / "made")
    listing.PACK = before


@pytest.fixture
def study(made: tuple[Recipe, Path], tmp_path: Path) -> Path:
    """A copy that a test may harm."""
    assert listing.PACK == PACKED
    return Path(shutil.copytree(made[1], tmp_path / "study"))


def whole(study: Path, notes: list[str] | None = None) -> list[str]:
    opened = open_study(study)
    return list(verify(opened.archive, notes=notes))


def contents(study: Path) -> dict[str, bytes]:
    """What must be the same after a repair and a run: arrays, tables, samples, results."""
    parts = ("arrays.zarr", "tables", "samples", "results", "weights")
    found = [path for part in parts for path in sorted((study / part).rglob("*")) if path.is_file() and path.name != "index.json"]
    return {path.relative_to(study).as_posix(): path.read_bytes() for path in found}


def flip(path: Path, at: float = 0.5) -> str:
    data = bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= 4
    path.write_bytes(data)
    return str(path)


def one(study: Path, pattern: str) -> Path:
    return sorted(study.glob(pattern))[0]


def test_a_flipped_bit_in_any_kind_of_file_is_found_and_named(made: tuple[Recipe, Path]) -> None:
    summary = fuzz_flips.main(["--trials", "42", "--seed", "5"], studies=made[1:])
    assert summary["missed"] == []
    assert len(summary["kinds"]) >= 20


def test_each_kind_of_damage_is_named_repaired_and_ends_in_the_same_bytes(made: tuple[Recipe, Path], study: Path) -> None:
    before = contents(study)
    harmed = [
        flip(one(study, "records/restore/small/restore/*.arrow")),
        flip(one(study, "records/features/**/pack-*"), 0.3),
        flip(one(study, "arrays.zarr/lam/small/accurate/*/map/c/0/0/0/0")),
        flip(one(study, "arrays.zarr/restore/other/restore/*/valid/c/0")),
        flip(one(study, "arrays.zarr/**/row/c/0")), flip(one(study, "arrays.zarr/restore/other/restore/*/output/zarr.json")),
        flip(study / "samples/part-00000.parquet"), flip(study / "samples/rejected.parquet"), flip(study / "tables/restore.parquet"),
        flip(one(study, "results/lam_summary/*.svg")), flip(study / "lease/000001.json"), flip(study / "study.json"),
        flip(study / "digests.json"),
    ]  # fmt: skip
    (study / "tables/models.parquet").write_bytes(b"PAR1")
    (gone := one(study, "arrays.zarr/restore/other/restore/*/output/c/1/0/0/0")).unlink()
    lines = whole(study)
    for path in [*harmed, str(study / "tables/models.parquet"), str(gone)]:
        name = Path(path).relative_to(study).as_posix()
        assert [line for line in lines if line.startswith(f"{name}: ") and ("`" in line or "--replace" in line)], name
    said = repair_study(str(study))
    assert any("study.json: restored from study/" in line for line in said)
    left = whole(study)
    assert left
    assert all("units without a record" in line or "samples" in line for line in left), left
    summary = run_study(made[0], str(study), QUIET)
    assert 0 < summary.units_run < summary.units, "what was whole is not computed again"
    assert whole(study) == []
    assert contents(study) == before


def test_a_run_mends_what_it_meets_without_being_told(made: tuple[Recipe, Path], study: Path) -> None:
    before = contents(study)
    flip(one(study, "records/restore/small/restore/*.arrow"))
    flip(one(study, "weights/*.safetensors"))
    (study / "tables/lam.parquet").write_bytes((study / "tables/lam.parquet").read_bytes()[:200])
    flip(one(study, "results/lam_summary/*.parquet"))
    summary = run_study(made[0], str(study), QUIET)
    assert [note for note in summary.notes if ".arrow: damaged, its units were computed again" in note]
    assert summary.analyses == ("lam_summary",)
    assert whole(study) == []
    assert contents(study) == before


def test_the_documents_of_a_study_stand_in_for_each_other_and_without_both_it_says_so(study: Path) -> None:
    document = one(study, "study/*.json")
    flip(document)
    with pytest.raises(StudyError, match=rf"study/{document.name}: damaged.*`xlli verify --repair` restores it from study\.json"):
        open_study(study)
    repair_study(str(study))
    assert whole(study) == []
    flip(study / "study.json")
    flip(one(study, "study/*.json"))
    with pytest.raises(StudyError, match=r"And study\.json cannot replace it.*restore one of them from a copy"):
        repair_study(str(study))


def test_what_is_none_of_the_study_is_named_and_left_alone(study: Path, tmp_path: Path) -> None:
    record = one(study, "records/restore/small/restore/*.arrow")
    shutil.copyfile(record, record.with_name("0000001.000009.arrow"))
    shutil.copyfile(record, record.with_name("0000777.000001.arrow"))
    (tmp_path / "elsewhere").write_text("x")
    (study / "tables/extra.parquet").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(study / "results/pipe")
    (study / "notes of mine.txt").write_text("x")
    lines = whole(study)
    for name, why in (
        ("0000001.000009.arrow", "a copy under another name"), ("0000777.000001.arrow", "of a unit that is not planned"),
        ("tables/extra.parquet", "a link that leads outside the study"), ("results/pipe", "a FIFO"), ("notes of mine.txt", "not a name"),
    ):  # fmt: skip
        assert [line for line in lines if name in line and why in line], (name, lines)
    with pytest.raises(StudyError, match=r"0000001\.000009\.arrow: is about unit 3: a copy under another name; .* removes it"):
        open_study(study).sql("from restore")
    repair_study(str(study))
    left = whole(study)
    assert len(left) == 3, left
    assert (study / "tables/extra.parquet").is_symlink()


def test_a_study_from_before_there_were_digests_is_read_verified_and_continued(made: tuple[Recipe, Path], study: Path) -> None:
    shutil.rmtree(study / "study")
    (study / "digests.json").unlink()
    for path in [study / "study.json", *study.glob("lease/*.json"), *study.glob("results/*/result.json"), study / "tables/index.json"]:
        data = json.loads(path.read_text())
        data.pop("seal")
        if path.name == "study.json":
            data["format"] = 1
            del data["document"]
        path.write_text(json.dumps(data))
    notes: list[str] = []
    assert whole(study, notes) == []
    assert "written before digests were introduced" in notes[0]
    assert run_study(made[0], str(study), QUIET).complete
    notes.clear()
    assert whole(study, notes) == []
    assert notes == []
    assert (study / "digests.json").exists()


def test_a_scan_without_a_plan_is_no_whole_study(made: tuple[Recipe, Path], tmp_path: Path) -> None:
    from xlli_ray.engine.run.driver import scan_study

    scan_study(made[0], str(tmp_path / "scanned"), QUIET)
    assert [line for line in whole(tmp_path / "scanned") if "nothing was planned yet" in line and "run the same command again" in line]


def test_whatever_lies_in_a_study_every_command_answers_or_says_which_file(made: tuple[Recipe, Path]) -> None:
    summary = fuzz_studies.main(["--trials", "5", "--seed", "3"], made={"images": made})
    assert summary["findings"] == []
    assert summary["outcomes"]


@pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens")  # sys.argv is set on purpose
def test_odd_command_lines_end_in_an_answer_or_in_one_message_of_ours(made: tuple[Recipe, Path]) -> None:
    summary = fuzz_arguments.main(["--first", "40", "--trials", "40", "--seed", "3"], made=made[1].parent)
    assert summary["findings"] == []
    assert len(summary["outcomes"]) > 10


def test_an_array_whose_document_or_shard_zarr_refuses_is_named_by_xarray(study: Path) -> None:
    document = one(study, "arrays.zarr/restore/other/restore/*/output/zarr.json")
    cell, bucket, name = "restore/other/restore", document.parent.parent.name, "output"
    before = document.read_bytes()
    document.write_text(json.dumps({**json.loads(before), "foreign": {"must_understand": True}}))
    with pytest.raises(StudyError, match=rf"{bucket}/{name}/zarr.json: Zarr cannot open it .*`xlli verify --repair`"):
        open_study(study).array(cell, name).xarray(bucket)
    document.write_bytes(before)
    flip(one(document.parent, "c/0/0/0/0"), 1.0)
    array = open_study(study).array(cell, name).xarray(bucket)
    with pytest.raises(StudyError, match=rf"{bucket}/{name}: Zarr cannot read its shards .*`xlli verify`"):
        array.values  # noqa: B018


def test_a_query_reads_the_end_of_a_table_and_sees_that_it_was_cut_or_replaced(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, table = open_study(study), study / "tables/restore.parquet"
    before, rows = table.read_bytes(), open_study(study).sql("from restore")
    whole_files: list[str] = []
    monkeypatch.setattr(tables, "digest_of", lambda objects, key: whole_files.append(key))
    assert tables.tables_are_fresh(opened.archive)
    assert whole_files == []
    monkeypatch.undo()
    for data in (before[:-9], before + b"x", before[:-30] + b"?" + before[-29:]):
        table.write_bytes(data)
        assert not tables.tables_are_fresh(opened.archive)
        assert open_study(study).sql("from restore").equals(rows)
    table.write_bytes(before)
    flip(table, 0.0)
    assert not tables.tables_are_fresh(opened.archive, read=True)
    assert [line for line in whole(study) if line.startswith("tables/restore.parquet: ")]
