"""The stage `motion_error`: its sums give the PSNR of `restore`, by the motion of the stage `flow`; what cannot be scored says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xlli_ray.corpus.size import Size
from xlli_ray.errors import PlanError
from xlli_ray.models.model import ClipModel, Range
from xlli_ray.probes.flow.probe import Flow
from xlli_ray.probes.flow.probe import Params as FlowParams
from xlli_ray.probes.measurement import Batch, Forward, Measurement
from xlli_ray.probes.motion_error import MotionError, Params, chosen_frames
from xlli_ray.probes.restore import Params as RestoreParams
from xlli_ray.probes.restore import Restore
from xlli_ray.stats.motion import EDGES, between, bins, magnitude
from xlli_ray.stats.motion_error import psnr

Make = Callable[..., Batch]


class Enlarged(nn.Module):
    """Each frame twice as large; `centre`: the middle one alone."""

    def __init__(self, centre: bool = False) -> None:
        super().__init__()
        self.centre = centre

    def forward(self, x: Tensor) -> Tensor:
        y = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
        return y[:, x.shape[1] // 2] if self.centre else y


def network(centre: bool = False) -> ClipModel:
    known = {"gives": "centre"} if centre else {}
    return ClipModel("toy", Enlarged(centre).eval(), "toy", 1, 2, 3, Range(0.0, 1.0), 1, 1, "image", "", **known)


def with_flow(batch: Batch, speed: float) -> Batch:
    """The batch with a flow in which the right half of the frame moves by `speed` pixels a frame."""
    count, frames, _, height, width = batch.input.shape
    following = np.zeros((count, frames - 1, 2, height, width), np.float16)
    following[..., 0, :, width // 2 :] = speed
    hidden = np.zeros((count, frames - 1, height, width), bool)
    hidden[:, :, 0] = True
    arrays = {"next": following, "previous": -following, "occluded_next": hidden, "occluded_previous": hidden}
    return replace(batch, measured={"flow": Measurement(arrays)})


def measured(batch: Batch, model: ClipModel, tools: Any, **params: Any) -> Measurement:
    forward = tools.forward_of(model, batch, ())
    return MotionError(Params(**params), {}).measure(model, batch, forward)


@pytest.mark.parametrize(("colour", "column"), [("rgb", "psnr_rgb"), ("y", "psnr_y")])
def test_all_bins_together_have_the_psnr_of_restore(colour: Any, column: str, make_batch: Make, tools: Any) -> None:
    batch = with_flow(make_batch(2, frames=5), 3.0)
    found = measured(batch, network(), tools, colour=colour)
    scores = tools.measure(Restore(RestoreParams(), {}), network(), batch).columns[column]
    assert found.columns["psnr"] == pytest.approx(scores, abs=1e-12 if colour == "rgb" else 1e-3)
    assert found.failed == {}


def test_errors_go_to_the_bin_of_their_motion_frame_by_frame(make_batch: Make, tools: Any) -> None:
    batch = with_flow(make_batch(1, 14, 18, frames=4), 3.0)
    found = measured(batch, network(), tools, scored="all", border=0)
    flow = batch.measured["flow"].arrays
    output = network().module(batch.input)[0].numpy()
    for frame in range(4):
        far = np.max([magnitude(between(flow["next"][0], flow["previous"][0], frame, s)) for s in range(4) if s != frame], axis=0)
        at = np.kron(bins(far), np.ones((2, 2), int))
        assert batch.targets[0] is not None
        images = [np.floor(image[frame] * np.float32(255) + np.float32(0.5)).astype(int) for image in (output, batch.targets[0])]
        square = ((images[0] - images[1]) ** 2).sum(0)
        wanted = [int(square[at == i].sum()) for i in range(len(EDGES))]
        assert found.arrays["squared"][0, 0, frame].sum((0, 1)).tolist() == wanted
        hidden = found.arrays["count"][0, 0, frame].sum((1, 2))
        assert hidden.tolist() == [3 * 4 * 18 * 13, 3 * 4 * 18], "the first row is occluded"
    assert found.arrays["count"][0, 0].sum((0, 1, 2))[0] == 4 * 3 * 4 * 14 * 9, "the left half stands still"
    assert found.columns["fast"][0] == pytest.approx(1 / 6), "3 px a frame are 9 px to the other end of the clip, where flow leads there"


def test_a_network_of_the_centre_frame_has_the_sums_of_that_frame(make_batch: Make, tools: Any) -> None:
    batch = with_flow(make_batch(2, frames=5), 2.0)
    whole, alone = (measured(batch, network(centre), tools, scored="all") for centre in (False, True))
    for name, array in whole.arrays.items():
        assert (alone.arrays[name][:, :, 0] == array[:, :, 2]).all()
        assert alone.arrays[name].shape[2] == 1
    probe = MotionError(Params(scored="all"), {})
    for centre, frames in ((False, [0, 1, 2, 3, 4]), (True, [2])):
        plans = probe.arrays(tools.shapes_of(network(centre), Size(14, 18, 5), ()))
        assert {tuple(plan.attributes["frames"]) for plan in plans} == {tuple(frames)}


def test_psnr_of_slow_and_fast_pixels_are_those_of_their_bins(make_batch: Make, tools: Any) -> None:
    found = measured(with_flow(make_batch(1, frames=3), 9.0), network(), tools)
    squared, count = (found.arrays[name][0, 0].sum((0, 1, 2)) for name in ("squared", "count"))
    row = {name: values[0] for name, values in found.columns.items()}
    assert row["psnr_slow"] == float(psnr(squared[:6].sum(), count[:6].sum()))
    assert row["psnr_fast"] == float(psnr(squared[6:].sum(), count[6:].sum()))
    assert row["fast"] == count[6:].sum() / count.sum()
    still = measured(with_flow(make_batch(1, frames=3), 0.0), network(), tools)
    assert np.isnan(still.columns["psnr_fast"][0])
    assert still.columns["fast"] == [0.0]


def test_the_mean_motion_of_a_bin_is_what_moved_over_its_values(make_batch: Make, tools: Any) -> None:
    found = measured(with_flow(make_batch(1, frames=3), 2.5), network(), tools)
    moved, count = (found.arrays[name][0, :, 0].sum((1, 2)) for name in ("moved", "count"))
    assert (moved[:, 3] / count[:, 3] / 256).tolist() == [2.5, 2.5]
    assert not moved[:, 0].any()


def test_what_cannot_be_scored_is_a_row_with_its_reason(make_batch: Make, tools: Any) -> None:
    batch = with_flow(make_batch(4, frames=3), 1.0)
    targets = list(batch.targets)
    assert targets[2] is not None
    targets[0], targets[2] = None, targets[2][..., :-2]
    batch = replace(batch, targets=targets)
    forward = tools.forward_of(network(), batch, ())
    assert forward.output is not None
    forward.output[3, 0, 0, 0, 0] = torch.inf
    found = MotionError(Params(), {}).measure(network(), batch, Forward(forward.output, {}))
    assert found.failed == {
        0: "no target: errors take clean frames",
        2: "wrong scale: the output is 36×28 pixels, the target 34×28",
        3: "not finite: NaN or infinity in the output",
    }
    assert MotionError(Params(border=14), {}).unfit(2, 14, 18, "", target=True).startswith("too small to score: the target is 36×28")


@pytest.mark.parametrize(
    ("frames", "centre_only", "said"),
    [([], False, "expected different numbers from 0 to 4"), ([3, 1], False, "ascending"), ([1, 1], False, "different"),
     ([5], False, "from 0 to 4"), ([-1], False, "from 0 to 4"), ([1], True, "restores only the centre frame, 2")],
)  # fmt: skip
def test_frames_that_no_clip_or_no_output_has_are_refused(frames: list[int], centre_only: bool, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        chosen_frames(frames, 5, centre_only=centre_only)
    assert chosen_frames([2], 5, centre_only=True) == chosen_frames("all", 5, centre_only=True) == (2,)


def test_a_stage_that_gives_no_flow_is_named(make_batch: Make, tools: Any) -> None:
    batch = replace(make_batch(1, frames=3), measured={"inputs": Measurement({})})
    with pytest.raises(ValueError, match="stage inputs has no array 'next': expected the id of a stage of kind flow"):
        measured(batch, network(), tools, flow="inputs")


def test_the_flow_that_it_reads_is_that_of_the_stage(make_batch: Make, tools: Any) -> None:
    batch = make_batch(1, 24, 32, frames=3)
    flow = Flow(FlowParams(), {}).measure(None, batch, None)
    found = measured(replace(batch, measured={"flow": flow}), network(), tools, span=1, border=0)
    motion = np.maximum(magnitude(flow.arrays["next"][0, 1]), magnitude(flow.arrays["previous"][0, 0]))
    assert found.arrays["count"][0, 0].sum((0, 1, 2)).tolist() == [int(n) * 12 for n in np.histogram(motion, [*EDGES, np.inf])[0]]
