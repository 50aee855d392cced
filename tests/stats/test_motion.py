"""Flows: sampling against SciPy, composition and the forward–backward check against motions that are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from xlli_ray.stats.motion import (
    EDGES,
    along,
    between,
    bins,
    checked,
    composed,
    followed,
    forward_backward_error,
    inside,
    magnitude,
    occluded,
)


def smooth(seed: int, height: int = 23, width: int = 31, size: float = 4.0) -> np.ndarray:
    """A flow that varies slowly, and points beyond the frame here and there."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [size * np.sin(rng.uniform(0, 0.3) * x + rng.uniform(0, 0.3) * y + rng.uniform(0, 6)) for _ in range(2)]
    return np.stack(waves).astype(np.float32)


def affine(matrix: np.ndarray, height: int = 40, width: int = 50) -> np.ndarray:
    """The flow of p → A p + b about the centre, `matrix` = [A | b]."""
    y, x = np.mgrid[:height, :width] - np.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]
    points = np.stack([x, y, np.ones_like(x)])
    return (np.tensordot(matrix, points, axes=1) - points[:2]).astype(np.float32)


def test_a_flow_is_sampled_as_scipy_samples_an_image() -> None:
    field, flow = smooth(0), smooth(1)
    y, x = np.mgrid[:23, :31]
    at = np.stack([y + flow[1].astype(np.float64), x + flow[0].astype(np.float64)])
    wanted = np.stack([map_coordinates(plane.astype(np.float64), at, order=1, mode="nearest") for plane in field])
    np.testing.assert_allclose(along(field, flow), wanted, atol=2e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_frames_of_one_row_or_column_are_sampled_too(size: tuple[int, int]) -> None:
    field, flow = smooth(2, *size), smooth(3, *size)
    y, x = np.mgrid[: size[0], : size[1]]
    at = np.stack([y + flow[1], x + flow[0]])
    wanted = np.stack([map_coordinates(plane, at, order=1, mode="nearest") for plane in field])
    np.testing.assert_allclose(along(field, flow), wanted, atol=2e-5)


def test_whole_pixels_are_gathered_exactly() -> None:
    field = smooth(4)
    flow = np.zeros_like(field)
    flow[0], flow[1] = 3, -2
    moved = along(field, flow)
    assert (moved[:, 2:, :-3] == field[:, :-2, 3:]).all()
    assert (moved[:, 0, 0] == field[:, 0, 3]).all(), "above the frame are the values of its edge"


def test_what_is_not_finite_stays_so_and_spoils_nothing_else() -> None:
    field, flow = smooth(5), smooth(6)
    clean = along(field, flow)
    flow[0, 3, 4] = np.nan
    broken = along(field, flow)
    where = np.ones(flow.shape[1:], bool)
    where[3, 4] = False
    assert np.isnan(broken[:, 3, 4]).all()
    assert (broken[:, where] == clean[:, where]).all()
    assert occluded(flow, field)[3, 4]


def test_affine_motions_compose_as_their_matrices_do() -> None:
    one = np.array([[1.02, 0.03, 1.5], [-0.03, 0.99, -0.75]])
    two = np.array([[0.98, -0.01, 0.5], [0.02, 1.01, 1.25]])
    whole = np.vstack([two, [0, 0, 1]]) @ np.vstack([one, [0, 0, 1]])
    here = (slice(None), slice(5, -5), slice(5, -5))  # elsewhere the second flow is sampled beyond its edge
    np.testing.assert_allclose(composed(affine(one), affine(two))[here], affine(whole[:2])[here], atol=1e-4)


def test_the_flow_to_a_frame_further_away_is_that_of_all_steps_between() -> None:
    step = np.array([[1.01, 0.02, 0.5], [-0.02, 1.0, -0.25]])
    back = np.linalg.inv(np.vstack([step, [0, 0, 1]]))[:2]
    following, preceding = (np.stack([affine(one)] * 3).astype(np.float16) for one in (step, back))
    assert not between(following, preceding, 2, 2).any()
    for far in (1, 2, 3):
        power = np.linalg.matrix_power(np.vstack([step, [0, 0, 1]]), far)
        for current, support, matrix in ((0, far, power), (far, 0, np.linalg.inv(power))):
            found, wanted = between(following, preceding, current, support), affine(matrix[:2])
            np.testing.assert_allclose(found[:, 5:-5, 5:-5], wanted[:, 5:-5, 5:-5], atol=0.01)


def test_a_motion_and_its_inverse_cancel_and_a_wrong_flow_back_is_found() -> None:
    there, back = (np.zeros((2, 20, 30), np.float32) for _ in range(2))
    there[0], back[0] = 2.5, -2.5
    error, hidden = checked(there, back)
    assert not error.any()
    assert hidden.tolist() == (~inside(there)).tolist()
    back[0, :, 10:20] = 0  # as where an object covers what was behind it
    _, hidden = checked(there, back)
    assert hidden[:, 9:17].all()
    assert not hidden[:, :6].any()
    assert not hidden[:, 18:27].any()


def test_the_rule_of_occlusion_is_that_of_the_paper_pixel_by_pixel() -> None:
    there, back = smooth(7), -smooth(8)
    error, hidden = checked(there, back)
    returned = along(back, there)
    leaves = ~inside(there)
    for y in range(0, 23, 3):
        for x in range(0, 31, 3):
            f, b = there[:, y, x].astype(np.float64), returned[:, y, x].astype(np.float64)
            assert error[y, x] == pytest.approx(np.hypot(*(f + b)), rel=1e-4, abs=1e-5)
            limit = 0.01 * (f @ f + b @ b) + 0.5
            if abs((f + b) @ (f + b) - limit) > 1e-3:
                assert hidden[y, x] == (((f + b) @ (f + b) > limit) or leaves[y, x])
    assert (forward_backward_error(there, back) == error).all()


def test_bins_begin_at_their_edges() -> None:
    values = np.array([0, 0.49, 0.5, 0.99, 1, 7.99, 8, 31.9, 32, 1e4], np.float32)
    assert bins(values).tolist() == [0, 0, 1, 1, 2, 5, 6, 9, 10, 10]
    assert len(EDGES) == 11
    assert magnitude(np.array([[[3.0]], [[4.0]]])).tolist() == [[5.0]]


def test_all_that_is_asked_of_a_flow_at_once_is_what_is_asked_singly() -> None:
    there, back = 3 * smooth(11), 3 * smooth(12)
    there[1, 5, 6] = np.nan
    error, hidden, stays = followed(there, back)
    assert 0 < stays.sum() < stays.size
    assert (stays == inside(there)).all()
    assert (hidden == occluded(there, back)).all()
    np.testing.assert_array_equal(error, forward_backward_error(there, back))
