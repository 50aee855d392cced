"""Known motion: frames are what the motion says, the flow is where content goes, and occlusion is what one cannot see any more."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest

from xlli_ray.corpus.degradations.keyed_random import generator
from xlli_ray.corpus.motion.flow import by_products, flow, occluded
from xlli_ray.corpus.motion.frames import frames, sampled
from xlli_ray.corpus.motion.moves import Layer, Motion, Moves, draw


def numbered(height: int, width: int) -> np.ndarray:
    """A photograph whose every pixel has another colour."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, np.zeros_like(y)], -1).astype(np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(float)
    waves = [127 + 60 * np.sin(x / a + y / b) + 40 * np.cos(y / a - x / b) for a, b in ((9, 14), (11, 8), (16, 12))]
    return np.stack(waves, -1).astype(np.uint8)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_frames_of_an_exact_pan_are_crops_and_content_moves_with_the_velocity() -> None:
    photograph = numbered(90, 120)
    motion = Motion(frames=5, size=(16, 24), scale=4, place=(40, 50), velocity=(1.5, -0.25))
    assert motion.exact
    made = frames(photograph, motion, margin=2)
    for number, moment in enumerate(range(-2, 3)):
        top, left = 40 + 1 * moment - 2, 50 - 6 * moment - 2  # content goes right and up, so the frame goes left and down
        assert np.array_equal(made[number], photograph[top : top + 20, left : left + 28])
    forward, backward = flow(motion, 1), flow(motion, -1)
    assert forward.shape == (5, 4, 6, 2)
    assert (forward[:-1] == [1.5, -0.25]).all()
    assert (backward[1:] == [-1.5, 0.25]).all()
    assert np.isnan(forward[-1]).all()
    assert np.isnan(backward[0]).all()
    assert not occluded(motion, 1).any()


def test_flow_of_rotation_and_zoom_is_where_a_plain_calculation_puts_each_point() -> None:
    motion = Motion(3, (12, 16), 2, (60, 60), (0.5, 1.25), rotation=3.0, zoom=1.02)
    found = flow(motion, 1)

    def put(moment: int) -> np.ndarray:
        """3 x 3 from the photograph, about the frame's centre in (x, y), to the frame of a moment."""
        angle, z = np.radians(3.0) * moment, 1.02**moment
        c, s = z * np.cos(angle), z * np.sin(angle)
        return np.array([[c, -s, 2 * 0.5 * moment], [s, c, 2 * 1.25 * moment], [0, 0, 1]])

    for number, moment in enumerate((-1, 0)):
        for y in range(6):
            for x in range(8):
                point = np.array([2 * x + 0.5 - 7.5, 2 * y + 0.5 - 5.5, 1.0])
                there = put(moment + 1) @ np.linalg.inv(put(moment)) @ point
                assert found[number, y, x] == pytest.approx((there - point)[:2] / 2, abs=2e-6)


def test_warping_the_next_frame_by_the_flow_gives_this_one() -> None:
    photograph = smooth(200, 200)
    motion = Motion(3, (40, 40), 1, (80, 80), (1.3, -0.8), rotation=-2.0, zoom=0.98)
    made, field = frames(photograph, motion, margin=8), flow(motion, 1)
    y, x = np.mgrid[:40, :40].astype(float)
    for t in range(2):
        warped = sampled(made[t + 1], y + 8 + field[t, ..., 1], x + 8 + field[t, ..., 0]).astype(int)
        assert np.abs(warped - made[t, 8:-8, 8:-8]).max() <= 3
        assert np.abs(made[t + 1, 8:-8, 8:-8].astype(int) - made[t, 8:-8, 8:-8]).max() > 10


def test_what_is_occluded_is_what_another_layer_hides_in_the_other_frame() -> None:
    photograph = numbered(120, 140)
    layers = (
        Layer((2.0, 0.0), "ellipse", (14, 12), (6, 5), (3, 4)),
        Layer((-1.0, 1.0), "rectangle", (12, 20), (4, 4), (70, 80)),
    )
    motion = Motion(4, (32, 36), 1, (50, 50), (1.0, -2.0), layers=layers)
    made = frames(photograph, motion)
    for step in (1, -1):
        field, hidden = flow(motion, step), occluded(motion, step)
        assert hidden.any()
        for t in range(4):
            if not 0 <= t + step < 4:
                assert np.isnan(field[t]).all()
                assert not hidden[t].any()
                continue
            for y in range(32):
                for x in range(36):
                    row, column = int(y + field[t, y, x, 1]), int(x + field[t, y, x, 0])
                    inside = 0 <= row < 32 and 0 <= column < 36
                    seen = inside and np.array_equal(made[t, y, x], made[t + step, row, column])
                    assert hidden[t, y, x] == (inside and not seen)


def test_cubic_interpolation_keeps_pixels_and_is_its_formula_between() -> None:
    image = noise(9, 9)
    y, x = np.mgrid[2:6, 2:6].astype(float)
    assert np.array_equal(sampled(image, y, x), image[2:6, 2:6])
    row = image[3, 1:5].astype(float)
    between = -row[0] / 16 + 9 * row[1] / 16 + 9 * row[2] / 16 - row[3] / 16
    assert np.array_equal(sampled(image, np.array(3.0), np.array(2.5)), np.floor(between.clip(0, 255) + 0.5).astype(np.uint8))


def test_a_drawn_motion_stays_inside_and_one_without_room_is_none() -> None:
    moves = Moves(speeds=((0.0, 6.0),), rotation=(-3.0, 3.0), zoom=(0.97, 1.03), layers=2)
    photograph = noise(150, 170)
    for number in range(40):
        motion = draw(moves, (0.0, 6.0), generator(f"{number}"), (150, 170), frames=5, size=(32, 32), scale=2, margin=8)
        assert motion is not None
        assert np.hypot(*motion.velocity) <= 6 + 0.5
        assert all((2 * v).is_integer() for layer in motion.layers for v in layer.velocity)
        assert frames(photograph, motion, margin=8).shape == (5, 48, 48, 3)  # would raise outside
        assert Motion.from_json(motion.to_json()) == motion
    assert draw(moves, (40.0, 40.0), generator("x"), (150, 170), frames=5, size=(32, 32), scale=2, margin=8) is None
    with pytest.raises(ValueError, match="leaves the photograph of 170 x 150"):
        frames(photograph, Motion(3, (32, 32), 1, (0, 0), (1.0, 1.0)))


def test_velocities_are_multiples_of_the_inverse_scale_unless_they_need_not_be_exact() -> None:
    def some(exact: bool) -> list[Motion]:
        moves = Moves(speeds=((1.0, 3.0),), exact=exact)
        made = [draw(moves, (1.0, 3.0), generator(f"{i}"), (400, 400), frames=3, size=(32, 32), scale=4, margin=16) for i in range(20)]
        return [motion for motion in made if motion is not None]

    assert all(motion.exact for motion in some(True))
    assert not any(motion.exact for motion in some(False))
    assert len(some(True)) == 20


def test_the_bytes_are_those_of_every_machine() -> None:
    """Golden: integer or float64 arithmetic in a fixed order."""
    photograph = noise(160, 160)
    exact = draw(Moves(layers=2), (0.0, 4.0), generator("exact"), (160, 160), frames=5, size=(32, 32), scale=4, margin=16)
    turned = draw(
        Moves(exact=False, rotation=(-4.0, 4.0), zoom=(0.95, 1.05), layers=1), (0.0, 3.0), generator("turned"), (160, 160), frames=3,
        size=(32, 32), scale=2, margin=8,
    )  # fmt: skip
    digests = []
    for motion in (exact, turned):
        assert motion is not None
        digest = sha256(frames(photograph, motion, margin=4).tobytes())
        for name, array in sorted(by_products(motion).items()):
            digest.update(name.encode() + array.tobytes())
        digests.append(digest.hexdigest()[:16])
    assert digests == GOLDEN


GOLDEN = ["0a4ccacf7fb03015", "1a186bec99895406"]
