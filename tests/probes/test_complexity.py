"""Complexity of samples: image and residual, the same places under every degradation, and the stage from recipe to table."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import xlli_ray
from xlli_ray.probes.complexity import PATCH, Complexity, Params, cut, grid_places, luma8
from xlli_ray.probes.measurement import Batch
from xlli_ray.report.section import Rows
from xlli_ray.report.sections.complexity_table import complexity_section
from xlli_ray.stats.image_complexity import measures

RECIPE = """
name: complexity
corpus: {images: ["photos/*.png"], scale: 1, degradations: [clean, {noise: 20}]}
stages: [{complexity: {patches: 6, crop: 32}}]
"""


@pytest.fixture
def study(tmp_path: Path) -> xlli_ray.Study:
    (tmp_path / "photos").mkdir()
    for i in range(3):
        coarse = np.random.default_rng(i).integers(0, 255, (6, 5, 3), np.uint8)
        Image.fromarray(coarse.repeat(8, 0).repeat(8, 1)).save(tmp_path / "photos" / f"{i}.png")
    Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(tmp_path / "photos" / "flat.png")
    Image.fromarray(np.zeros((20, 40, 3), np.uint8)).save(tmp_path / "photos" / "small.png")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return xlli_ray.run(str(tmp_path / "recipe.yaml"), str(tmp_path / "study"))


def test_a_recipe_without_networks_measures_images_and_residuals(study: xlli_ray.Study) -> None:
    rows = study.sql("select label, source, c.* from complexity c join samples using (sample_id) where status = 'ok'").to_pylist()
    assert len(rows) == 8
    for row in rows:
        noisy = row["label"] == "noise20"
        assert math.isfinite(row["tv"])
        assert math.isfinite(row["residual_tv"]) == noisy, "a clean sample has no residual"
        if noisy:
            assert row["residual_bpp_png"] > row["bpp_png"]
            assert row["residual_spectral_slope"] == pytest.approx(0, abs=0.5)
            assert row["residual_clamped"] == 0.0
    image = next(row for row in rows if row["source"].endswith("/1.png") and row["label"] == "clean")
    grey = luma8(np.asarray(Image.open(image["source"].removeprefix("file://"))).transpose(2, 0, 1).astype(np.float32) / 255)
    assert measures(grey) == {name: image[name] for name in measures(grey)}


def test_a_sample_smaller_than_its_crop_is_a_failed_row(study: xlli_ray.Study) -> None:
    reasons = study.sql("select distinct reason from failures").to_pylist()
    assert reasons == [{"reason": "too small for its complexity: 40×20 pixels, expected 32 a side or more"}]


def test_a_flat_image_has_the_measures_that_are_defined(study: xlli_ray.Study) -> None:
    query = "select c.* from complexity c join samples using (sample_id) where label = 'clean' and source like '%/flat.png'"
    (row,) = study.sql(query).to_pylist()
    assert row["status"] == "ok"
    assert row["entropy"] == 0.0
    assert math.isnan(row["spectral_slope"])


def test_the_page_shows_both_sides_in_one_table(study: xlli_ray.Study) -> None:
    context = SimpleNamespace(rows=lambda sql, values: study.sql(sql.replace("?", f"'{values[0]}'")).to_pylist(), stage="complexity",
                              labels=["clean", "noise20"])  # fmt: skip
    (table,) = complexity_section(context)  # type: ignore[arg-type]
    assert isinstance(table, Rows)
    (row,) = (row for row in table.rows if row["measure"].startswith("bpp_png"))
    assert row["r0"] > row["image"] > 0
    assert "r0: residual of noise20" in table.about


def batch_of(make: Callable[..., Batch], *, added: float) -> Batch:
    """Three samples of scale 1: the target, and the target plus a constant."""
    batch = make(3, 40, 52, scale=1)
    targets = [np.round(target * 100) / 255 for target in batch.targets if target is not None]
    return replace(batch, input=torch.from_numpy(np.stack(targets) + np.float32(added / 255)), targets=targets)


def test_patches_of_all_degraded_copies_lie_at_the_same_places_and_do_not_overlap(make_batch: Callable[..., Batch]) -> None:
    probe = Complexity(Params(patches=12, crop=32), {})
    one, other = (probe.measure(None, batch_of(make_batch, added=added), None).arrays for added in (10.0, 30.0))
    np.testing.assert_array_equal(one["patches"][:, 0], other["patches"][:, 0])
    assert (one["patches"][:, 1] == 10).all()
    assert (other["patches"][:, 1] == 30).all()
    assert (one["crop"][:, 1] == 10).all()
    assert not np.array_equal(one["patches"][0, 0], one["patches"][1, 0]), "another content, other places"
    places = grid_places(40, 52, 99, np.random.default_rng(0))
    assert len(places) == 5 * 6
    seen = np.zeros((40, 52), int)
    for top, left in places:
        seen[top : top + PATCH, left : left + PATCH] += 1
    assert seen.max() == 1
    image = np.arange(40 * 52).reshape(40, 52)
    np.testing.assert_array_equal(cut(image, places[:1])[0], image[places[0, 0] : places[0, 0] + 8, places[0, 1] : places[0, 1] + 8])


def test_fewer_patches_than_asked_for_are_a_gap_and_no_zeros(make_batch: Callable[..., Batch]) -> None:
    arrays = Complexity(Params(patches=64), {}).measure(None, batch_of(make_batch, added=10.0), None).arrays
    assert np.isfinite(arrays["patches"][:, :, :30]).all()
    assert np.isnan(arrays["patches"][:, :, 30:]).all()


def test_residuals_are_measured_at_scale_1_only_and_without_a_target_the_input_is(make_batch: Callable[..., Batch]) -> None:
    probe = Complexity(Params(patches=4), {})
    larger = probe.measure(None, make_batch(2, 24, 24, scale=2), None)
    assert np.isnan(larger.columns["residual_tv"]).all()
    assert np.isfinite(larger.columns["tv"]).all()
    given = make_batch(2, 24, 24, targets=False)
    found = probe.measure(None, given, None)
    assert found.columns["tv"][1] == measures(luma8(given.input[1].numpy()))["tv"]


def test_an_image_with_nan_is_a_failed_row(make_batch: Callable[..., Batch]) -> None:
    batch = make_batch(2, 24, 24, scale=1)
    batch.input[1, 0, 3, 3] = np.nan
    assert Complexity(Params(), {}).measure(None, batch, None).failed == {1: "not finite: NaN or infinity in the image"}


def test_a_crop_too_small_for_a_learning_curve_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0 or an integer ≥ 16, got 8"):
        Params(crop=8)
