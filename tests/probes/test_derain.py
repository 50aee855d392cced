"""The probe `derain`: which mask it takes, networks of which everything is known, and what it says of pairs that cannot be scored."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import xlli_ray
from xlli_ray.errors import PlanError
from xlli_ray.probes.derain import Derain, Params
from xlli_ray.probes.measurement import Batch, Forward, Measurement
from xlli_ray.probes.restore import score

SIZE = (24, 20)
INPUT = {"id": "same", "network": "xlli_ray.models.networks.bicubic:make", "args": {"scale": 1}}


def scene(seed: int = 0, strength: float = 100.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rainy, clean, mask): float32 (3, H, W) in 0..1 of 8-bit values, and where the rain is."""
    rng = np.random.default_rng(seed)
    clean = rng.integers(0, 140, (3, *SIZE))
    mask = rng.random(SIZE) < 0.3
    rainy = clean + np.where(mask, strength, 0)
    return (rainy / 255).astype(np.float32), (clean / 255).astype(np.float32), mask


@pytest.fixture
def measured(make_batch: Callable[..., Batch]) -> Callable[..., dict[str, Any]]:
    """`measured(output, rainy, clean, params, extras)`: the columns of one sample."""

    def go(output: np.ndarray, rainy: np.ndarray, clean: np.ndarray, params: dict[str, Any] | None = None,
           extras: dict[str, np.ndarray] | None = None) -> dict[str, Any]:  # fmt: skip
        batch = replace(make_batch(1), input=torch.from_numpy(rainy[None]), targets=[clean], extras=[extras or {}])
        found = whole(batch, output, params)
        assert found.failed == {}
        return {name: values[0] for name, values in found.columns.items()}

    return go


def whole(batch: Batch, output: np.ndarray, params: dict[str, Any] | None = None) -> Measurement:
    probe = Derain(Params(**(params or {})), {})
    return probe.measure(None, batch, Forward(torch.from_numpy(np.asarray(output, np.float32))[None], {}))  # type: ignore[arg-type]


BY_DIFFERENCE = {"mask": {"threshold": 50}}


def test_a_network_that_does_nothing_and_a_perfect_one(measured: Callable[..., dict[str, Any]]) -> None:
    rainy, clean, mask = scene()
    nothing, perfect = measured(rainy, rainy, clean, BY_DIFFERENCE), measured(clean, rainy, clean, BY_DIFFERENCE)
    assert (nothing["rho"], nothing["d_perp"], nothing["e_rain_input"], nothing["e_background_input"]) == (0, 0, 0, 0)
    assert nothing["e_rain_perfect"] == nothing["e_rain_left"] == pytest.approx(100)
    assert (nothing["corrupted"], nothing["inflated"], nothing["mask_from"], nothing["undefined"]) == (False, False, "difference", "")
    assert (perfect["rho"], perfect["d_perp"]) == (1.0, 0.0)
    assert perfect["e_rain_input"] == perfect["e_rain_perfect"]
    assert perfect["e_rain_left"] == perfect["e_background"] == perfect["mse_rain_gt"] == 0
    assert math.isinf(perfect["psnr_y"])
    assert nothing["coverage"] == mask.mean()
    assert nothing["e_rain_perfect_image"] == pytest.approx(100 * math.sqrt(mask.mean()))


def test_noise_beside_the_rain_moves_the_background_error_only(measured: Callable[..., dict[str, Any]]) -> None:
    rainy, clean, mask = scene()
    half = (rainy + clean) / 2
    noisy = half + np.where(mask, 0, np.random.default_rng(1).normal(0, 0.1, half.shape))
    one, two = (measured(image, rainy, clean, BY_DIFFERENCE) for image in (half, noisy))
    moved = {name for name in one if one[name] != two[name] and not (one[name] != one[name] and two[name] != two[name])}
    assert {name for name in moved if "background" not in name and "soft" not in name} == {"psnr_y", "ssim_y", "ssim_y_rain",
                                                                                          "mse_rain_gt_by_image"}  # fmt: skip
    assert two["e_background"] > one["e_background"] + 10


def test_a_corrupting_network_has_a_high_change_and_is_flagged(measured: Callable[..., dict[str, Any]]) -> None:
    rainy, clean, _ = scene(strength=60.0)
    found = measured(np.zeros_like(rainy), rainy, clean, BY_DIFFERENCE)
    assert found["e_rain_input"] > 1.5 * found["e_rain_perfect"]
    assert found["corrupted"]


def test_scores_of_the_whole_image_are_those_of_restore(measured: Callable[..., dict[str, Any]]) -> None:
    rainy, clean, _ = scene()
    output = np.random.default_rng(2).uniform(-0.1, 1.1, clean.shape).astype(np.float32)
    found = measured(output, rainy, clean, BY_DIFFERENCE)
    image = np.floor(output.clip(0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    psnr, ssim, _ = score(image, clean, border=0)
    assert (found["psnr_y"], found["ssim_y"]) == (pytest.approx(psnr, rel=1e-12), pytest.approx(ssim, rel=1e-12))


def test_a_network_that_sees_luma_is_scored_on_it(measured: Callable[..., dict[str, Any]]) -> None:
    rainy, clean, _ = scene()
    luma = np.tensordot([0.299, 0.587, 0.114], rainy.astype(np.float64), axes=1)[None].astype(np.float32)
    found = measured(luma, rainy, clean, BY_DIFFERENCE)
    assert (found["rho"], found["e_rain_input"]) == (0, 0)
    assert found["e_rain_perfect"] == pytest.approx(100, abs=1)


def test_masks_come_from_by_products_before_anything_else(measured: Callable[..., dict[str, Any]]) -> None:
    rainy, clean, mask = scene(strength=60.0)
    layer = np.where(mask, 80, 0).astype(np.uint8)
    given = np.zeros(SIZE, bool)
    given[:4] = True
    cases: list[tuple[dict[str, Any], dict[str, np.ndarray], str, float]] = [
        ({}, {"mask": given, "rain": layer}, "mask", given.mean()), ({}, {"rain": layer}, "rain", mask.mean()), ({}, {}, "whole", 1.0),
        (BY_DIFFERENCE, {"mask": given}, "difference", mask.mean()), ({"mask": {"threshold": 60}}, {}, "difference", 0.0),
        ({"mask": "whole"}, {"mask": given}, "whole", 1.0),
        ({}, {"mask": np.zeros(SIZE, bool), "rain": np.zeros(SIZE, np.uint8)}, "whole", 1.0),  # a sample of noise in a corpus with rain
    ]  # fmt: skip
    for params, extras, origin, share in cases:
        found = measured(rainy, rainy, clean, params, extras)
        assert (found["mask_from"], found["coverage"]) == (origin, share), params
    clear = measured(rainy, clean, clean, {}, {"mask": np.zeros(SIZE, bool), "rain": np.zeros(SIZE, np.uint8)})
    assert (clear["mask_from"], clear["coverage"], clear["undefined"]) == ("none", 0.0, "the mask is empty: no rain")
    assert clear["e_background"] == pytest.approx(60 * math.sqrt(mask.mean())), "all of a clean input is background"
    soft = measured(rainy, rainy, clean, {}, {"rain": layer})
    assert soft["coverage_soft"] == pytest.approx(layer.mean() / 255)
    assert soft["mse_rain_gt_soft"] == pytest.approx(3600)
    assert measured(rainy, rainy, clean)["coverage_soft"] == pytest.approx(60 * mask.mean() / 255), "without a layer, the difference"


def test_what_is_undefined_is_nan_with_its_reason(measured: Callable[..., dict[str, Any]]) -> None:
    rainy, clean, _ = scene()
    flat = np.full_like(clean, np.float32(80 / 255))
    none, everywhere = np.zeros(SIZE, bool), np.ones(SIZE, bool)
    cases = [
        (rainy, clean, none, "the mask is empty: no rain", {"rho", "d_perp", "e_rain_input", "mse_rain_gt", "psnr_y_rain"}),
        (rainy, clean, everywhere, "the mask is everywhere: no background", {"e_background", "mse_background_gt", "psnr_y_background"}),
        (flat, flat, everywhere, "the mask is everywhere: no background; input and target are equal in the mask: nothing to remove",
         {"rho", "d_perp", "e_background"}),
    ]  # fmt: skip
    for given, wanted, mask, reason, missing in cases:
        found = measured(wanted, given, wanted, {}, {"mask": mask})
        assert found["undefined"] == reason
        assert missing <= {name for name, value in found.items() if value != value}
        assert (found["corrupted"], found["inflated"]) == (False, False)


def test_samples_that_cannot_be_scored_fail_alone_with_a_reason(make_batch: Callable[..., Batch]) -> None:
    rainy, clean, _ = scene()
    batch = replace(make_batch(1), input=torch.from_numpy(rainy[None]), targets=[clean], extras=[{}])
    assert "not finite" in whole(batch, np.full_like(clean, np.nan)).failed[0]
    assert "no target" in whole(replace(batch, targets=[None]), clean).failed[0]
    assert whole(batch, clean[:, :12]).failed[0] == "wrong scale: output 20×12, input 20×24, target 20×24 pixels; expected equal sizes"


# -- from recipe to table -----------------------------------------------------------------------------------------


def photos(folder: Path, count: int = 3, *, side: int = 48, differ: int = 0) -> dict[str, Any]:
    """Pairs of images in `folder`, as a corpus section; `differ`: pixels by which the clean images are wider."""
    for name in ("rainy", "clean"):
        (folder / name).mkdir(parents=True)
    for i in range(count):
        rng = np.random.default_rng(i)
        clean = rng.integers(0, 140, (side, side + differ, 3)).astype(np.uint8)
        rainy = clean[:, :side] + (100 * (rng.random((side, side, 1)) < 0.2)).astype(np.uint8)
        Image.fromarray(clean).save(folder / "clean" / f"{i}.png")
        Image.fromarray(rainy).save(folder / "rainy" / f"{i}.png")
    return {"pairs": {"input": [str(folder / "rainy" / "*.png")], "target": [str(folder / "clean" / "*.png")]}}


def run(place: Path, corpus: dict[str, Any], *stages: dict[str, Any], models: Any = (INPUT,)) -> Any:
    """The study of a recipe, in the folder `place`."""
    file = place.with_suffix(".yaml")
    file.write_text(json.dumps({"name": "rain", "baseline": False, "corpus": corpus, "models": list(models), "stages": list(stages)}))
    return xlli_ray.run(str(file), str(place))


def test_a_run_has_the_table_and_shares_the_forward_pass_of_restore(tmp_path: Path) -> None:
    corpus = photos(tmp_path / "p")
    stages = [{"restore": {}}, {"derain": BY_DIFFERENCE | {"save": True}}]
    study = run(tmp_path / "s", corpus, *stages)
    joined = "select d.rho, d.psnr_y as own, r.psnr_y as its, d.coverage from derain d join restore r on d.row = r.row"
    found = study.sql(joined).to_pylist()
    assert len(found) == 3
    assert all(line["rho"] == 0 and line["own"] == pytest.approx(line["its"], rel=1e-12) and 0.1 < line["coverage"] < 0.3 for line in found)
    cells = {cell.kind: cell for cell in study.manifest.cells}
    assert cells["restore"].group == cells["derain"].group, "one forward pass serves both"
    alone = run(tmp_path / "alone", corpus, {"restore": {}})
    assert alone.manifest.cells[0].hash == cells["restore"].hash, "the cell of restore is what it was"


def test_networks_that_enlarge_and_corpora_without_clean_images_are_refused_when_planning(tmp_path: Path) -> None:
    corpus = photos(tmp_path / "p")
    bigger = {"id": "x2", "network": "xlli_ray.models.networks.bicubic:make", "args": {"scale": 2}}
    with pytest.raises(PlanError, match=r"model x2 enlarges ×2.*a network of scale 1: leave it out with `models"):
        run(tmp_path / "a", corpus, {"derain": {}}, models=[bigger])
    with pytest.raises(PlanError, match="no target: without the clean image"):
        run(tmp_path / "b", {"inputs": [str(tmp_path / "p" / "rainy" / "*.png")]}, {"derain": {}})
    images = {"images": [str(tmp_path / "p" / "clean" / "*.png")], "scale": 2}
    with pytest.raises(PlanError, match="the corpus holds ×2 samples"):
        run(tmp_path / "c", images, {"derain": {}})


def test_pairs_of_different_sizes_are_rejected_with_both_sizes_and_one_image_is_enough(tmp_path: Path) -> None:
    good, bad = photos(tmp_path / "good", 1), photos(tmp_path / "bad", 1, differ=3)
    both = {"pairs": {name: good["pairs"][name] + bad["pairs"][name] for name in ("input", "target")}}
    study = run(tmp_path / "s", both, {"derain": BY_DIFFERENCE})
    assert study.sql("select count(*) as n from derain where status = 'ok'").to_pylist() == [{"n": 1}]
    (reason,) = study.sql("select reason from failures where kind = 'rejected'").to_pylist()
    assert "sizes of the pair do not fit: input 48 x 48, target 51 x 48" in reason["reason"]
