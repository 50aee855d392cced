"""Alignment operators without weights: exact for whole pixels, patch alignment against a loop, its half-pixel tear, gradients, options."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from xlli_ray import user_code
from xlli_ray.errors import NetworkError
from xlli_ray.models.alignment.alignment import Alignment, alignment_class, alignment_of
from xlli_ray.models.alignment.patch import patch
from xlli_ray.models.blocks.warp import composed
from xlli_ray.registry import ALIGNMENTS

WARPS = ("bilinear", "bicubic", "nearest", "image", "patch")
BORDERS = ("zeros", "clamp", "reflect")
PADS = {"zeros": "constant", "clamp": "edge", "reflect": "reflect"}


def maps(height: int, width: int, channels: int = 2, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(size=(1, channels, height, width)).astype(np.float32))


def constant(x: float, y: float, height: int, width: int) -> Tensor:
    return torch.tensor([float(x), float(y)]).view(1, 2, 1, 1).expand(1, 2, height, width).contiguous()


def moved(x: np.ndarray, right: int, down: int, border: str) -> np.ndarray:
    """(…, h, w) read at p + (right, down), by padding and cutting out."""
    h, w = x.shape[-2:]
    more = [(0, 0)] * (x.ndim - 2) + [(abs(down), abs(down)), (abs(right), abs(right))]
    top, left = abs(down) + down, abs(right) + right
    return np.pad(x, more, PADS[border])[..., top : top + h, left : left + w]


@pytest.mark.parametrize(("name", "border"), product(WARPS, BORDERS))
def test_a_whole_pixel_pan_is_exact_inside_and_at_the_borders(name: str, border: str) -> None:
    x = maps(21, 34)
    align = alignment_of({name: {"border": border}}, channels=2)
    for right, down in ((0, 0), (3, 0), (0, -2), (-5, 4), (7, 7)):
        found = align(x, x, constant(right, down, 21, 34)).numpy()
        tolerance = 0.0 if name in ("nearest", "patch") else 2e-5
        np.testing.assert_allclose(found, moved(x.numpy(), right, down, border), rtol=0, atol=tolerance)


def test_no_alignment_is_the_support_itself() -> None:
    x, y = maps(5, 6), maps(5, 6, seed=1)
    align = alignment_of("none", channels=2)
    assert align(x, y, constant(2, 1, 5, 6)) is x
    assert not align.USES_FLOW


def test_bilinear_equals_a_plain_loop_over_positions_between_pixels() -> None:
    x, rng = maps(9, 11, 1), np.random.default_rng(4)
    flow = rng.uniform(-3, 3, (1, 2, 9, 11)).astype(np.float32)
    image, expected = np.pad(x[0, 0].numpy().astype(np.float64), 4), np.zeros((9, 11))
    for i, j in np.ndindex(9, 11):
        y, z = i + flow[0, 1, i, j] + 4, j + flow[0, 0, i, j] + 4  # zeros outside: within the padding
        top, left = int(np.floor(y)), int(np.floor(z))
        a, b = y - top, z - left
        box = image[top : top + 2, left : left + 2]
        expected[i, j] = np.array([1 - a, a]) @ box @ np.array([1 - b, b])
    found = alignment_of("bilinear", channels=1)(x, x, torch.from_numpy(flow))
    np.testing.assert_allclose(found[0, 0].numpy(), expected, atol=1e-5)


def test_nearest_rounds_halves_up_everywhere() -> None:
    x = torch.arange(48.0).view(1, 1, 1, 48)
    nearest = alignment_of({"nearest": {"border": "clamp"}}, channels=1)
    for given, whole in ((0.5, 1), (1.5, 2), (-0.5, 0), (-1.5, -1), (0.49, 0), (-0.51, -1)):
        assert nearest(x, x, constant(given, 0, 1, 48))[0, 0, 0, 4:-4].tolist() == list(range(4 + whole, 44 + whole))


REDUCED = {
    "mean": lambda values: np.floor(values.astype(np.float64).mean(0) + 0.5),
    "median": lambda values: np.floor(np.median(values, 0) + 0.5),
    "mode": lambda values: _most_frequent(np.floor(values + np.float32(0.5))),
}


def _most_frequent(moves: np.ndarray) -> np.ndarray:
    counts = [sum(np.array_equal(move, other) for other in moves) for move in moves]
    return moves[int(np.argmax(counts))]


@pytest.mark.parametrize(
    ("size", "border", "reduce"), [*product((4, 8, 16), BORDERS, ["mean"]), (8, "zeros", "median"), (5, "clamp", "mode")]
)
def test_patch_alignment_equals_a_gather_of_whole_patches_by_their_motion(size: int, border: str, reduce: str) -> None:
    """The height and width are no multiples of the patch, and motion reaches beyond the frame."""
    h, w = 27, 37
    x, rng = maps(h, w), np.random.default_rng(size)
    flow = (rng.uniform(-9, 9, (2, 1, 1)) + rng.uniform(-2, 2, (2, h, w))).astype(np.float32)
    whole = np.pad(flow, [(0, 0), (0, -h % size), (0, -w % size)], "reflect")
    far = 24
    padded = np.pad(x[0].numpy(), [(0, 0), (far, far), (far, far)], PADS[border])
    expected = np.zeros((2, h, w), np.float32)
    for top, left in product(range(0, h, size), range(0, w, size)):
        right, down = REDUCED[reduce](whole[:, top : top + size, left : left + size].reshape(2, -1).T).astype(int)
        box = padded[:, far + top + down : far + top + down + size, far + left + right : far + left + right + size]
        expected[:, top : top + size, left : left + size] = box[:, : h - top, : w - left]
    align = alignment_of({"patch": {"size": size, "border": border, "reduce": reduce}}, channels=2)
    np.testing.assert_array_equal(align(x, x, torch.from_numpy(flow)[None])[0].numpy(), expected)


@pytest.mark.parametrize("half", [0.5, 1.5, -0.5])
def test_at_half_a_pixel_the_authors_code_tears_a_patch_and_ours_does_not(half: float) -> None:
    columns = torch.arange(48.0).view(1, 1, 1, 48).expand(1, 1, 48, 48).contiguous()
    flow = constant(half, 0, 48, 48)

    def moves(**options: Any) -> set[int]:
        out = patch(columns, flow, 8, "clamp", **options)
        return set((out - columns)[0, 0, :, 4:-4].flatten().int().tolist())

    assert moves() == {int(np.floor(half + 0.5))}
    assert moves(reference_compat=True) == {int(np.floor(half)), int(np.ceil(half))}


def test_the_tear_at_half_a_pixel_is_the_one_that_was_measured_of_the_authors_code() -> None:
    """Specification, A4: of 48 columns, 20 moved by 0 and 28 by 1. These are the counts of a mean of −0.5."""
    columns = torch.arange(48.0).view(1, 1, 1, 48).expand(1, 1, 48, 48).contiguous()
    out = patch(columns, constant(-0.5, 0, 48, 48), 8, "clamp", reference_compat=True)[0, 0, 0]
    assert [int((out - columns[0, 0, 0] == move).sum()) for move in (0, -1)] == [20, 28]


@pytest.mark.parametrize("mean", [0.49, 0.5001, 2.3, -1.7])
def test_away_from_half_a_pixel_both_agree(mean: float) -> None:
    x = maps(48, 48)
    flow = constant(mean, -mean, 48, 48)
    np.testing.assert_array_equal(patch(x, flow).numpy(), patch(x, flow, reference_compat=True).numpy())


@pytest.mark.parametrize("name", WARPS)
def test_gradients_flow_where_the_operator_has_some(name: str) -> None:
    x = maps(12, 13).requires_grad_()
    flow = constant(1.3, 0.6, 12, 13).requires_grad_()
    alignment_of(name, channels=2)(x, x, flow).square().sum().backward()
    assert x.grad is not None
    assert bool(x.grad.abs().sum() > 0)
    moves = flow.grad is not None and bool(flow.grad.abs().sum() > 0)
    assert moves == (name in ("bilinear", "bicubic", "image"))


def test_four_neighbours_before_training_are_their_mean_and_after_it_what_its_weights_say() -> None:
    x, flow = maps(9, 11), constant(1.3, -0.6, 9, 11)
    align = alignment_of("nearest4", channels=2)
    corners = [moved(x.numpy(), right, down, "zeros") for down in (-1, 0) for right in (1, 2)]
    np.testing.assert_allclose(align(x, x, flow).detach().numpy(), np.mean(corners, 0), atol=1e-6)
    with torch.no_grad():
        align.mix.weight.zero_()
        align.mix.weight[0, 2 * 1] = 1  # the first map of the second corner, top right
    np.testing.assert_allclose(align(x, x, flow).detach().numpy()[0, 0], corners[1][0, 0], atol=1e-6)


def test_deformable_convolution_before_training_follows_the_flow() -> None:
    """Its offsets start at zero and its weights at one half: with a kernel of its centre alone, half of the bilinear warp."""
    x, rng = maps(12, 14, 4), np.random.default_rng(1)
    flow = torch.from_numpy(rng.uniform(-2, 2, (1, 2, 12, 14)).astype(np.float32))
    align = alignment_of({"fgdc": {"groups": 2, "reach": 3}}, channels=4)
    with torch.no_grad():
        align.weight.zero_()
        align.weight[range(4), range(4), 1, 1] = 1
        inside = (..., slice(3, -3), slice(3, -3))
        expected = alignment_of("bilinear", channels=4)(x, x, flow)[inside] / 2
        np.testing.assert_allclose(align(x, x, flow)[inside].numpy(), expected.numpy(), atol=1e-5)
        align.offsets[-1].bias[: 2 * 9 * 2] = 50.0  # tanh is 1: all places lie 3 pixels down and right of the flow
        whole = alignment_of("bilinear", channels=4)(x, x, flow + 3)[..., 4:-7, 4:-7] / 2
        np.testing.assert_allclose(align(x, x, flow)[..., 4:-7, 4:-7].numpy(), whole.numpy(), atol=1e-5)
    assert alignment_of("fgdc", channels=10).groups == 5
    for groups in (3, 0, True):
        with pytest.raises(NetworkError, match="expected an integer that divides the 4 channels"):
            alignment_of({"fgdc": {"groups": groups}}, channels=4)
    with pytest.raises(NetworkError, match="reach is -1; expected a number of pixels > 0"):
        alignment_of({"fgdc": {"reach": -1}}, channels=4)


def test_flow_over_two_steps_of_a_pan_is_their_sum_and_of_a_rotation_leads_to_the_right_place() -> None:
    both = composed(constant(1.5, -1, 20, 20), constant(2.25, 0.5, 20, 20))
    assert torch.allclose(both[..., 4:-4, 4:-4], constant(3.75, -0.5, 12, 12), atol=1e-5)
    rows, columns = np.mgrid[:41, :41] - 20.0
    angle = 0.05

    def turned(by: float) -> Tensor:
        x, y = np.cos(by) * columns - np.sin(by) * rows, np.sin(by) * columns + np.cos(by) * rows
        return torch.from_numpy(np.stack([x - columns, y - rows]).astype(np.float32))[None]

    inner = (..., slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(composed(turned(angle), turned(angle))[inner].numpy(), turned(2 * angle)[inner].numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("patches", "no alignment 'patches'. Did you mean 'patch'"),
        ({"patch": {"sise": 8}}, "'patch' takes no option 'sise'; it takes size, border, reduce, reference_compat. Did you mean 'size'"),
        ({"patch": {"size": 0}}, "size is 0; expected an integer"),
        ({"patch": {"size": True}}, "size is True"),
        ({"patch": {"reduce": "max"}}, "reduce is 'max'; expected one of mean, median, mode"),
        ({"patch": {"reference_compat": "yes"}}, "reference_compat is 'yes'"),
        ({"bilinear": {"border": "wrap"}}, "'bilinear': border is 'wrap'; expected one of zeros, clamp, reflect"),
        ({"none": {"border": "zeros"}}, "takes no option 'border'; it takes none"),
        ({"patch": 8}, "expected a name, or a name with its options"),
        ({"patch": {}, "none": {}}, "expected a name, or a name with its options"),
        (8, "expected a name, or a name with its options"),
        ("elsewhere.py:Align", "is code that none of your recipes names"),
    ],
)
def test_what_an_alignment_cannot_be_is_refused(choice: Any, said: str) -> None:
    with pytest.raises(NetworkError, match=r"network 'net': .*" + said.replace("(", r"\(")):
        alignment_of(choice, channels=3, network="net")


def test_every_registered_operator_keeps_shape_dtype_and_says_what_it_is() -> None:
    x = maps(16, 24, 4)
    for name in ALIGNMENTS:
        align = alignment_of(name, channels=4)
        assert isinstance(align, Alignment)
        assert (align.LEVEL == "image") == (name == "image")
        assert bool(list(align.parameters())) == align.LEARNED
        out = align(x, x, constant(1.5, 0.25, 16, 24))
        assert (out.shape, out.dtype) == (x.shape, x.dtype)
    assert alignment_of(None, channels=4).USES_FLOW is False


def test_an_operator_of_a_users_own_file_is_taken_by_its_place(tmp_path: Path) -> None:
    code = "from xlli_ray.models.alignment.alignment import Alignment\nclass Half(Alignment):\n    VERSION = 3\n"
    (tmp_path / "own.py").write_text(code + "    def forward(self, support, current, flow):\n        return support / 2\n")
    user_code.allow(["own.py:Half"], str(tmp_path))
    assert alignment_class("own.py:Half").VERSION == 3
    x = maps(4, 4)
    assert torch.equal(alignment_of("own.py:Half", channels=2)(x, x, x[:, :2]), x / 2)
    user_code.allow(["own.py:Alignment2"], str(tmp_path))
    with pytest.raises(NetworkError, match=r"own\.py has no 'Alignment2'"):
        alignment_of("own.py:Alignment2", channels=2)
