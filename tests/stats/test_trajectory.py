"""Trajectories through flow, tracking errors and shares near a trajectory, where the motion is known."""

from __future__ import annotations

import numpy as np
import pytest

from xlli_ray.stats.motion import between
from xlli_ray.stats.trajectory import (
    flow_at,
    inside,
    motion_followed,
    near,
    tracking_drift,
    tracking_error,
    tracking_errors,
    trajectory,
)

H, W, T = 20, 30, 5


def pan(dx: float, dy: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Flow to the next frame and back of content that moves by (dx, dy) a frame."""
    after = np.broadcast_to(np.array([dx, dy], np.float16)[:, None, None], (T - 1, 2, H, W))
    return after, -after


def test_a_pan_moves_a_point_by_the_same_way_in_every_frame() -> None:
    found = trajectory((8.0, 12.5), 2, *pan(1.25, -0.5))
    np.testing.assert_allclose(found, [[8 - 0.5 * k, 12.5 + 1.25 * k] for k in (-2, -1, 0, 1, 2)])
    np.testing.assert_allclose(trajectory((8.0, 12.5), 0, *pan(1.25)), [[8, 12.5 + 1.25 * k] for k in range(T)])


def test_a_point_follows_a_rotation_and_a_zoom_as_the_composed_flow_says() -> None:
    """An affine flow is linear in the position, so that bilinear sampling is exact: p(t+1) = p + M (p − c)."""
    centre, matrix = np.array([9.0, 14.0]), np.array([[0.05, -0.1], [0.1, 0.05]])
    rows, columns = np.mgrid[:H, :W]
    offsets = np.stack([rows - centre[0], columns - centre[1]], -1)
    forth = offsets @ matrix.T
    back = offsets @ (np.linalg.inv(np.eye(2) + matrix) - np.eye(2)).T
    after, before = (np.broadcast_to(np.moveaxis(flow[..., ::-1], -1, 0), (T - 1, 2, H, W)) for flow in (forth, back))
    found = trajectory((7.0, 17.0), 2, after, before)
    step = np.eye(2) + matrix
    expected = [centre + np.linalg.matrix_power(step, k) @ (np.array([7.0, 17.0]) - centre) for k in (1, 2)]
    np.testing.assert_allclose(found[3:], expected, atol=1e-9)
    np.testing.assert_allclose(step @ step @ (found[0] - centre) + centre, [7, 17], atol=1e-9)


def test_a_trajectory_from_a_pixel_is_the_composed_flow_read_there() -> None:
    rng = np.random.default_rng(2)
    rows, columns = np.mgrid[:H, :W] / 5.0
    after, before = (np.stack([a * np.sin(rows + columns) for a in rng.normal(0, 2, (T - 1, 2, 1, 1))]) for _ in "ab")
    after, before = (flows.reshape(T - 1, 2, H, W) + rng.normal(0, 0.5, (T - 1, 2, 1, 1)) for flows in (after, before))
    found = trajectory((9.0, 13.0), 2, after, before)
    for k in range(T):
        x, y = between(after, before, 2, k)[:, 9, 13]
        np.testing.assert_allclose(found[k], [9 + y, 13 + x], atol=1e-4)


def test_flow_between_pixels_is_bilinear_and_outside_that_of_the_border() -> None:
    flow = np.random.default_rng(0).normal(size=(2, 4, 5))
    expected = 0.75 * (0.5 * flow[:, 1, 2] + 0.5 * flow[:, 1, 3]) + 0.25 * (0.5 * flow[:, 2, 2] + 0.5 * flow[:, 2, 3])
    np.testing.assert_allclose(flow_at(flow, np.array([1.25, 2.5])), expected[::-1])
    np.testing.assert_allclose(flow_at(flow, np.array([-3.0, 9.0])), flow[::-1, 0, 4])
    np.testing.assert_allclose(flow_at(flow[:, :1, :1], np.array([0.4, 0.0])), flow[::-1, 0, 0])


def test_an_unknown_flow_ends_the_trajectory_on_its_side_only() -> None:
    after, before = (np.array(flow, np.float64) for flow in pan(1.0))
    after[3] = np.nan
    found = trajectory((5.0, 5.0), 2, after, before)
    assert np.isnan(found).tolist() == [[False] * 2] * 4 + [[True] * 2]
    after[2, :, 7] = np.nan  # a row that the point does not touch
    assert np.isfinite(trajectory((6.0, 5.0), 2, after, before)[3]).all()
    with pytest.raises(ValueError, match="frame 5 of 5"):
        trajectory((0.0, 0.0), 5, after, before)


def test_the_tracking_error_leaves_out_its_own_frame_and_frames_in_which_the_object_is_gone() -> None:
    path = trajectory((8.0, 12.0), 2, *pan(10.0))  # x: −8, 2, 12, 22, 32 of 0 … 29
    assert inside(path, H, W).tolist() == [False, True, True, True, False]
    places = np.array([[0, 0], [8, 5], [0, 0], [12, 22], [0, 0.0]])
    assert np.isnan(tracking_errors(places, path, H, W)).tolist() == [True, False, False, False, True]
    assert tracking_error(places, path, 2, H, W) == pytest.approx((3 + 4) / 2)
    gone = trajectory((8.0, 12.0), 2, *pan(40.0))
    assert np.isnan(tracking_error(places, gone, 2, H, W))
    assert np.isnan(near(np.ones((T, H, W)), gone, 2, 3))


def test_following_is_one_with_the_object_zero_for_staying_and_does_not_see_a_constant_offset() -> None:
    path = trajectory((8.0, 14.0), 2, *pan(3.0, 1.0))
    offset = np.array([1.5, -2.0])
    assert motion_followed(path + offset, path, 2, H, W) == pytest.approx(1)
    assert tracking_drift(path + offset, path, 2, H, W) == pytest.approx(0, abs=1e-12)
    assert tracking_error(path + offset, path, 2, H, W) == pytest.approx(2.5)
    away = np.hypot(3, 1) * np.array([2, 1, 1, 2])
    assert tracking_drift(np.broadcast_to(path[2] + offset, path.shape), path, 2, H, W) == pytest.approx(away.mean()), "staying"
    assert motion_followed(np.broadcast_to(path[2] + offset, path.shape), path, 2, H, W) == pytest.approx(0, abs=1e-12)
    half = path[2] + 0.5 * (path - path[2])
    assert motion_followed(half, path, 2, H, W) == pytest.approx(0.5)
    assert np.isnan(motion_followed(path, trajectory((8.0, 14.0), 2, *pan(0.1)), 2, H, W)), "hardly any motion"
    assert np.isnan(motion_followed(np.full((T, 2), np.nan), path, 2, H, W))


def test_the_share_near_a_trajectory_is_that_of_the_pixels_within_the_radius_of_the_other_frames() -> None:
    maps = np.zeros((T, H, W))
    path = trajectory((8.0, 12.0), 2, *pan(2.0))
    maps[2] = 100.0  # its own frame does not count
    maps[3, 8, 14 + 3], maps[3, 8, 14 + 4] = 1.0, 3.0
    maps[0, 8 - 3, 8] = 2.0
    assert near(maps, path, 2, 3) == pytest.approx((1 + 2) / 6)
    assert near(maps, path, 2, 4) == pytest.approx(1)
