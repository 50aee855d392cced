"""The stage `alignment_error`: exact for whole-pixel pans, blur and seams where they belong; composed flow; refused operators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from skimage import data

from xlli_ray.errors import PlanError
from xlli_ray.models.alignment.alignment import alignment_of
from xlli_ray.probes.alignment_error import AlignmentError, Params, name_of
from xlli_ray.probes.measurement import Batch, Measurement, Shapes
from xlli_ray.stats.alignment_error import high_frequency_energy
from xlli_ray.stats.motion import EDGES, between, inside

Make = Callable[..., Batch]
ALL = ["none", "bilinear", "nearest", "bicubic", "patch"]


def clip_of(frames: int, x: float, height: int = 64, width: int = 80) -> np.ndarray:
    """Frames of a photograph whose content moves by x pixels to the right in each: float32 (T, 3, H, W). By whole pixels exactly, else by
    averages of four pixels of a larger one."""
    photo = data.chelsea()[:300, :448].astype(np.float32) / 255
    if x == int(x):
        cut = [photo[50 : 50 + height, 100 - int(x) * t : 100 - int(x) * t + width] for t in range(frames)]
    else:
        step = round(4 * x)
        large = [photo[: 4 * height, 60 - step * t : 60 - step * t + 4 * width] for t in range(frames)]
        cut = [one.reshape(height, 4, width, 4, 3).mean((1, 3)) for one in large]
    return np.stack(cut).transpose(0, 3, 1, 2).astype(np.float32)


def batch_of(make_batch: Make, *clips: np.ndarray, x: float) -> Batch:
    """Clips with their true flow."""
    count, (frames, _, height, width) = len(clips), clips[0].shape
    following = np.zeros((count, frames - 1, 2, height, width), np.float16)
    following[:, :, 0] = x
    hidden = [np.broadcast_to(~inside(flow), (count, frames - 1, height, width)).copy() for flow in (following[0, 0], -following[0, 0])]
    arrays = {"next": following, "previous": -following, "occluded_next": hidden[0], "occluded_previous": hidden[1]}
    batch = make_batch(count, height, width, frames=frames)
    return replace(batch, input=torch.from_numpy(np.stack(clips)), measured={"flow": Measurement(arrays)})


def rows_of(found: Measurement) -> list[dict[str, Any]]:
    return [dict(zip(found.columns, values)) for values in zip(*found.columns.values())]


def measured(batch: Batch, **params: Any) -> Measurement:
    return AlignmentError(Params(**params), {}).measure(None, batch, None)


def test_all_operators_are_exact_for_whole_pixel_pans_but_for_none(make_batch: Make) -> None:
    found = measured(batch_of(make_batch, clip_of(3, 3), x=3), gaps=[1, 2])
    rows = {(row["operator"], row["gap"]): row for row in rows_of(found)}
    assert list(rows) == [(name, gap) for name in ALL for gap in (1, 2)]
    for (name, _), row in rows.items():
        assert row["rmse"] > 3 if name == "none" else row["rmse"] < 1e-2
        assert row["outside"] == row["hidden"] == 0, "the border of 8 is wider than the motion"
    assert rows["nearest", 2]["rmse"] == rows["patch", 1]["rmse"] == 0
    assert found.failed == {}


def test_interpolation_registers_and_loses_detail_where_patches_keep_it(make_batch: Make) -> None:
    rows = {row["operator"]: row for row in rows_of(measured(batch_of(make_batch, clip_of(4, 1.5), x=1.5)))}
    assert rows["bilinear"]["hf_kept"] < rows["bicubic"]["hf_kept"] < 0.95
    for name in ("none", "nearest", "patch"):
        assert rows[name]["hf_kept"] == pytest.approx(1, abs=0.05)
    assert rows["none"]["hf_kept"] == 1
    assert rows["bicubic"]["rmse"] < rows["bilinear"]["rmse"] < rows["patch"]["rmse"] < rows["none"]["rmse"]
    assert rows["patch"]["rmse"] == rows["nearest"]["rmse"], "of a pan, all patches move alike"


def test_the_sums_are_those_of_aligned_frames_pair_by_pair(make_batch: Make) -> None:
    clip = clip_of(4, 2.25)
    batch = batch_of(make_batch, clip, x=2.25)
    rng = np.random.default_rng(0)
    flows = {name: array.copy() for name, array in batch.measured["flow"].arrays.items()}
    flows["next"] += rng.normal(0, 0.4, flows["next"].shape).astype(np.float16)
    batch = replace(batch, measured={"flow": Measurement(flows)})
    found = measured(batch, operators=["bicubic", {"patch": {"size": 16}}], gaps=[1, 2], border=9)
    part = (slice(None), slice(9, -9), slice(9, -9))
    for i, operator in enumerate(("bicubic", {"patch": {"size": 16}})):
        for j, gap in enumerate((1, 2)):
            squares, energies = 0.0, np.zeros(2)
            for t in range(4 - gap):
                flow = torch.from_numpy(between(flows["next"][0], flows["previous"][0], t, t + gap))[None]
                frames = [torch.from_numpy(clip[k])[None] for k in (t + gap, t)]
                aligned = 255 * alignment_of(operator, channels=3)(*frames, flow)[0].numpy()[part].astype(np.float64)
                squares += np.square(aligned - 255 * clip[t][part].astype(np.float64)).sum()
                energies += high_frequency_energy(aligned), high_frequency_energy(255 * clip[t + gap][part].astype(np.float64))
            assert found.arrays["squared"][0, i, j].sum() == pytest.approx(squares, rel=1e-10)
            assert found.arrays["high_frequency"][0, i, j] == pytest.approx(energies, rel=1e-10)
    values = [3 * (64 - 18) * (80 - 18) * (4 - gap) for gap in (1, 2)]
    assert found.arrays["count"][0].sum((1, 2)).tolist() == values
    shown = found.arrays["count"][0, :, 0].sum(1)
    assert found.arrays["phase_count"][0].sum((1, 2)).tolist() == shown.tolist()
    assert found.arrays["phase_squared"][0].sum((2, 3)) == pytest.approx(found.arrays["squared"][0, :, :, 0].sum(2), rel=1e-12)
    assert found.columns["operator"] == ["bicubic", "bicubic", "patch(size=16)", "patch(size=16)"]


def test_a_pan_has_one_position_between_pixels_and_one_bin(make_batch: Make) -> None:
    found = measured(batch_of(make_batch, clip_of(3, 2.25), x=2.25), operators=["bilinear"])
    assert np.flatnonzero(found.arrays["phase_count"][0, 0]).tolist() == [1], "y 0, x ¼"
    assert np.flatnonzero(found.arrays["count"][0, 0, 0]).tolist() == [EDGES.index(2.0)]


def test_patches_that_move_apart_leave_seams_and_interpolation_does_not(make_batch: Make) -> None:
    batch = batch_of(make_batch, clip_of(2, 3), x=3)
    flows = {name: array.copy() for name, array in batch.measured["flow"].arrays.items()}
    flows["next"][:, :, 1] = np.kron(np.random.default_rng(0).integers(-6, 7, (8, 10)), np.ones((8, 8)))
    rows = {row["operator"]: row for row in rows_of(measured(replace(batch, measured={"flow": Measurement(flows)})))}
    assert rows["patch"]["seam"] > 2
    assert abs(rows["none"]["seam"]) < 1


def test_pixels_without_a_counterpart_are_counted_apart(make_batch: Make) -> None:
    found = measured(batch_of(make_batch, clip_of(3, 5), x=5), operators=["bilinear"], gaps=[1, 2], border=0)
    first, second = rows_of(found)
    assert first["outside"] == first["hidden"] == pytest.approx(5 / 80)
    assert second["outside"] == second["hidden"] == pytest.approx(10 / 80)
    assert first["rmse"] < 1e-2 < first["rmse_all"]


def test_what_cannot_be_measured_is_refused_with_the_reason(make_batch: Make) -> None:
    with pytest.raises(PlanError, match=r"`gaps: \[1, 3\]`: a clip of 3 frames has none 3 apart"):
        AlignmentError(Params(gaps=[1, 3]), {}).arrays(Shapes(64, 80, None, {}, frames=3))
    for operators, said in (
        ([{"patch": {"sise": 3}}], "takes no option 'sise'"),
        (["bilinaer"], "Did you mean 'bilinear'"),
        (["nearest4"], "nearest4 has weights"),
    ):
        with pytest.raises(PlanError, match=said):
            AlignmentError.cells(Params(operators=operators), None, None)
    for wrong, said in (
        ({"operators": ["none", "none"]}, "none is there twice"),
        ({"gaps": [2, 1]}, "ascending"),
        ({"gaps": [0]}, "1 or more"),
    ):
        with pytest.raises(ValidationError, match=said):
            Params(**wrong)
    small = batch_of(make_batch, clip_of(2, 1, 17, 40), x=1)
    assert measured(small).failed == {0: "too small: 40×17 pixels, and a border of 8 is left out on each side; `border` may be smaller"}
    assert name_of({"patch": {"size": 4, "border": "clamp"}}) == "patch(size=4, border=clamp)"
