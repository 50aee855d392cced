"""Every command, as typed: what it prints, its exit code, and that an error is one message without a traceback."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from pydantic import BaseModel, ConfigDict

from xlli_ray import __version__, cli
from xlli_ray.__main__ import main
from xlli_ray.engine.process_end import SIGNALS
from xlli_ray.errors import AnalysisError

ENGINE_TESTS = Path(__file__).parent / "engine"
if str(ENGINE_TESTS) not in sys.path:
    sys.path.insert(0, str(ENGINE_TESTS))  # `network: toy:small`

# `app()` reads sys.argv, which is set here on purpose
pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens")

COMMANDS = ["run", "scan", "plan", "status", "verify", "query", "layers", "report", "train", "submit", "stop", "doctor"]


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


Xlli = Callable[..., Result]


@pytest.fixture
def xlli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Xlli]:
    """The entry point, in this process: a fresh interpreter a command would cost seconds."""
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def go(*arguments: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["xlli", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Result(int(ended.value.code or 0), out, err)

    yield go
    for number, handler in before.items():
        signal.signal(number, handler)


def write_recipe(folder: Path, **sections: Any) -> Path:
    """Six images of two sizes beside a recipe over the toy network."""
    images = folder / "images"
    if not images.exists():
        images.mkdir(parents=True)
        for i in range(6):
            coarse = np.random.default_rng(i).normal(0.45, 0.1, (12, 12 if i % 3 else 16, 3))
            fine = np.kron(coarse, np.ones((4, 4, 1))).clip(0, 1)
            Image.fromarray((fine * 255).astype(np.uint8)).save(images / f"{i}.png")
    data = {
        "name": "toy",
        "baseline": False,
        "corpus": {"images": ["images/*.png"], "scale": 2, "degradations": ["clean", {"noise": 20}]},
        "models": [{"id": "small", "network": "toy:small", "tags": {"family": "toy"}}],
        "stages": [{"features": {"layers": ["head", "tail:input"]}}, {"restore": {"save": True}}],
        "batch": {"features": 2, "restore": 2},
        **sections,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(recipe, study) of one run, for all tests that only read."""
    from xlli_ray.engine.options import Options
    from xlli_ray.engine.run.driver import run_study
    from xlli_ray.recipe import load_recipe

    folder = tmp_path_factory.mktemp("cli")
    recipe = write_recipe(folder)
    run_study(load_recipe(recipe), str(folder / "study"), Options(workers=0, quiet=True))
    return recipe, folder / "study"


@pytest.fixture
def study(done: tuple[Path, Path]) -> Path:
    return done[1]


@pytest.fixture
def damaged(study: Path, tmp_path: Path) -> Path:
    """A copy that a test may harm."""
    return Path(shutil.copytree(study, tmp_path / "damaged"))


# -- run --------------------------------------------------------------------------------------------------------


def test_run_computes_then_says_complete_and_does_nothing(xlli: Xlli, tmp_path: Path) -> None:
    recipe, out = write_recipe(tmp_path), tmp_path / "out"
    first = xlli("run", recipe, "--out", out, "--workers", "0")
    assert first.code == 0, first.err
    assert "done: 6 of 6 units computed, 12 samples" in first.out
    assert "psnr_y" in first.out, "the table of results"
    assert "noise20" in first.out
    assert f"report: {out / 'report' / 'index.html'}" in first.out
    assert (out / "report" / "index.html").exists()
    written = {path: path.stat().st_mtime_ns for path in (out / "arrays.zarr").rglob("*") if path.is_file()}
    again = xlli("run", recipe, "--out", out, "--workers", "0", "--quiet")
    assert again.code == 0
    assert again.out.strip() == "complete: 12 samples, 6 units; nothing to do"
    assert {path: path.stat().st_mtime_ns for path in (out / "arrays.zarr").rglob("*") if path.is_file()} == written
    assert json.loads((out / "study.json").read_text())["command"] == f"xlli run {recipe} --out {out} --workers 0 --quiet"


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the page out where a test is not about it: drawing it takes seconds."""
    monkeypatch.setattr(cli, "_write_report", lambda place, **_: f"{place}/report/index.html")


@pytest.mark.usefixtures("no_page")
def test_a_network_below_the_baseline_is_flagged_once_below_the_means(xlli: Xlli, tmp_path: Path) -> None:
    """The same words stood there again among the flags at the end."""
    out = xlli("run", write_recipe(tmp_path, baseline=True, stages=[{"restore": {}}]), "--out", tmp_path / "out", "--workers", "0").out
    assert out.count("FLAG small is below bicubic") == 1
    assert out.count("below bicubic") == 1


@pytest.mark.usefixtures("no_page")
def test_limit_tries_the_first_samples_in_a_folder_of_its_own_and_set_changes_a_field(xlli: Xlli, tmp_path: Path) -> None:
    recipe, out = write_recipe(tmp_path, stages=[{"restore": {}}]), tmp_path / "out"
    sets = ("--set", "name=other", "--set", "batch.restore=1")
    result = xlli("run", recipe, "--out", out, "--workers", "0", "--quiet", "--limit", "3", *sets)
    assert result.code == 0, result.err
    assert "2 samples" in result.out
    assert not out.exists()
    kept = json.loads((tmp_path / "out-limit3" / "study.json").read_text())
    assert kept["name"] == "other"
    assert kept["recipe"]["batch"] == {"features": 2, "restore": 1}


def test_without_out_the_study_lies_under_studies_by_its_name(xlli: Xlli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert xlli("scan", write_recipe(tmp_path)).code == 0
    assert (tmp_path / "studies" / "toy" / "study.json").exists()


@pytest.mark.usefixtures("no_page")
def test_another_content_under_the_same_id_is_refused_and_replace_computes_it_anew(
    xlli: Xlli, done: tuple[Path, Path], damaged: Path
) -> None:
    recipe, _ = done
    change = ("--set", "stages.0.features.dtype=float32", "--workers", "0", "--quiet")
    refused = xlli("run", recipe, "--out", damaged, *change)
    assert refused.code == 2
    assert "dtype was 'float16', is now 'float32'" in refused.err
    assert "--replace features" in refused.err
    assert xlli("run", recipe, "--out", damaged, *change, "--replace", "features").code == 0


# -- scan and plan ----------------------------------------------------------------------------------------------


def test_scan_writes_the_sample_table_and_lists_what_cannot_be_read(xlli: Xlli, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    (tmp_path / "images" / "broken.png").write_bytes(b"this is no image")
    result = xlli("scan", recipe, "--out", tmp_path / "out")
    assert result.code == 0
    assert "12 samples in 2 sizes, 1 file rejected" in result.out
    (line,) = [line for line in result.out.splitlines() if "broken.png" in line]
    assert "not an image" in line or "image" in line
    assert (tmp_path / "out" / "samples" / "part-00000.parquet").exists()
    assert not (tmp_path / "out" / "arrays.zarr").exists()


def test_scan_and_plan_say_the_sets_of_a_pies_corpus_and_how_many_patches_there_are(xlli: Xlli, tmp_path: Path) -> None:
    write_recipe(tmp_path)
    pies = {"patches": 800, "size": 16, "min_std": 0, "sets": ["clean", "blur", "noise20"]}
    corpus = {"images": ["images/*.png"], "scale": 2, "pies": pies}
    recipe = write_recipe(tmp_path, corpus=corpus, stages=[{"restore": {}}])
    found = 4 * 9 + 2 * 12  # tiles of 16 pixels in four images of 48 × 48 and two of 48 × 64
    for command in ("scan", "plan"):
        result = xlli(command, recipe, "--out", tmp_path / "out")
        assert result.code == 0, result.err
        assert f"18 sets of {found} samples: clean, blur0.5 … blur8 (16), noise20" in result.out
        assert f"note: corpus.pies: 800 patches per set were requested, the images have {found} (size 16, min_std 0)" in result.out
        assert f"note: corpus.pies: {found} patches per set, PIES has 800" in result.out


def test_plan_says_samples_sizes_units_bytes_and_hours_and_computes_nothing(xlli: Xlli, tmp_path: Path) -> None:
    result = xlli("plan", write_recipe(tmp_path), "--out", tmp_path / "out", "--workers", "2")
    assert result.code == 0, result.err
    assert "12 samples in 2 sizes: h0024w0024 (8), h0024w0032 (4); 0 files rejected" in result.out
    header, _, *rows = result.out.split("\n\n")[1].splitlines()
    assert header.split("  ")[0] == "cell"
    assert [row.split()[0] for row in rows] == ["features/small/head.out", "features/small/tail.in", "restore/small/restore"]
    assert rows[0].split()[1:5] == ["new", "12", "6", "2"], "state, samples, units, batch"
    assert "6×24×24 float16" in rows[0]
    # 6 channels of 2 bytes over 8 images of 24 × 24 and 4 of 24 × 32
    assert f"{6 * 2 * (8 * 24 * 24 + 4 * 24 * 32) / 1000:.1f} kB" in rows[0]
    assert "hours on 2 workers" in result.out
    assert re.search(r"timed here: \d+ s of one worker for what is left, \d+ s on 2 workers", result.out)
    assert not (tmp_path / "out" / "arrays.zarr").exists()


@pytest.mark.parametrize(
    ("limit", "message"),
    [("limits.bytes=1kB", "the limit is 1.0 kB. Smaller: "), ("limits.hours=1e-12", "the limit is 1e-12. Faster: ")],
)
def test_plan_and_run_refuse_above_the_limits_with_exit_2(xlli: Xlli, tmp_path: Path, limit: str, message: str) -> None:
    recipe = write_recipe(tmp_path)
    plan = xlli("plan", recipe, "--out", tmp_path / "out", "--set", limit, "--workers", "1")
    assert plan.code == 2
    assert "restore/small/restore" in plan.out, "the table is shown all the same"
    assert plan.err.splitlines()[-1].startswith("PlanError: this study needs ")
    assert message in plan.err
    assert xlli("run", recipe, "--out", tmp_path / "out", "--set", limit, "--workers", "0", "--quiet").code == 2


class Broken:
    """An analysis that cannot be."""

    KIND, VERSION, REFERENCE, TABLES = "broken", 1, "none", ()

    class Params(BaseModel):
        """No fields."""

        model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def inputs(cls, params: BaseModel, cells: Any) -> list[str]:
        return [cell.id for cell in cells]

    @classmethod
    def run(cls, params: BaseModel, view: Any, seed: int) -> Any:
        from xlli_ray.store.tables.results import Result

        if "good" in Path.cwd().name:
            return Result({}, flags=["broken: look here first"])
        if "named" in Path.cwd().name:
            raise AnalysisError("stage broken: broken: names itself")
        raise RuntimeError("what a pity")


def test_run_ends_with_1_when_an_analysis_failed_and_0_when_it_is_mended(
    xlli: Xlli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xlli_ray.registry import ANALYSES

    module = ModuleType("broken_analysis")
    module.Broken = Broken  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "broken_analysis", module)
    monkeypatch.setattr(Broken, "__module__", "broken_analysis")
    monkeypatch.setitem(ANALYSES, "broken", "broken_analysis:Broken")
    recipe, out = write_recipe(tmp_path, stages=[{"restore": {}}, {"broken": {}}]), tmp_path / "out"
    plan = xlli("plan", recipe, "--out", out)
    assert plan.code == 0, plan.err
    assert "then: broken" in plan.out
    result = xlli("run", recipe, "--out", out, "--workers", "0")
    assert result.code == 1
    assert result.err.splitlines()[-1].startswith("AnalysisError: broken: RuntimeError: what a pity")
    assert "psnr_y" in result.out, "everything else is done and shown"
    status = xlli("status", out).out
    assert "toy: measured, but broken failed: the same command fails again" in status
    assert "analysis broken: failed – RuntimeError: what a pity" in status
    (tmp_path / "named").mkdir()
    with monkeypatch.context() as there:
        there.chdir(tmp_path / "named")
        again = xlli("run", recipe, "--out", out, "--workers", "0")
    assert again.err.splitlines()[-1] == "AnalysisError: broken: names itself", "its name once, whoever says it"
    assert "analysis broken: failed – names itself" in xlli("status", out).out
    (tmp_path / "good").mkdir()
    monkeypatch.chdir(tmp_path / "good")
    mended = xlli("run", recipe, "--out", out, "--workers", "0")
    assert mended.code == 0, mended.err
    assert "analysed: broken" in mended.out
    assert mended.err.index("analysis broken …") < mended.err.index("analysis broken: done in ")
    assert "FLAG broken: look here first" in mended.out
    quiet = xlli("run", recipe, "--out", out, "--workers", "0", "--replace", "broken", "--quiet")
    assert ("analysed: broken" in quiet.out, quiet.err) == (True, ""), "analyses are quiet, too, when that is asked for"
    assert "FLAG broken" in xlli("run", recipe, "--out", out, "--workers", "0").out, "as long as it is true"


# -- status and verify ------------------------------------------------------------------------------------------


def test_status_counts_units_for_people_and_for_programs(xlli: Xlli, study: Path) -> None:
    text = xlli("status", study).out
    assert text.startswith("toy: complete\n12 samples, 0 files rejected, failed: none\n")
    state = json.loads(xlli("status", study, "--json").out)
    assert state["complete"] is True
    assert {cell["cell"]: (cell["done"], cell["units"], cell["rows"]) for cell in state["cells"]} == {
        "features/small/head.out": (6, 6, 12), "features/small/tail.in": (6, 6, 12), "restore/small/restore": (6, 6, 12),
    }  # fmt: skip


def test_status_of_an_unfinished_study_says_what_to_do(xlli: Xlli, damaged: Path) -> None:
    next(damaged.glob("records/restore/small/restore/*.arrow")).unlink()
    result = xlli("status", damaged)
    assert "toy: not complete, 94 % of its units done: run the same command again" in result.out
    assert "83 %" in result.out
    assert json.loads(xlli("status", damaged, "--json").out)["complete"] is False


def test_verify_of_a_whole_study_is_0(xlli: Xlli, study: Path) -> None:
    result = xlli("verify", study)
    assert result.code == 0
    assert result.out == "intact: every object is as it was written\n"


def _delete_shard(study: Path) -> str:
    shard = sorted(study.glob("arrays.zarr/features/small/head.out/h0024w0024/features/c/*/0/0/0"))[1]
    shard.unlink()
    return rf"{shard.relative_to(study)}: missing, although unit 1 is recorded; run with --replace features"


def _flip_byte(study: Path) -> str:
    shard = sorted(study.glob("arrays.zarr/features/small/tail.in/h0024w0032/features/c/*/0/0/0"))[0]
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 1
    shard.write_bytes(data)
    return rf"{shard.relative_to(study)}: bytes differ from the record of unit 4 (crc32c); run with --replace features"


def _flip_index_byte(study: Path) -> str:
    shard = sorted(study.glob("arrays.zarr/restore/small/restore/h0024w0024/output/c/*/0/0/0"))[0]
    data = bytearray(shard.read_bytes())
    data[-9] ^= 1
    shard.write_bytes(data)
    return rf"{shard.relative_to(study)}: bytes differ from the record of unit 0 (crc32c)"


def _shorten(study: Path) -> str:
    shard = sorted(study.glob("arrays.zarr/features/small/head.out/h0024w0024/features/c/*/0/0/0"))[0]
    shard.write_bytes(shard.read_bytes()[:-1])
    return rf"{shard.relative_to(study)}: bytes differ"


def _flip_first_byte(study: Path) -> str:
    shard = sorted(study.glob("arrays.zarr/features/small/tail.in/h0024w0032/features/c/*/0/0/0"))[0]
    data = shard.read_bytes()
    shard.write_bytes(bytes([data[0] ^ 255]) + data[1:])  # blosc's own version number: it refuses to decode
    return rf"{shard.relative_to(study)}: bytes differ from the record of unit 4 (crc32c)"


def _empty(study: Path) -> str:
    shard = sorted(study.glob("arrays.zarr/features/small/head.out/h0024w0032/features/c/*/0/0/0"))[0]
    shard.write_bytes(b"")
    return rf"{shard.relative_to(study)}: bytes differ"


def _delete_record(study: Path) -> str:
    sorted(study.glob("records/restore/small/restore/*.arrow"))[2].unlink()
    return "restore/small/restore: 1 of 6 units without a record (first: 2); run the same command again"


def _delete_weights(study: Path) -> str:
    (weights,) = study.glob("weights/*.safetensors")
    weights.unlink()
    return f"weights/{weights.name}: missing (model small); run the recipe again"


def _change_array_document(study: Path) -> str:
    document = study / "arrays.zarr/features/small/head.out/h0024w0024/features/zarr.json"
    data = json.loads(document.read_text())
    data["attributes"]["layer"] = "another"
    document.write_text(json.dumps(data))
    return "arrays.zarr/features/small/head.out/h0024w0024/features/zarr.json: differs from the plan"


def _forge_valid(study: Path) -> str:
    chunk = study / "arrays.zarr/features/small/head.out/h0024w0024/valid/c/0"
    data = bytearray(chunk.read_bytes())
    data[3] = 0
    chunk.write_bytes(data)
    return "arrays.zarr/features/small/head.out/h0024w0024/valid/c/0: differs from the records"




@pytest.mark.parametrize(
    "harm",
    [
        _delete_shard, _flip_byte, _delete_record, _delete_weights, _change_array_document, _forge_valid,
        _flip_index_byte, _shorten, _flip_first_byte, _empty,
    ],
)  # fmt: skip
def test_verify_finds_what_is_missing_or_damaged_and_is_1(xlli: Xlli, damaged: Path, harm: Callable[[Path], str]) -> None:
    expected = harm(damaged)
    result = xlli("verify", damaged)
    assert result.code == 1, result.out
    assert any(line.startswith(expected) for line in result.out.splitlines()), result.out
    assert re.fullmatch(r"1 finding|([02-9]|[1-9]\d+) findings", result.out.splitlines()[-1])


# -- query ------------------------------------------------------------------------------------------------------

SQL = "select label, count(*) as n, round(avg(psnr_y), 2) as psnr from restore join samples using (sample_id) group by 1 order by 1"


def test_query_prints_a_table_csv_or_json_of_the_same_rows(xlli: Xlli, study: Path) -> None:
    rows = json.loads(xlli("query", study, SQL, "--format", "json").out)
    assert [(row["label"], row["n"]) for row in rows] == [("clean", 6), ("noise20", 6)]
    parsed = list(csv.DictReader(io.StringIO(xlli("query", study, SQL, "--format", "csv").out)))
    assert [{**row, "n": str(row["n"]), "psnr": str(row["psnr"])} for row in rows] == parsed
    table = xlli("query", study, SQL).out.splitlines()
    assert table[0].split() == ["label", "n", "psnr"]
    assert table[2].split() == ["clean", "6", f"{rows[0]['psnr']:.2f}"]


def test_every_table_can_be_asked(xlli: Xlli, study: Path) -> None:
    count = {name: json.loads(xlli("query", study, f"select count(*) as n from {name}", "--format", "json").out)[0]["n"]
             for name in ("samples", "models", "restore", "features", "failures")}  # fmt: skip
    assert count == {"samples": 12, "models": 1, "restore": 12, "features": 6, "failures": 0}
    assert json.loads(xlli("query", study, "select family from models", "--format", "json").out) == [{"family": "toy"}]


@pytest.mark.parametrize(
    ("sql", "hint"), [("select psnr_z from restore", "psnr_y"), ("select * from restor", "restore"), ("selec 1", "syntax error")]
)
def test_a_wrong_query_is_one_error_with_candidates_and_the_tables(xlli: Xlli, study: Path, sql: str, hint: str) -> None:
    result = xlli("query", study, sql)
    assert result.code == 1
    assert result.err.startswith("StudyError: ")
    assert hint in result.err
    assert "Tables: failures, features, models, restore, samples" in result.err


def test_a_query_cannot_change_the_study(xlli: Xlli, study: Path) -> None:
    before = (study / "tables" / "restore.parquet").read_bytes()
    xlli("query", study, "delete from restore")
    xlli("query", study, "create table restore2 as select * from restore")
    assert (study / "tables" / "restore.parquet").read_bytes() == before


# -- layers -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import toy

    from xlli_ray.models.checkpoint import to_safetensors

    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    path.write_bytes(to_safetensors(toy.small().state_dict()))
    return path


def test_layers_lists_names_shapes_strides_and_parameters(xlli: Xlli, checkpoint: Path) -> None:
    result = xlli("layers", checkpoint, "--network", "toy:small", "--size", "20")
    assert result.code == 0, result.err
    head, digest, note, header, _, *rows = result.out.splitlines()
    assert head == "toy:small, ×2, 3 channels, range 0…1, input 20×20"
    assert digest == f"sha256: {hashlib.sha256(checkpoint.read_bytes()).hexdigest()}", "as it stands in a model's entry"
    assert note == "note: its format has no checksums: `sha256` in the model's entry has the file checked"
    assert header.split("  ")[0] == "layer"
    listed = {row.split()[0]: row.split()[1:] for row in rows}
    assert listed["head"][1:4] == ["6×20×20", "1×1", "168"]
    assert {"head", "body.0", "body.1", "tail", "shuffle"} <= set(listed)
    assert listed["shuffle"][2] == "0.5×0.5"


def test_layers_takes_a_factory_without_weights_and_its_arguments(xlli: Xlli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the user and nowhere on the import path, as a file or as a module."""
    (tmp_path / "my_net.py").write_text(
        "from torch import nn\nimport my_parts\n"
        "def make(width=4, names=()):\n    return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), my_parts.last(width))\n"
    )
    (tmp_path / "my_parts.py").write_text("from torch import nn\ndef last(width):\n    return nn.Conv2d(width, 3, 3, padding=1)\n")
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ("my_net.py:make", "--args", "width=7"),
        ("my_net:make", "--args", '{"width": 7, "names": ["a"]}'),
        ("--network", "my_net.py:make", "--args", "width=7"),
        ("my_net.py:make", "*", "--args", "width=7"),
        ("0", "--network", "my_net.py:make", "--args", "width=7"),
    ):
        result = xlli("layers", *arguments, "--size", "16")
        assert result.code == 0, result.err
        rows = {row.split()[0]: row.split()[2] for row in result.out.splitlines()[3:]}
        assert rows["0"] == "7×16×16"
    for wrong in ("width", "width=[", "{", "1=2"):
        result = xlli("layers", "my_net.py:make", "--args", wrong)
        assert result.code == 1
        assert result.err.startswith("RecipeError: --args ")
    assert "it takes (width=4, names=())" in xlli("layers", "my_net.py:make", "--args", "depth=3").err
    assert xlli("layers").err.startswith("WeightsError: give a file of weights")


def test_layers_says_which_weights_were_taken(xlli: Xlli, tmp_path: Path) -> None:
    import torch
    import toy

    weights = {name: tensor.clone() for name, tensor in toy.small().state_dict().items()}
    torch.save({"params": weights, "params_ema": weights | {"head.bias": weights["head.bias"] + 1}}, tmp_path / "w.pth")
    both = xlli("layers", tmp_path / "w.pth", "head", "--network", "toy:small")
    assert "note: averaged weights taken (params_ema); `key: params` selects those of the last step" in both.out
    last = xlli("layers", tmp_path / "w.pth", "--network", "toy:small", "--key", "params")
    assert "note: weights taken from params, as `key` says" in last.out


def test_layers_takes_a_pattern_and_names_the_closest_when_none_matches(xlli: Xlli, checkpoint: Path) -> None:
    rows = xlli("layers", checkpoint, "body.*:input", "--network", "toy:small").out.splitlines()[5:]
    assert [row.split()[0] for row in rows] == ["body.0:input", "body.1:input"]
    wrong = xlli("layers", checkpoint, "boody.1", "--network", "toy:small")
    assert wrong.code == 1
    assert wrong.err.startswith("LayerPatternError: ")
    assert "body.1" in wrong.err


def test_layers_of_built_in_weights(xlli: Xlli) -> None:
    result = xlli("layers", "builtin:srresnet-gr-clean", "head", "--size", "16")
    assert result.code == 0, result.err
    assert result.out.startswith("srresnet, ×")
    gone = xlli("layers", "builtin:srresnet-gr-cleen")
    assert gone.code == 1
    assert "srresnet-gr-clean" in gone.err


def test_layers_of_a_file_that_is_gone_or_no_checkpoint(xlli: Xlli, tmp_path: Path) -> None:
    for path in (tmp_path / "gone.pth", tmp_path / "text.pth"):
        (tmp_path / "text.pth").write_text("no weights")
        result = xlli("layers", path)
        assert result.code == 1
        assert result.err.startswith("WeightsError: ")
        assert path.name in result.err


# -- report and doctor ------------------------------------------------------------------------------------------


def test_report_writes_the_page_again(xlli: Xlli, damaged: Path) -> None:
    result = xlli("report", damaged)
    assert result.code == 0, result.err
    page = Path(result.out.removeprefix("report: ").strip())
    assert page == damaged / "report" / "index.html"
    text = page.read_text()
    assert "toy" in text
    assert "<html" in text


def test_doctor_looks_at_the_environment_and_at_a_study(xlli: Xlli, study: Path) -> None:
    result = xlli("doctor", study)
    lines = result.out.splitlines()
    assert {line[:4].strip() for line in lines} <= {"ok", "note", "ILL"}
    assert result.code == (1 if any(line.startswith("ILL") for line in lines) else 0)
    assert any("torch" in line for line in lines)
    assert any("study: toy" in line and "12 samples" in line for line in lines)


# -- errors -----------------------------------------------------------------------------------------------------


def test_an_unknown_recipe_key_is_refused_with_the_nearest_one(xlli: Xlli, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, thread=2)
    result = xlli("run", recipe, "--out", tmp_path / "out", "--workers", "0")
    assert result.code == 1
    assert result.err.startswith(f"RecipeError: {recipe}: thread (line 25): there is no key 'thread': did you mean 'threads'?")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (("run", "gone.yaml"), "RecipeError", "gone.yaml: No such file or directory"),
        (("plan", "RECIPE", "--set", "seed"), "RecipeError", "write key.path=value"),
        (("plan", "RECIPE", "--set", "seeds=1"), "RecipeError", "did you mean 'seed'"),
        (("status", "nowhere"), "StudyError", "not a study (no study.json). Create one with `xlli run RECIPE --out nowhere`"),
        (("verify", "nowhere"), "StudyError", "not a study"),
        (("query", "nowhere", "select 1"), "StudyError", "not a study"),
        (("report", "nowhere"), "StudyError", "not a study"),
        (("status", "http://127.0.0.1:8265"), "RecipeError", "is not a job: write http://head:8265#JOB"),
        (("stop", "raysubmit_1"), "RecipeError", "is not a job"),
        (("submit", "RECIPE", "--address", "http://127.0.0.1:8265"), "RecipeError", "give an absolute path that all nodes share"),
        (("status", "s3://me:geheim@bucket/x"), "StudyError", "the URL contains credentials"),
        (("train", "gone.yaml", "--out", "x"), "RecipeError", "gone.yaml"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else None,
)
def test_an_error_is_one_message_that_says_where_and_what_to_do(
    xlli: Xlli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], kind: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = write_recipe(tmp_path)
    result = xlli(*(str(recipe) if word == "RECIPE" else word for word in arguments))
    assert result.code == 1
    assert result.out == ""
    assert result.err.startswith(f"{kind}: ")
    assert message in result.err
    assert "geheim" not in result.err


def test_surroundings_that_fail_are_3_and_a_held_study_is_4(xlli: Xlli, done: tuple[Path, Path], damaged: Path, tmp_path: Path) -> None:
    from xlli_ray.store.objects.client import open_objects
    from xlli_ray.store.records.lease import Lease

    (tmp_path / "file").write_text("not a folder")
    result = xlli("run", done[0], "--out", tmp_path / "file", "--workers", "0", "--quiet")
    assert result.code == 3
    assert result.err.startswith("EnvironmentFailure: ")
    assert "choose another --out" in result.err
    assert "[Errno" not in result.err
    lease = Lease.acquire(open_objects(damaged))
    try:
        held = xlli("run", done[0], "--out", damaged, "--workers", "0", "--quiet")
    finally:
        lease.release()
    assert held.code == 4
    assert "another run holds this study: host" in held.err
    assert "--takeover" in held.err


def test_an_interrupt_says_that_nothing_is_lost(xlli: Xlli, monkeypatch: pytest.MonkeyPatch, study: Path) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("xlli_ray.study.open_study", interrupt)
    result = xlli("status", study)
    assert result.code == 130
    assert result.err == "stopped; finished work is kept, run the same command again to continue\n"


@pytest.mark.parametrize(
    "arguments", [("rum", "x.yaml"), ("run",), ("run", "x.yaml", "--wokers", "2"), ("query", "s", "q", "--format", "xml")]
)
def test_a_command_line_that_is_wrong_is_refused_without_a_traceback(xlli: Xlli, arguments: tuple[str, ...]) -> None:
    result = xlli(*arguments)
    assert result.code != 0
    assert result.out + result.err


# -- the program itself -----------------------------------------------------------------------------------------


def test_help_lists_all_commands_and_imports_neither_torch_nor_ray() -> None:
    code = "import sys; sys.argv = ['xlli', '--help']\nfrom xlli_ray.__main__ import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
    code += "print(*[name for name in ('torch', 'ray') if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == ""
    words = done.stdout.split()
    assert [name for name in COMMANDS if name not in words] == []


@pytest.mark.parametrize("command", ["run", "scan", "plan", "verify", "report", "layers", "train", "submit"])
def test_help_says_a_default_once_and_none_of_what_is_off(xlli: Xlli, command: str) -> None:
    lines = xlli(command, "--help").out.splitlines()
    assert not [line for line in lines if line.count("[default") > 1 or "[default: ()]" in line or "[default: False]" in line]


def test_completion_is_installed_and_says_where(xlli: Xlli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    done = xlli("--install-completion", "--shell", "bash")
    assert done.code == 0, done.err
    (script,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert "xlli" in script.read_text()
    assert str(script) in "".join(done.out.split("\n"))


def test_every_command_has_help_of_its_own(xlli: Xlli) -> None:
    for name in COMMANDS:
        result = xlli(name, "--help")
        assert result.code == 0
        assert f"xlli {name}" in result.out
    assert xlli("--version").out.strip() == __version__


def test_the_exit_code_and_the_message_reach_the_shell(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "xlli_ray", "status", str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("StudyError: ")
    assert len(done.stderr.strip().splitlines()) == 1
