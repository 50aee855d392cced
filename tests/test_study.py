"""Reading results: SQL, rows, lazy xarray, and what an unfinished or remote study gives."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from PIL import Image

import xlli_ray
from xlli_ray.errors import StudyError
from xlli_ray.report.text import status_text
from xlli_ray.study import Study, open_study

ENGINE_TESTS = Path(__file__).parent / "engine"
if str(ENGINE_TESTS) not in sys.path:
    sys.path.insert(0, str(ENGINE_TESTS))  # `network: toy:small`

HEAD = "features/small/head.out"
KEPT = "restore/small/restore"


def write_recipe(folder: Path, **sections: Any) -> Path:
    """Seven images of two sizes, one of them bright, beside a recipe over toy networks."""
    images = folder / "images"
    images.mkdir(parents=True)
    for i in range(7):
        coarse = np.random.default_rng(i).normal(0.85 if i == 4 else 0.4, 0.05, (12, 12 if i % 3 else 16, 3))
        fine = np.kron(coarse, np.ones((4, 4, 1))).clip(0, 1)
        Image.fromarray((fine * 255).astype(np.uint8)).save(images / f"{i}.png")
    data = {
        "name": "toy",
        "baseline": False,
        "corpus": {"images": ["images/*.png"], "scale": 2, "degradations": ["clean", {"noise": 20}]},
        "models": [
            {"id": "small", "network": "toy:small", "tags": {"family": "toy", "depth": 2}},
            {"id": "fragile", "network": "toy:nan_on_bright", "tags": {"family": "toy", "scale": "odd"}},
        ],
        "stages": [
            {"features": {"layers": ["head", "tail:input"], "dtype": "float32", "models": ["small"]}},
            {"features": {"id": "inside", "layers": ["net.head"], "models": ["fragile"]}},
            {"restore": {"save": True}},
        ],
        "batch": {"features": 2, "restore": 2},
        **sections,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    xlli_ray.run(str(write_recipe(folder)), str(folder / "study"))
    return folder / "study"


@pytest.fixture
def study(place: Path) -> Study:
    return open_study(place)


@pytest.fixture
def copy(place: Path, tmp_path: Path) -> Path:
    """A study that a test may harm."""
    return Path(shutil.copytree(place, tmp_path / "copy"))


def ids(study: Study, where: str = "true") -> list[str]:
    return study.sql(f"select sample_id from samples where {where} order by row")["sample_id"].to_pylist()


SQUARE, WIDE = "width = height", "width > height"


# -- tables -----------------------------------------------------------------------------------------------------


def test_opening_what_is_no_study_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"not a study \(no study\.json\)\. Create one with `xlli run RECIPE --out"):
        open_study(tmp_path)
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(StudyError, match="damaged"):
        open_study(tmp_path)
    (tmp_path / "study.json").write_text('{"format": 99}')
    with pytest.raises(StudyError, match="store format 99, this version reads 1 and 2; use the version that wrote it"):
        open_study(tmp_path)


def test_sql_joins_the_tables_and_gives_an_arrow_table(study: Study) -> None:
    table = study.sql(
        "select model, label, count(*) as n, avg(psnr_y) as psnr from restore join samples using (sample_id) "
        "where status = 'ok' group by all order by all"
    )
    assert isinstance(table, pa.Table)
    rows = table.to_pylist()
    assert [(row["model"], row["label"], row["n"]) for row in rows] == [
        ("fragile", "clean", 6), ("fragile", "noise20", 6), ("small", "clean", 7), ("small", "noise20", 7),
    ]  # fmt: skip
    assert rows[2]["psnr"] != rows[3]["psnr"]
    with pytest.raises(StudyError, match="Tables: failures, features, models, restore, samples"):
        study.sql("select * from nowhere")


def test_a_study_is_whole_whatever_the_order_in_which_its_recipe_names_the_tags(study: Study) -> None:
    """study.json sorts them; the mark of the tables took them as the recipe had them, and did not fit when it was read again."""
    from xlli_ray.store.tables.study_tables import tables_are_fresh

    assert tables_are_fresh(study.archive)


def test_models_have_their_tags_as_columns_and_a_tag_hides_no_column(study: Study) -> None:
    rows = {row["id"]: row for row in study.models.to_pylist()}
    assert set(rows) == {"small", "fragile"}
    assert (rows["small"]["family"], rows["small"]["depth"], rows["small"]["scale"]) == ("toy", 2, 2)
    assert rows["fragile"]["depth"] is None
    assert rows["fragile"]["tag_scale"] == "odd"
    assert len(rows["small"]["weights_sha256"]) == 64


def test_failures_name_the_sample_and_the_reason(study: Study) -> None:
    rows = study.failures.to_pylist()
    assert {(row["stage"], row["model"]) for row in rows} == {("inside", "fragile"), ("restore", "fragile")}
    assert all(row["kind"] == "sample" for row in rows)
    assert {row["reason"] for row in rows if row["stage"] == "inside"} == {"not finite: NaN or infinity in net.head.out"}
    joined = study.sql("select distinct s.source as source from failures f join samples s on f.sample_id = s.sample_id")
    assert [Path(name).name for name in joined["source"].to_pylist()] == ["4.png"]


def test_the_features_table_tells_what_is_stored(study: Study) -> None:
    rows = {(r["stage"], r["what"], r["bucket"]): r for r in study.sql("select * from features where model = 'small'").to_pylist()}
    row = rows["features", "head.out", "h0024w0024"]
    assert (row["rows"], row["valid"], row["shape"], row["dtype"]) == (8, 8, [6, 24, 24], "float32")
    assert row["bytes"] == 8 * 6 * 24 * 24 * 4
    assert row["path"] == "arrays.zarr/features/small/head.out/h0024w0024/features"
    assert (row["stride_y"], row["stride_x"]) == (1.0, 1.0)
    inside = study.sql("select sum(rows) as rows, sum(valid) as valid from features where stage = 'inside'").to_pylist()
    assert inside == [{"rows": 14, "valid": 12}]


def test_status_counts_units_and_failed_samples(study: Study) -> None:
    state = study.status()
    assert state["complete"]
    assert (state["samples"], state["rejected"]) == (14, 0)
    assert state["failed"] == {"inside": 2, "restore": 2}
    assert "14 samples, 2 models, 5 cells" in repr(study)


# -- arrays -----------------------------------------------------------------------------------------------------


def test_an_unknown_array_names_the_nearest(study: Study) -> None:
    assert study.arrays == [HEAD, "features/small/tail.in", "inside/fragile/net.head.out", "restore/fragile/restore", KEPT]
    with pytest.raises(StudyError, match=r"no array 'features/smal/head\.out'.*nearest: features/small/head\.out"):
        study.array("features/smal/head.out")


def test_an_array_knows_its_buckets_and_samples(study: Study) -> None:
    array = study.array(HEAD)
    assert array.name == HEAD
    assert array.buckets == ["h0024w0024", "h0024w0032"]
    assert "h0024w0024: 8×[6, 24, 24] float32" in repr(array)
    assert array.samples("h0024w0032")["sample_id"].to_pylist() == ids(study, WIDE)
    with pytest.raises(StudyError, match="name one of its buckets: h0024w0024, h0024w0032"):
        array.reader()
    with pytest.raises(StudyError, match="name one of its buckets"):
        array.reader("h0001w0001")


def test_rows_are_the_features_of_those_samples_in_their_order(study: Study) -> None:
    import toy

    from xlli_ray.corpus.sample import Loader, sample_from_row

    wanted = ids(study, SQUARE)[::-1]
    rows = study.array(HEAD).rows(wanted)
    assert isinstance(rows, np.ndarray)
    assert rows.shape == (8, 6, 24, 24)
    table = {row["sample_id"]: row for row in study.sql("select * from samples").to_pylist()}
    loader = Loader(max_pixels=10**6)
    network = toy.small()
    for name, row in zip(wanted, rows):
        image = torch.from_numpy(loader.load(sample_from_row(table[name])).input)
        with torch.no_grad():
            assert np.abs(network.head(image[None])[0].numpy() - row).max() < 1e-5


def test_ids_are_found_in_a_table_that_is_too_large_to_hold(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    held, searched = study.array(HEAD), study.array(HEAD)
    every = ids(study)
    wanted = [*every[::-1], every[3]]
    before = held.rows(wanted)
    monkeypatch.setattr("xlli_ray.study.HELD_IDS", 0)
    monkeypatch.setattr(type(searched), "_every", property(lambda _: pytest.fail("all ids are held")))
    assert all(np.array_equal(one, other, equal_nan=True) for one, other in zip(before, searched.rows(wanted), strict=True))
    with pytest.raises(StudyError, match=r"no sample 'nobody' here \(1 of 2 ids are unknown\)"):
        searched.rows([every[0], "nobody"])
    assert len(searched.rows([])) == 0


def test_many_failures_are_counted_as_few_are(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    few = study.status()
    assert few["failures"]["samples"] > 0
    monkeypatch.setattr("xlli_ray.store.tables.study_tables._MANY", 0)
    assert study.status() == few


def test_a_status_of_many_records_reads_none_of_them(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = open_study(copy).status()
    (copy / "tables" / "index.json").unlink()
    monkeypatch.setattr("xlli_ray.store.tables.study_tables.LOOKED_AT", 1)
    monkeypatch.setattr("xlli_ray.store.tables.study_tables.read_receipts", lambda *_: pytest.fail("a record was read"))
    state = open_study(copy).status()
    assert state["failures"] == {**few["failures"], "as_of": "the last run that ended"}
    assert "(as of the last run that ended; since then: --watch)" in status_text(state)
    (copy / "tables" / "failures.parquet").unlink()
    assert open_study(copy).status()["failures"]["samples"] == 0


def test_a_query_during_a_run_makes_only_the_tables_that_it_names(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copy / "tables" / "index.json").unlink()
    study = open_study(copy)
    wanted = study.failures
    monkeypatch.setattr("xlli_ray.store.tables.study_tables.kind_batches", lambda *_: pytest.fail("the table restore was made"))
    assert study.sql("select * from failures") == wanted
    assert study.models.num_rows == 2
    with pytest.raises(StudyError, match=r"Tables: .*restore"):
        study.sql("select nothing from failures")


def test_rows_may_repeat_and_each_is_the_same(study: Study) -> None:
    first, second = ids(study, SQUARE)[:2]
    rows = study.array(HEAD).rows([second, first, second])
    assert np.array_equal(rows[0], rows[2])
    assert not np.array_equal(rows[0], rows[1])
    assert np.array_equal(rows[1], study.array(HEAD).rows([first])[0])


def test_rows_that_span_buckets_are_a_list_never_padded(study: Study) -> None:
    a, b, c = ids(study, WIDE)[0], ids(study, SQUARE)[0], ids(study, WIDE)[1]
    rows = study.array(HEAD).rows([a, b, c])
    assert isinstance(rows, list)
    assert [row.shape for row in rows] == [(6, 24, 32), (6, 24, 24), (6, 24, 32)]
    assert np.array_equal(rows[2], study.array(HEAD).rows([c])[0])


def test_an_unknown_id_is_refused_and_counted_and_no_ids_give_no_rows(study: Study) -> None:
    with pytest.raises(StudyError, match=r"no sample 'ffff' here \(2 of 3 ids are unknown\)"):
        study.array(HEAD).rows([ids(study)[0], "ffff", "eeee"])
    assert len(study.array(HEAD).rows([])) == 0


def test_failed_rows_are_nan_for_floats_and_refused_for_integers(study: Study) -> None:
    bright = study.sql("select distinct sample_id from failures")["sample_id"].to_pylist()
    assert len(bright) == 2
    good = next(name for name in ids(study, SQUARE) if name not in bright)
    rows = study.array("inside/fragile/net.head.out").rows([*bright, good])
    assert np.isnan(rows[:2]).all()
    assert np.isfinite(rows[2]).all()
    assert np.isfinite(study.array(HEAD).rows(bright)).all(), "the other model measured them"
    with pytest.raises(StudyError, match=r"was not measured; see `study\.failures`"):
        study.array("restore/fragile/restore").rows(bright)
    assert study.array(KEPT).rows(bright).dtype == np.uint8


def test_a_scan_gives_every_row_once_and_the_same_bytes_as_rows(study: Study) -> None:
    array = study.array(HEAD)
    for bucket, where in (("h0024w0024", SQUARE), ("h0024w0032", WIDE)):
        blocks = list(array.scan(bucket))
        assert [block.start for block in blocks] == [0, 2, 4, 6][: len(blocks)]
        assert all(block.valid.all() for block in blocks)
        assert np.array_equal(np.concatenate([block.values for block in blocks]), array.rows(ids(study, where)))


def test_another_table_in_the_place_of_the_samples_is_named_and_not_taken_for_them(copy: Path) -> None:
    for name in ("tables/models.parquet", "samples/rejected.parquet"):
        shutil.copyfile(copy / name, copy / "samples/part-00000.parquet")
        with pytest.raises(StudyError, match=r"samples/part-00000\.parquet: damaged .another table of \d+ rows, not 14 samples.*--repair"):
            open_study(copy).array(HEAD).xarray("h0024w0024")


# -- xarray -----------------------------------------------------------------------------------------------------


def test_xarray_is_lazy_and_has_the_sample_columns_and_valid_as_coordinates(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    from zarr.storage import LocalStore

    data = study.array("inside/fragile/net.head.out").xarray("h0024w0024")
    read: list[str] = []
    real = LocalStore.get

    async def watched(self: Any, key: str, *arguments: Any, **named: Any) -> Any:
        read.append(key)
        return await real(self, key, *arguments, **named)

    monkeypatch.setattr(LocalStore, "get", watched)
    assert data.dims == ("sample", "channel", "y", "x")
    assert data.shape == (8, 6, 24, 24)
    assert {"sample_id", "label", "content", "source", "noise", "valid"} <= set(data.coords)
    noisy = data[data.label == "noise20"]
    assert not [key for key in read if "/c/" in key or key.startswith("c/")], "nothing was read so far"
    assert noisy.sizes["sample"] == 4
    assert int(noisy.valid.sum()) == 3
    values = noisy[noisy.valid].values
    assert read
    assert np.isfinite(values).all()
    good = [str(name) for name in noisy[noisy.valid].sample_id.values]
    assert np.array_equal(values, study.array("inside/fragile/net.head.out").rows(good))


def test_xarray_opens_a_bucket_group_without_us(place: Path, study: Study) -> None:
    import xarray as xr

    group = place / "arrays.zarr" / HEAD / "h0024w0032"
    dataset = xr.open_zarr(group, consolidated=False)
    assert set(dataset.data_vars) == {"features", "valid", "row"}
    assert dataset.features.dims == ("sample", "channel", "y", "x")
    assert dataset.valid.values.all()
    assert np.array_equal(dataset.features.values, study.array(HEAD).rows(ids(study, WIDE)))
    table = study.sql("select row from samples where width > height order by row")["row"].to_pylist()
    assert dataset.row.values.tolist() == table
    fragile = xr.open_zarr(place / "arrays.zarr/inside/fragile/net.head.out/h0024w0024", consolidated=False)
    assert int(fragile.valid.sum()) == 6
    assert np.isnan(fragile.features.values[~fragile.valid.values]).all()


def test_the_whole_tree_opens_as_one_zarr_group(place: Path) -> None:
    import zarr

    root = zarr.open_group(str(place / "arrays.zarr"), mode="r")
    assert root.attrs["xlli_ray"] == {"format": 1}
    assert sorted(root.group_keys()) == ["features", "inside", "restore"]
    array = root["features/small/head.out/h0024w0024/features"]
    assert array.dtype == np.float32
    assert array.shape == (8, 6, 24, 24)


# -- while it runs ----------------------------------------------------------------------------------------------


def forget(copy: Path, cell: str, unit: int) -> tuple[int, int]:
    """Take one unit's record away, as if the unit were still to do; its shard stays. Returns its rows."""
    record = next(copy.glob(f"records/{cell}/{unit:07d}.*.arrow"))
    record.unlink()
    bucket, start, stop = open_study(copy).manifest.cell(cell).unit(unit)
    assert bucket.name == "h0024w0024"
    return start, stop


def test_a_row_without_its_record_is_not_trusted_though_its_bytes_are_there(copy: Path) -> None:
    start, stop = forget(copy, HEAD, 1)
    study = open_study(copy)
    array = study.array(HEAD)
    names = array.samples("h0024w0024")["sample_id"].to_pylist()
    rows = array.rows(names)
    inside = np.zeros(len(names), bool)
    inside[start:stop] = True
    assert np.isnan(rows[inside]).all()
    assert np.isfinite(rows[~inside]).all()
    assert np.array_equal(array.xarray("h0024w0024").valid.values, ~inside), "the record decides, not the `valid` array of the last run"
    blocks = list(array.scan("h0024w0024"))
    assert np.array_equal(np.concatenate([block.valid for block in blocks]), ~inside)
    assert np.isnan(np.concatenate([block.values for block in blocks])[inside]).all()
    assert not study.status()["complete"]
    assert study.sql("select valid from features where what = 'head.out' and bucket = 'h0024w0024'")["valid"].to_pylist() == [8 - 2]


def test_scalars_without_their_record_are_not_in_the_table_and_integers_are_refused(copy: Path) -> None:
    forget(copy, KEPT, 0)
    study = open_study(copy)
    assert study.sql("select count(*) as n from restore where model = 'small'")["n"].to_pylist() == [12]
    with pytest.raises(StudyError, match="was not measured"):
        study.array(KEPT).rows(study.array(KEPT).samples("h0024w0024")["sample_id"].to_pylist()[:1])


def test_a_study_that_was_only_scanned_can_be_asked(tmp_path: Path) -> None:
    from xlli_ray.engine.options import Options
    from xlli_ray.engine.run.driver import scan_study

    scan_study(xlli_ray.load_recipe(write_recipe(tmp_path)), str(tmp_path / "out"), Options(workers=0, quiet=True))
    study = open_study(tmp_path / "out")
    assert study.sql("select count(*) as n from samples")["n"].to_pylist() == [14]
    assert study.arrays == []
    assert study.failures.num_rows == 0
    assert not study.status()["complete"]
    with pytest.raises(StudyError, match="nearest: none is stored"):
        study.array(HEAD)


# -- in an object store -----------------------------------------------------------------------------------------


def same_results(here: Study, there: Study) -> None:
    assert there.status()["complete"]
    for table in ("restore", "failures", "features", "models"):
        one, other = (study.sql(f"select * from {table}") for study in (here, there))
        assert one.schema == other.schema
        assert str(one.to_pylist()) == str(other.to_pylist()), table  # as text: NaN is not NaN
    for name in here.arrays:
        for bucket in here.array(name).buckets:
            for one, other in zip(here.array(name).scan(bucket), there.array(name).scan(bucket), strict=True):
                assert np.array_equal(one.values, other.values, equal_nan=one.values.dtype.kind == "f")
                assert np.array_equal(one.valid, other.valid)


def test_a_whole_run_into_an_object_store_gives_the_same_results(study: Study, place: Path) -> None:
    """Through obstore's memory store: the code path of s3, gs and az."""
    url = "memory://test-study/one"
    recipe = str(place.parent / "recipe.yaml")
    there = xlli_ray.run(recipe, url)
    assert there.objects.url == url
    same_results(study, there)
    some = [ids(study, SQUARE)[3], ids(study, SQUARE)[0]]
    assert np.array_equal(there.array(HEAD).rows(some), study.array(HEAD).rows(some))


def test_xarray_reads_from_an_object_store(place: Path, study: Study) -> None:
    there = xlli_ray.run(str(place.parent / "recipe.yaml"), "memory://test-study/three")
    data = there.array(HEAD).xarray("h0024w0032")
    assert np.array_equal(data.values, study.array(HEAD).rows(ids(study, WIDE)))


ONE_CELL = ("models=[{id: small, network: 'toy:small'}]", "stages=[{restore: {save: true}}]")


def test_a_bucket_study_is_resumed_and_verified(place: Path) -> None:
    from xlli_ray.engine.options import Options
    from xlli_ray.engine.run.driver import run_study
    from xlli_ray.store.verify.check_study import verify

    url = "memory://test-study/two"
    recipe = xlli_ray.load_recipe(place.parent / "recipe.yaml", overrides=ONE_CELL)
    first = run_study(recipe, url, Options(workers=0, quiet=True))
    assert first.units_run == first.units == 7
    there = open_study(url)
    gone = [key for key in there.objects.list(f"records/{KEPT}") if key.endswith(".arrow")][2:4]
    there.objects.delete(gone)
    assert [line for line in verify(there.archive) if "2 of 7 units without a record" in line]
    again = run_study(recipe, url, Options(workers=0, quiet=True))
    assert again.units_run == 2
    there = open_study(url)
    assert list(verify(there.archive)) == []
    assert run_study(recipe, url, Options(workers=0, quiet=True)).complete


def test_the_same_through_a_bucket_interface_over_a_folder(
    study: Study, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """obstore's LocalStore stands for a bucket whose objects a test can look at."""
    import obstore.store

    from xlli_ray.store.objects import client as module

    folder = tmp_path / "bucket"
    folder.mkdir()
    url = "s3://bucket/study"
    bucket = module.BucketObjects(url, obstore.store.LocalStore(str(folder)))
    real: Callable[..., Any] = module.open_objects

    def opened(where: str | Path) -> Any:
        return bucket if str(where) == url else real(where)

    for name in ("engine.run.session", "engine.worker.worker", "engine.run.scan_runner", "store.archive", "store.objects.client"):
        monkeypatch.setattr(f"xlli_ray.{name}.open_objects", opened)
    same_results(study, xlli_ray.run(str(place.parent / "recipe.yaml"), url))
    assert (folder / "study.json").exists()
    assert not list(folder.rglob("*.partial"))
