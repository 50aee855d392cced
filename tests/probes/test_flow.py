"""The stage `flow`: estimators against OpenCV called directly and against known pans; the numbers are those of the stored flow."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from skimage import data

from xlli_ray.errors import RecipeError, SampleError, WeightsError
from xlli_ray.probes.flow.estimator import estimator_class
from xlli_ray.probes.flow.phase import pieces
from xlli_ray.probes.flow.probe import Flow, Params, make_estimator
from xlli_ray.probes.measurement import Batch, Measurement, Shapes
from xlli_ray.stats.motion import EDGES, forward_backward_error, inside, magnitude, occluded

Make = Callable[..., Batch]


def pan(frames: int, x: int, y: int = 0, height: int = 60, width: int = 80) -> np.ndarray:
    """A window that moves over a photograph by whole pixels: uint8 (T, H, W, 3). The content moves by (x, y) a frame."""
    photo = data.chelsea()
    return np.stack([photo[100 - y * t : 100 - y * t + height, 150 - x * t : 150 - x * t + width] for t in range(frames)])


def floats(frames: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(frames.transpose(0, 3, 1, 2), np.float32) / np.float32(255)


def batch_of(make_batch: Make, *clips: np.ndarray, **changes: Any) -> Batch:
    batch = make_batch(len(clips), *clips[0].shape[-2:], frames=len(clips[0]))
    return replace(batch, input=torch.from_numpy(np.stack(clips)), **changes)


def measured(batch: Batch, **params: Any) -> Measurement:
    return Flow(Params(**params), {}).measure(None, batch, None)


def test_dis_is_what_opencv_gives_when_it_is_called_directly(make_batch: Make) -> None:
    frames = pan(3, 2, 1)
    found = measured(batch_of(make_batch, floats(frames)))
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    for t in range(2):
        for name, here, there in (("next", t, t + 1), ("previous", t + 1, t)):
            wanted = dis.calc(grey[here], grey[there], None).transpose(2, 0, 1)
            assert (found.arrays[name][0, t] == wanted.astype(np.float16)).all()
    assert found.failed == {}


@pytest.mark.parametrize("estimator", ["dis", "farneback", "phase"])
def test_a_pan_is_found_in_both_directions(estimator: str, make_batch: Make) -> None:
    found = measured(batch_of(make_batch, floats(pan(3, 3, -2))), estimator=estimator)
    middle = (0, slice(None), slice(None), slice(10, -10), slice(10, -10))
    for name, x, y in (("next", 3, -2), ("previous", -3, 2)):
        error = np.abs(found.arrays[name][middle] - np.array([x, y], np.float16)[:, None, None])
        assert np.median(error) < 0.1
    assert found.columns["motion_p50"][0] == pytest.approx(np.hypot(3, 2), abs=0.1)
    assert found.columns["estimator"] == [estimator]


def test_phase_correlation_of_tiles_finds_two_motions() -> None:
    one, two = floats(pan(2, 3, 0, 64, 64)), floats(pan(2, -2, 1, 64, 64))
    flows = make_estimator(Params(estimator="phase", args={"tile": 64})).clip(np.concatenate([one, two], axis=3), {})
    assert np.abs(flows.next[0, :, :, :64] - np.array([3, 0])[:, None, None]).max() < 0.1
    assert np.abs(flows.next[0, :, :, 64:] - np.array([-2, 1])[:, None, None]).max() < 0.1
    assert pieces(70, 32) == [slice(0, 32), slice(32, 70)]
    assert pieces(90, 32) == [slice(0, 32), slice(32, 64), slice(64, 90)]
    assert pieces(9, 32) == pieces(9, None) == [slice(0, 9)]


def test_the_numbers_are_those_of_the_stored_flow_and_can_be_computed_from_it_again(make_batch: Make) -> None:
    found = measured(batch_of(make_batch, floats(pan(4, 6, 1))))
    arrays = {name: array[0] for name, array in found.arrays.items()}
    flows = {name: arrays[name].astype(np.float32) for name in ("next", "previous")}
    motion = magnitude(np.stack([flows["next"], flows["previous"]])).astype(np.float16).astype(np.float64)
    row = {name: values[0] for name, values in found.columns.items()}
    assert row["motion_mean"] == pytest.approx(motion.mean(), rel=1e-6)
    assert [row[f"motion_p{share}"] for share in (50, 90, 99)] == pytest.approx(np.quantile(motion, [0.5, 0.9, 0.99]), rel=1e-6)
    assert row["beyond_8"] == (motion >= 8).mean()
    assert row["beyond_16"] == (motion >= 16).mean()
    edges = [*EDGES, np.inf]
    errors, hidden, away = [], [], []
    for side, (name, other) in enumerate((("next", "previous"), ("previous", "next"))):
        for t in range(3):
            assert arrays["histogram"][side, t].tolist() == np.histogram(motion[side, t], edges)[0].tolist()
            flow, back = flows[name][t], flows[other][t]
            assert (arrays[f"occluded_{name}"][t] == occluded(flow, back)).all()
            errors.append(forward_backward_error(flow, back)[inside(flow)])
            hidden.append(arrays[f"occluded_{name}"][t])
            away.append(~inside(flow))
    assert row["return_error"] == pytest.approx(np.concatenate(errors).mean(), rel=1e-5)
    assert row["occluded"] == pytest.approx(np.mean(hidden), rel=1e-12)
    assert row["outside"] == pytest.approx(np.mean(away), rel=1e-12)
    assert 0 < row["outside"] <= row["occluded"] < 0.5


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_windows_that_overlap_have_the_flow_that_each_has_alone(stride: int, make_batch: Make) -> None:
    frames = floats(pan(9, 2, 1))
    clips = [frames[first : first + 4] for first in range(0, 6, stride)]
    together = measured(batch_of(make_batch, *clips))
    for i, clip in enumerate(clips):
        alone = measured(batch_of(make_batch, clip))
        for name, array in together.arrays.items():
            assert array[i].tobytes() == alone.arrays[name][0].tobytes()


def test_the_frames_that_two_windows_share_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    estimator = make_estimator(Params())
    looked: list[Any] = []
    monkeypatch.setattr(type(estimator), "estimate", lambda self, here, there: looked.append(here) or np.zeros((2, 60, 80), np.float32))
    frames = floats(pan(6, 2))
    estimator.clip(frames[:5], {})
    assert len(looked) == 8
    estimator.clip(frames[1:], {})
    assert len(looked) == 10
    estimator.clip(frames[:5], {})
    assert len(looked) == 18, "the last window alone is remembered"


def truth(frames: int, height: int, width: int, x: float) -> dict[str, np.ndarray]:
    """By-products of a corpus of known pans."""
    flow = np.zeros((2, frames, height, width, 2), np.float32)
    flow[0, ..., 0], flow[1, ..., 0] = x, -x
    flow[0, -1] = flow[1, 0] = np.nan
    hidden = np.zeros((2, frames, height, width), bool)
    hidden[0, 0, 3, 4] = hidden[1, 1, 5, 6] = True
    return {"flow_next": flow[0], "flow_previous": flow[1], "occluded_next": hidden[0], "occluded_previous": hidden[1]}


def test_known_motion_is_that_of_the_corpus_with_its_occlusion(make_batch: Make) -> None:
    extras = truth(3, 14, 18, 1.5)
    batch = replace(make_batch(2, frames=3), extras=[extras, {}])
    found = measured(batch, estimator="known")
    assert (found.arrays["next"][0] == np.array([1.5, 0], np.float16)[:, None, None]).all()
    assert (found.arrays["previous"][0] == np.array([-1.5, 0], np.float16)[:, None, None]).all()
    assert np.argwhere(found.arrays["occluded_next"][0][..., :17]).tolist() == [[0, 3, 4]]
    assert np.argwhere(found.arrays["occluded_previous"][0][..., 1:]).tolist() == [[0, 5, 5]], "column 6"
    assert found.arrays["occluded_next"][0][..., 17].all(), "17 + 1.5 is out of the frame, which the corpus does not count as occluded"
    assert found.arrays["occluded_previous"][0][..., 0].all()
    assert list(found.failed) == [1]
    assert "the sample has no `flow_next`" in found.failed[1]
    del extras["occluded_next"], extras["occluded_previous"]
    follows = measured(replace(batch, extras=[extras, {}]), estimator="known")
    assert follows.arrays["occluded_next"][0].any(axis=(0, 1)).tolist() == [False] * 16 + [False, True], "17 + 1.5 is outside"


@pytest.mark.parametrize(
    ("x", "reason"),
    [(18.5, "motion larger than the frame: no pixel of frame 0 is in frame 1 (18×14 pixels, the smallest motion is 18.5)"),
     (7e4, "not finite: the estimator gave NaN, infinity or more than 65,504 px"),
     (np.nan, "not finite: the estimator gave NaN, infinity or more than 65,504 px")],
)  # fmt: skip
def test_motion_that_no_network_could_follow_is_a_row_with_its_reason(x: float, reason: str, make_batch: Make) -> None:
    batch = replace(make_batch(2, frames=3), extras=[truth(3, 14, 18, x), truth(3, 14, 18, 17)])
    assert measured(batch, estimator="known").failed == {0: reason}


def test_one_frame_has_no_motion_and_a_frame_of_nan_none_either(make_batch: Make) -> None:
    single = make_batch(2, frames=1)
    assert Flow(Params(), {}).arrays(Shapes(14, 18, None, {}, frames=1)) == ()
    assert measured(single).failed == {0: "one frame only: motion takes two", 1: "one frame only: motion takes two"}
    batch = make_batch(2, frames=3)
    batch.input[1, 2, 0, 0, 0] = float("nan")
    assert measured(batch).failed == {1: "not finite: NaN or infinity in a frame"}


WEIGHTS = "models/basicvsr/basicvsr_vimeo90k_bi_x4.pth"


def test_spynet_reads_the_weights_of_the_network_that_holds_it(fixtures: Path) -> None:
    from xlli_ray.models.blocks.spynet import SPyNet
    from xlli_ray.models.checkpoint import read_state_dict

    frames = floats(pan(2, 3, -1, 32, 64))
    flows = make_estimator(Params(estimator="spynet", weights=str(fixtures / WEIGHTS))).clip(frames, {})
    tensors = read_state_dict(fixtures / WEIGHTS).tensors
    network = SPyNet()
    network.load_state_dict({name.removeprefix("spynet."): value for name, value in tensors.items() if name.startswith("spynet.")})
    with torch.no_grad():
        wanted = network(torch.from_numpy(frames[:1]), torch.from_numpy(frames[1:]))
    assert (flows.next == wanted.numpy()).all()
    assert np.median(np.abs(flows.next[0, :, 8:-8, 8:-8] - np.array([3, -1])[:, None, None])) < 0.1


def test_weights_are_known_by_their_bytes_and_not_by_their_path(fixtures: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256((fixtures / WEIGHTS).read_bytes()).hexdigest()
    given = Params.inlined({"estimator": "spynet", "weights": "w.pth"}, lambda text: str(fixtures / WEIGHTS))
    assert given["sha256"] == digest
    identity = Flow(Params(**given), {}).identity()
    assert identity == {"estimator": "spynet", "estimator version": 1, "args": {}, "sha256": digest}
    assert Params.inlined(given, lambda text: text)["sha256"] == digest
    with pytest.raises(RecipeError, match=r"no\.pth cannot be read"):
        Params.inlined({"weights": "no.pth"}, lambda text: str(tmp_path / text))
    other = make_estimator(Params(estimator="spynet", weights=str(fixtures / WEIGHTS), sha256="0" * 64))
    with pytest.raises(WeightsError, match="does not match `sha256`"):
        other.clip(floats(pan(2, 1)), {})


def test_a_checkpoint_without_spynet_is_refused_with_the_tensor_that_differs(fixtures: Path) -> None:
    estimator = make_estimator(Params(estimator="spynet", weights=str(fixtures / "models/vespcn/vespcn_x4.pth")))
    with pytest.raises(WeightsError, match=r"has no weights of SPyNet: basic_module\.0\S+ is missing"):
        estimator.clip(floats(pan(2, 1)), {})


@pytest.mark.parametrize(
    ("params", "said"),
    [({"estimator": "spynet"}, "needs `weights`"), ({"weights": "a.pth"}, "dis takes no weights"),
     ({"args": {"presett": "fast"}}, "presett"), ({"estimator": "farneback", "args": {"levels": 0}}, "levels")],
)  # fmt: skip
def test_arguments_that_an_estimator_does_not_take_are_refused(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Params(**params)


def test_an_estimator_that_does_not_exist_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(ValidationError, match=r"there is no flow estimator 'farnback'\. Did you mean 'farneback'"):
        Params(estimator="farnback")
    with pytest.raises(RecipeError, match="code that none of your recipes names"):
        estimator_class("nowhere.py:Mine")


def test_the_faster_presets_are_other_numbers(make_batch: Make) -> None:
    batch = batch_of(make_batch, floats(pan(2, 2)))
    arrays = [measured(batch, args={"preset": preset}).arrays["next"].tobytes() for preset in ("ultrafast", "fast", "medium")]
    assert len(set(arrays)) == 3


def test_an_estimator_may_refuse_a_clip(make_batch: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def clip(self: Any, frames: Any, extras: Any) -> Any:
        raise SampleError("too dark")

    monkeypatch.setattr("xlli_ray.probes.flow.dis.Dis.clip", clip)
    assert measured(make_batch(1, frames=2)).failed == {0: "too dark"}
