"""LAM over clips against closed forms: networks whose use of each frame is known."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xlli_ray.errors import NetworkError
from xlli_ray.models.model import ClipModel, ImageModel, Model, Range, frame_by_frame
from xlli_ray.probes.lam.attribution import Rule, attribute
from xlli_ray.probes.lam.clip_path import FramePaths, path_of
from xlli_ray.probes.lam.objectives import Objective
from xlli_ray.probes.lam.path_choices import Straight, way_of
from xlli_ray.probes.lam.path_points import BlurPath, filtered, gaussian_kernels
from xlli_ray.probes.lam.probe import Lam
from xlli_ray.probes.lam.receptive_field import proved_radius
from xlli_ray.probes.lam.window import Window
from xlli_ray.probes.measurement import Batch, Measurement
from xlli_ray.stats.temporal_attribution import frame_shares

sys.path.append(str(Path(__file__).parents[2] / "models"))
from toy_clip_networks import Spatiotemporal, both_ways, seeded

FRAMES = 5
WINDOW = Window(8, 9, 6)
WEIGHTS = (0.5, -1.0, 2.0, 0.0, 0.25)


def clip_model(module: nn.Module, scale: int = 1, **known: Any) -> ClipModel:
    return ClipModel("toy", module.eval().requires_grad_(False), "toy:toy", 1, scale, 3, Range(0.0, 1.0), 1, 1, "image", "", **known)


class Weighted(nn.Module):
    """Every output frame is the same weighted sum of all frames; `step`: frame k is read that many pixels to the right, per frame from the
    centre: aligned to content that moves so."""

    def __init__(self, weights: tuple[float, ...] = WEIGHTS, step: int = 0, centre: bool = False) -> None:
        super().__init__()
        self.weights, self.step, self.centre = weights, step, centre

    def forward(self, x: Tensor) -> Tensor:
        middle = len(self.weights) // 2
        frames = [weight * x[:, k].roll(-self.step * (k - middle), -1) for k, weight in enumerate(self.weights)]
        total = torch.stack(frames).sum(0)
        return total if self.centre else total[:, None].expand(x.shape)


class Symmetric(nn.Module):
    """The same features of every frame, averaged and squared: no frame is different from another."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.tail = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        mean = torch.stack([F.relu(self.conv(frame)) for frame in x.unbind(1)]).mean(0)
        return self.tail(mean.square())[:, None].expand(x.shape)


@pytest.fixture
def clip() -> Tensor:
    return torch.from_numpy(np.random.default_rng(3).uniform(0, 1, (FRAMES, 3, 24, 28)).astype(np.float32))


def moving(step: int, side: int = 40, frames: int = FRAMES) -> Tensor:
    """A clip whose content moves to the right by `step` pixels a frame, without wrapping."""
    wide = np.random.default_rng(5).uniform(0, 1, (3, side, side + step * (frames - 1))).astype(np.float32)
    return torch.from_numpy(np.stack([wide[:, :, step * (frames - 1 - k) :][..., :side] for k in range(frames)]))


@pytest.mark.parametrize("rule", [Rule("paper"), Rule(nodes=1), Rule(nodes=5), Rule(tolerance=0.1), Rule(nodes=3, gates="averaged")])
def test_a_linear_network_gives_each_frame_its_weight_times_its_way(clip: Tensor, rule: Rule) -> None:
    (found,) = attribute(clip_model(Weighted()), clip, [WINDOW], BlurPath(), objective=Objective("sum"), rule=rule)
    way = clip - torch.stack([filtered(frame, gaussian_kernels([1.2]))[0] for frame in clip])
    exact = torch.zeros_like(clip)
    WINDOW.cut(exact).copy_(WINDOW.cut(way) * torch.tensor(WEIGHTS)[:, None, None, None])
    np.testing.assert_allclose(found.attribution, exact.numpy(), atol=1e-5)
    assert found.completeness < 1e-3
    np.testing.assert_allclose(frame_shares(found.map), frame_shares(exact.sum(1).abs().numpy()), atol=1e-4)
    assert frame_shares(found.map).sum() == pytest.approx(1, abs=1e-12)
    assert found.map.max() == 1, "one peak for all frames"


def test_all_frames_of_a_static_clip_share_equally_in_a_symmetric_network(clip: Tensor) -> None:
    static = clip[:1].expand(clip.shape).contiguous()
    (found,) = attribute(clip_model(seeded(Symmetric())), static, [WINDOW], BlurPath(), rule=Rule(nodes=8))
    assert not found.undefined
    np.testing.assert_allclose(frame_shares(found.map), np.full(FRAMES, 1 / FRAMES), atol=1e-6)
    np.testing.assert_allclose(found.map[0], found.map[-1], atol=1e-5)


@pytest.mark.parametrize("frame", [None, 0, 4])
def test_a_network_of_images_uses_the_chosen_frame_alone_as_it_uses_that_image(clip: Tensor, frame: int | None) -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(6, 3, 3, padding=1))
    image = ImageModel("toy", body.eval().requires_grad_(False), "toy:toy", 1, 1, 3, Range(0.0, 1.0), 1, 1, "image", "")
    (found,) = attribute(frame_by_frame(image), clip, [WINDOW], BlurPath(), rule=Rule(nodes=6), frame=frame)
    own = FRAMES // 2 if frame is None else frame
    (alone,) = attribute(image, clip[own], [WINDOW], BlurPath(), rule=Rule(nodes=6))
    np.testing.assert_allclose(found.attribution[own], alone.attribution, atol=1e-6)
    assert frame_shares(found.map).tolist() == [float(k == own) for k in range(FRAMES)]
    assert found.error_estimate == pytest.approx(alone.error_estimate, rel=1e-3)


def test_a_frame_that_the_network_does_not_give_is_refused(clip: Tensor) -> None:
    only = clip_model(Weighted(centre=True), frames=FRAMES, gives="centre")
    (found,) = attribute(only, clip, [WINDOW], BlurPath(), objective=Objective("sum"), rule=Rule(nodes=1))
    (whole,) = attribute(clip_model(Weighted()), clip, [WINDOW], BlurPath(), objective=Objective("sum"), rule=Rule(nodes=1))
    np.testing.assert_array_equal(found.attribution, whole.attribution)
    with pytest.raises(NetworkError, match="returns the centre frame only, 2 of 5"):
        attribute(only, clip, [WINDOW], BlurPath(), frame=1)
    with pytest.raises(NetworkError, match="frame 5 of a clip of 5 frames"):
        attribute(clip_model(Weighted()), clip, [WINDOW], BlurPath(), frame=5)


@pytest.mark.parametrize("make", [lambda: both_ways().module, lambda: seeded(Spatiotemporal())], ids=["recurrent", "3-D"])
def test_completeness_goes_to_zero_and_the_error_estimate_is_that_of_the_map(clip: Tensor, make: Any) -> None:
    module = make()
    model = clip_model(module, 2 if hasattr(module, "width") else 1)
    dense, few, some = (attribute(model, clip, [WINDOW], BlurPath(), rule=Rule(nodes=n))[0] for n in (200, 4, 20))
    assert dense.completeness < min(2e-3, few.completeness)
    for found in (few, some):
        error = np.linalg.norm((found.attribution - dense.attribution).sum(1)) / np.linalg.norm(dense.attribution.sum(1))
        assert error < 2 * found.error_estimate
        if isinstance(module, Spatiotemporal):  # tanh is smooth: midpoints are better than the estimate says
            assert error > 0.4 * found.error_estimate
    assert some.error_estimate < few.error_estimate


def test_averaged_gates_reach_the_same_map_of_a_clip(clip: Tensor) -> None:
    """Of 3-D convolutions, whose units have five axes."""
    model = clip_model(seeded(Spatiotemporal()))
    rules = (Rule(nodes=200), Rule(nodes=60, gates="averaged"))
    dense, averaged = (attribute(model, clip, [WINDOW], BlurPath(), rule=rule)[0] for rule in rules)
    error = np.linalg.norm(averaged.attribution - dense.attribution) / np.linalg.norm(dense.attribution)
    assert error < 0.02


def test_all_frames_are_blurred_together_and_other_paths_go_frame_by_frame(clip: Tensor) -> None:
    joint, end = path_of(way_of("blur"), clip)
    each = FramePaths(tuple(BlurPath() for _ in clip))
    at = [0.0, 0.4, 1.0]
    torch.testing.assert_close(joint.points(clip, at), each.points(clip, at), atol=1e-7, rtol=0)
    torch.testing.assert_close(joint.increments(clip, at[:2], at[1:]), each.increments(clip, at[:2], at[1:]), atol=1e-7, rtol=0)
    torch.testing.assert_close(end, clip)
    mean, _ = path_of(way_of("linear_mean"), clip)
    torch.testing.assert_close(mean.points(clip, [0.0])[0], clip.mean(dim=(2, 3), keepdim=True).expand_as(clip), atol=1e-6, rtol=0)
    pair, end = path_of(way_of("pair"), clip, clip.flip(0))
    torch.testing.assert_close(torch.stack([pair.points(end, [0.0])[0], end]), torch.stack([clip, clip.flip(0)]))


def test_someones_path_sees_one_image_at_a_time(clip: Tensor) -> None:
    seen = []

    class Own(Straight):
        NAME = "own"

        def baseline(self, image: Tensor) -> Tensor:
            seen.append(image.shape)
            return image.new_zeros(image.shape)

    path, end = path_of(Own(), clip)
    (found,) = attribute(clip_model(Weighted()), clip, [WINDOW], path, objective=Objective("sum"), rule=Rule(nodes=2), end=end)
    assert seen == [clip.shape[1:]] * FRAMES
    np.testing.assert_allclose(WINDOW.cut(torch.from_numpy(found.attribution))[1], -WINDOW.cut(clip)[1], atol=1e-5)


# -- what a window can depend on ----------------------------------------------------------------------------------------


class Steered(nn.Module):
    """Every frame of the output is the first frame, moved: how, the class says."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        first, last = x[:, 0], x[:, -1]
        if self.how == "warp":
            grid = F.affine_grid(torch.eye(2, 3).expand(len(x), 2, 3), list(first.shape), align_corners=True)
            moved = F.grid_sample(first, grid + (last - first).mean((1, 2, 3))[:, None, None, None], align_corners=True)
        elif self.how == "branch":
            moved = first.roll(5, -1) if float(last.mean() - first.mean()) > 0.3 else first
        else:
            moved = torch.where(last > 0.9, first.roll(5, -1), first)
        return moved[:, None].expand(x.shape)


@pytest.mark.parametrize("how", ["warp", "branch", "choice"])
def test_a_network_that_looks_where_its_input_tells_it_to_is_never_cropped(how: str) -> None:
    """On noise of equal means all three seem to look at the same place of the first frame only."""
    assert proved_radius(clip_model(Steered(how)), FRAMES, 2) is None


def test_a_network_of_fixed_reach_is_cropped_and_its_map_is_the_whole_one() -> None:
    big = torch.from_numpy(np.random.default_rng(4).uniform(0, 1, (3, 3, 44, 48)).astype(np.float32))
    for model, reach in ((clip_model(seeded(Spatiotemporal())), 2), (clip_model(both_ways().module, 2), None)):
        radius = proved_radius(model, 3, 1)
        assert radius is not None
        assert reach in (None, radius.before, radius.after)
        window = Window(20, 18, 6)
        whole, part = (attribute(model, big, [window], BlurPath(), rule=Rule(nodes=4), radius=one, frame=1)[0] for one in (None, radius))
        np.testing.assert_allclose(part.attribution, whole.attribution, atol=1e-5 * float(np.abs(whole.attribution).max()))
        assert not part.attribution[..., :4, :].any()
        assert part.error_estimate == pytest.approx(whole.error_estimate, rel=1e-3)


def test_the_reach_of_a_recurrent_network_is_that_of_clips_of_its_length() -> None:
    """A state that takes a step of one pixel per frame: the last frame sees further than the first."""
    model = clip_model(both_ways().module, 2)
    short, long = (proved_radius(model, frames, frames // 2) for frames in (1, 5))
    assert short is not None
    assert long is not None
    assert long.before > short.before
    assert proved_radius(model) is None, "an image is no clip"


# -- the stage --------------------------------------------------------------------------------------------------------


def measured(model: Model, batch: Batch, **params: Any) -> Measurement:
    params = {"nodes": 2, "windows": [{"top": 16, "left": 18, "size": 6}], **params}
    return Lam(Lam.Params(**params), {}).measure(model, batch, None)


def flow_of(step: float, batch: Batch) -> Measurement:
    """Known motion to the right as a flow stage stores it."""
    count, frames, _, height, width = batch.input.shape
    after = np.zeros((count, frames - 1, 2, height, width), np.float16)
    after[:, :, 0] = step
    return Measurement({"next": after, "previous": -after})


@pytest.mark.parametrize(("aligned", "step"), [(True, 3), (False, 3), (True, 0)])
def test_attribution_follows_the_object_with_alignment_and_stays_without(make_batch: Any, aligned: bool, step: int) -> None:
    """Equal weights of all frames, read where the content has moved to, or at the window's own place."""
    batch = make_batch(1, 40, 40, scale=1, frames=FRAMES)
    batch.input[0] = moving(step)
    batch = Batch(batch.samples, batch.input, batch.targets, batch.ok, measured={"motion": flow_of(step, batch)})
    model = clip_model(Weighted((1.0,) * FRAMES, step if aligned else 0))
    found = measured(model, batch, flow="motion", objective="sum")
    (error,), (followed,), (close,) = (found.columns[name] for name in ("tracking_error", "motion_followed", "near_trajectory"))
    path = found.arrays["trajectory"][0, 0]
    np.testing.assert_allclose(path, [[18.5, 20.5 + step * (k - 2)] for k in range(FRAMES)], atol=1e-5)
    if aligned:
        assert error < 1.5  # what is bright in a window of 6 is not in its middle
        assert close > 0.99
        assert followed == pytest.approx(1, abs=0.01) if step else np.isnan(followed)
    else:
        assert error == pytest.approx(1.5 * step, abs=1.5)
        assert abs(followed) < 0.25


def test_a_map_of_a_clip_has_its_frames_in_every_array_and_column(make_batch: Any) -> None:
    batch = make_batch(2, frames=FRAMES)
    model = clip_model(both_ways().module, 2)
    found = measured(model, batch, signed=True, frame=1)
    maps, signed = found.arrays["map"], found.arrays["attribution"]
    assert maps.shape == (2, 1, FRAMES, 14, 18)
    assert signed.shape == (2, 1, FRAMES, 3, 14, 18)
    np.testing.assert_allclose(maps[0, 0], np.abs(signed[0, 0].sum(1)) / np.abs(signed[0, 0].sum(1)).max(), rtol=1e-4, atol=1e-6)
    shares = found.arrays["frame_share"]
    np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-6)
    assert found.columns["frame"] == [1, 1]
    np.testing.assert_allclose(found.columns["centre_share"], shares[:, 0, 1], rtol=1e-5)
    assert all(1 <= value <= FRAMES for value in found.columns["effective_frames"])
    assert "tracking_error" not in found.columns


def test_wide_passes_give_the_maps_of_clips(make_batch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: several clips a pass, all their frames with the explained one's window."""
    for model in (clip_model(both_ways().module, 2), clip_model(Weighted(centre=True), gives="centre")):
        windows = {"size": 6, "per_sample": 2} if model.scale == 2 else [{"top": 3, "left": 4, "size": 6}]
        batch = make_batch(3, 16, 20, scale=model.scale, frames=FRAMES)
        plain = measured(model, batch, nodes=4, windows=windows)
        with monkeypatch.context() as patched:
            patched.setattr(Lam, "_on_gpu", staticmethod(lambda values: True))
            wide = measured(model, batch, nodes=4, windows=windows)
        for name, values in plain.arrays.items():
            np.testing.assert_allclose(wide.arrays[name], values, rtol=1e-3, atol=1e-4, err_msg=name)
        assert wide.positions == plain.positions
        assert wide.columns["frame"] == plain.columns["frame"]


def test_the_windows_of_a_clip_are_those_of_the_explained_frame(make_batch: Any) -> None:
    """Texture is chosen on its target, and scored against it by objective `error`."""
    batch = make_batch(1, frames=FRAMES, seed=2)
    target = batch.targets[0]
    assert target is not None
    target[:] = 0.5
    target[3, :, 8:16, 16:24] = np.random.default_rng(0).uniform(0, 1, (3, 8, 8))
    model = clip_model(both_ways().module, 2)
    found = measured(model, batch, windows={"size": 8, "per_sample": 1}, frame=3, objective="error", nodes=1)
    assert (found.columns["top"], found.columns["left"]) == ([8], [16])
    with torch.no_grad():
        output = model.forward(batch.input)[0, 3].numpy()
    expected = float(np.square(output - target[3])[:, 8:16, 16:24].sum())
    assert found.columns["objective_input"][0] == pytest.approx(expected, rel=1e-4)


def test_a_stage_that_is_no_flow_is_a_failed_row_that_says_so(make_batch: Any) -> None:
    batch = make_batch(1, frames=FRAMES)
    batch = Batch(batch.samples, batch.input, batch.targets, batch.ok, measured={"inputs": Measurement({})})
    found = measured(clip_model(both_ways().module, 2), batch, flow="inputs")
    assert "the stage inputs has no arrays `next` and `previous`" in found.failed[0]


def test_controls_are_those_of_the_first_samples_and_never_more_than_the_stage_measures() -> None:
    own, few = (Lam.Params(max_rows=n, controls=["shifted_window"], control_samples=8) for n in (4, 20))
    assert Lam(own, {}).max_rows == 4
    assert Lam(own, {"control": "shifted_window"}).max_rows == 4
    assert Lam(few, {"control": "shifted_window"}).max_rows == 8
