"""Photographs of as many sizes as files: one bucket for all, and the numbers of a bucket for each."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers import QUIET, image
from PIL import Image

from xlli_ray.analyses.shared.study_access import View
from xlli_ray.engine.run import many_sizes
from xlli_ray.engine.run.driver import run_study
from xlli_ray.engine.run.repair import repair_study
from xlli_ray.recipe import Recipe, load_recipe
from xlli_ray.report.page import write_report
from xlli_ray.store.records.manifest import SIZES, BucketPlan, SizePlan
from xlli_ray.store.verify.check_study import verify
from xlli_ray.store.zarr.shard import InnerGrid
from xlli_ray.study import Study, open_study

COUNT = 20
STAGES: tuple[dict[str, Any], ...] = (
    {"features": {"layers": ["net.head", "net.tail:input"]}},
    {"features": {"id": "pooled", "layers": ["net.head"], "pool": "mean"}},
    {"restore": {"save": True}},
)
SPATIAL = ("features/small/net.head.out", "features/small/net.tail.in", "restore/small/restore")
POOLED = "pooled/small/net.head.out"


def recipe_in(folder: Path, stages: Sequence[dict[str, Any]] = STAGES) -> Recipe:
    """Over a network that gives NaN for the bright image."""
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({
        "name": "sizes", "baseline": False,
        "corpus": {"images": [f"{folder}/photographs/*.png"], "scale": 2, "degradations": ["clean", {"noise": 20}]},
        "models": [{"id": "small", "network": "toy:nan_on_bright"}],
        "stages": list(stages), "batch": {"features": 2, "restore": 2},
    }))  # fmt: skip
    return load_recipe(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-two images of twenty sizes (three of the last one, number 3 bright), measured twice: `each` has a bucket for each size, as
    studies had, `one` has one."""
    out = tmp_path_factory.mktemp("sizes")
    (out / "photographs").mkdir()
    for i in range(COUNT + 2):
        number = min(i, COUNT - 1)
        pixels = image(i, 40 + 4 * (number % 5), 40 + 6 * (number // 5), light=0.8 if i == 3 else 0.4)
        Image.fromarray(pixels).save(out / "photographs" / f"{i:02d}.png")
    asked = recipe_in(out)
    run_study(asked, str(out / "one"), QUIET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many_sizes, "MANY", 1 << 30)
        run_study(asked, str(out / "each"), QUIET)
    return out


@pytest.fixture
def each(folder: Path) -> Study:
    return open_study(folder / "each")


@pytest.fixture
def one(folder: Path) -> Study:
    return open_study(folder / "one")


def ids(study: Study) -> list[str]:
    return [str(name) for name in study.sql("select sample_id from samples order by row")["sample_id"].to_pylist()]


def files(study: Study) -> list[str]:
    return [key for part in ("arrays.zarr", "records") for key in study.objects.list(part)]


def test_rows_scalars_failures_and_identities_are_those_of_a_bucket_for_each_size(each: Study, one: Study) -> None:
    """The bright image's batch is cut by the edge of a unit: NaN is its own, and no neighbour's."""
    assert len(each.manifest.cells[0].buckets) == COUNT
    assert [[bucket.name for bucket in cell.buckets] for cell in one.manifest.cells] == [[SIZES]] * len(one.manifest.cells)
    assert [cell.hash for cell in each.manifest.cells] == [cell.hash for cell in one.manifest.cells]
    good = [name for name in ids(one) if name not in one.failures["sample_id"].to_pylist()]
    assert 0 < len(good) < len(ids(one))
    for array in SPATIAL:
        for ours, theirs in zip(one.array(array).rows(good), each.array(array).rows(good), strict=True):
            assert (ours.dtype, ours.tobytes()) == (theirs.dtype, theirs.tobytes())
    pooled = one.array(POOLED).rows(ids(one))
    assert isinstance(pooled, np.ndarray), "what has one shape for all sizes is one array"
    assert pooled.tobytes() == np.stack(each.array(POOLED).rows(ids(one))).tobytes()
    for statement in ("select * from restore order by row", "select * from failures order by stage, what, row"):
        assert repr(one.sql(statement).to_pylist()) == repr(each.sql(statement).to_pylist()), "nan is nan"


def test_units_may_cut_a_batch_and_both_run_all_of_it(one: Study) -> None:
    bucket, start, stop = next(
        unit for unit in map(one.manifest.cells[0].unit, range(one.manifest.cells[0].units)) if unit[1] > unit[0].forwards(*unit[1:])[0][0]
    )
    (first, last), *_ = bucket.forwards(start, stop)
    assert first < start < last <= stop
    assert all(last - first <= bucket.batch for first, last in bucket.forwards(start, stop))


def test_forwards_never_mix_sizes_and_leave_out_what_is_refused() -> None:
    sizes = (
        SizePlan("h0008w0008", 8, 8, 3, 2, {}), SizePlan("h0009w0009", 9, 9, 2, 4, {}, refused="too odd"),
        SizePlan("h0010w0010", 10, 10, 5, 4, {}),
    )  # fmt: skip
    bucket = BucketPlan(SIZES, 10, 10, 10, 4, 4, 0, ((0, 10),), (), sizes=sizes)
    assert bucket.forwards(0, 4) == [(0, 2), (2, 3)]
    assert bucket.forwards(4, 8) == [(5, 9)], "whole, though the unit ends at 8"
    assert bucket.forwards(8, 10) == [(5, 9), (9, 10)]
    assert bucket.refusals(0, 10) == {3: "too odd", 4: "too odd"}
    assert [(part.name, part.segments, part.offset) for part in bucket.exact] == [
        ("h0008w0008", ((0, 3),), 0), ("h0009w0009", ((3, 2),), 3), ("h0010w0010", ((5, 5),), 5),
    ]  # fmt: skip


def test_tiles_beyond_the_extent_of_a_sample_are_not_stored() -> None:
    grid = InnerGrid((2, 5, 9), 2, (2, 2, 3))
    assert (grid.blocks, grid.counts) == (9, (1, 3, 3))
    assert [number for number, _ in grid.pieces((2, 3, 3))] == [0, 3]
    assert dict(grid.pieces((2, 3, 3)))[3] == (slice(0, 2), slice(2, 3), slice(0, 3))


def test_it_is_whole_and_has_a_fraction_of_the_files(each: Study, one: Study) -> None:
    assert list(verify(one.archive)) == []
    assert len(files(one)) < len(files(each)) / 2


def test_one_size_is_read_by_name_lazily_and_by_analyses_as_from_a_bucket_of_its_own(each: Study, one: Study) -> None:
    array = one.array(SPATIAL[0])
    assert array.buckets == each.array(SPATIAL[0]).buckets
    name = array.buckets[-1]
    lazy, known = array.xarray(name), each.array(SPATIAL[0]).xarray(name)
    assert (lazy.dims, lazy.shape) == (known.dims, known.shape)
    assert lazy.values.tobytes() == known.values.tobytes()
    assert lazy[-1, :, 3].values.tobytes() == known[-1, :, 3].values.tobytes()
    with View(one.archive, one.manifest.cells) as ours, View(each.archive, each.manifest.cells) as theirs:
        for cell in (SPATIAL[0], POOLED):
            mine, other = list(ours.array(cell).blocks()), list(theirs.array(cell).blocks())
            for what in ("table_rows", "values", "valid"):
                assert b"".join(getattr(rows, what).tobytes() for rows in mine) == b"".join(getattr(rows, what).tobytes() for rows in other)


def test_a_study_with_a_bucket_for_each_size_goes_on_and_what_is_added_lies_in_one(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "each", tmp_path / "old")
    assert run_study(recipe_in(folder), str(tmp_path / "old"), QUIET).units_run == 0
    more = [*STAGES, {"features": {"id": "more", "layers": ["net.body"]}}]
    assert run_study(recipe_in(folder, more), str(tmp_path / "old"), QUIET).units_run > 0
    buckets = {cell.stage: len(cell.buckets) for cell in open_study(tmp_path / "old").manifest.cells}
    assert buckets == {"features": COUNT, "pooled": COUNT, "restore": COUNT, "more": 1}
    assert list(verify(open_study(tmp_path / "old").archive)) == []


def test_damage_is_named_and_repaired_and_only_its_unit_is_computed(folder: Path, tmp_path: Path, one: Study) -> None:
    place = tmp_path / "study"
    shutil.copytree(folder / "one", place)
    shards = sorted((place / "arrays.zarr" / SPATIAL[0] / SIZES).glob("*/c/3/**/0"))
    shard = next(path for path in shards if path.is_file() and path.stat().st_size > 1000)
    data = bytearray(shard.read_bytes())
    data[40] ^= 1
    shard.write_bytes(bytes(data))
    extent = next((place / "arrays.zarr" / SPATIAL[0] / SIZES).glob("*.extent/c/0/0"))
    extent.write_bytes(bytes(len(extent.read_bytes())))
    told = list(verify(open_study(place).archive))
    assert [line for line in told if "bytes differ from the record of unit 3" in line]
    assert [line for line in told if ".extent" in line and "differs from the plan" in line]
    repair_study(str(place))
    assert run_study(recipe_in(folder), str(place), QUIET).units_run == 1
    study = open_study(place)
    assert list(verify(study.archive)) == []
    assert extent.read_bytes() == (folder / "one" / extent.relative_to(place)).read_bytes()
    for name in ids(one):
        if name not in one.failures["sample_id"].to_pylist():
            assert study.array(SPATIAL[0]).rows([name])[0].tobytes() == one.array(SPATIAL[0]).rows([name])[0].tobytes()


def test_its_page_and_its_views_show_samples_of_their_own_size(folder: Path, one: Study) -> None:
    assert (Path(write_report(str(folder / "one")))).stat().st_size > 10_000
    name = next(name for name in ids(one) if name not in one.failures["sample_id"].to_pylist())
    sample = one.sample(name)
    assert sample.output("small").shape[1:] == tuple(2 * side for side in sample.input.shape[1:])
