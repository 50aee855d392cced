"""What operators keep and lose: sums against loops, energies against the whole transform, seams where patches meet."""

from __future__ import annotations

import numpy as np
import pytest

from xlli_ray.stats.alignment_error import high_frequency_energy, seam, seam_sums, squared_by_motion, squared_by_phase
from xlli_ray.stats.motion import EDGES


@pytest.mark.parametrize("size", [(9, 12), (8, 7), (12, 12), (5, 1)])
def test_high_frequencies_are_those_of_the_whole_transform(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).normal(100, 20, (3, *size))
    power = np.abs(np.fft.fft2(image)) ** 2
    radius = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.fftfreq(size[1]))
    assert high_frequency_energy(image) == pytest.approx(power[:, radius > 0.25].sum() / (size[0] * size[1]) ** 2, rel=1e-10)


def test_a_wave_is_high_or_low_by_its_frequency_and_a_flat_image_is_neither() -> None:
    x = np.arange(64)
    for cycles, share in ((8, 0.0), (15, 0.0), (16, 0.0), (17, 1.0), (30, 1.0)):  # 16 of 64 is 0.25 itself
        wave = np.broadcast_to(100 + 10 * np.cos(2 * np.pi * cycles * x / 64), (1, 32, 64))
        assert high_frequency_energy(wave) == pytest.approx(share * 50, abs=1e-9), "half of the squared amplitude"
    assert high_frequency_energy(np.full((3, 10, 10), 99.0)) == pytest.approx(0, abs=1e-20)


def test_errors_are_summed_by_motion_and_by_position_between_pixels() -> None:
    rng = np.random.default_rng(1)
    error, flow, hidden = rng.normal(0, 5, (3, 6, 8)), rng.normal(0, 5, (2, 6, 8)).astype(np.float32), rng.random((6, 8)) < 0.3
    wanted, number = np.zeros((2, 11)), np.zeros((2, 11))
    phases, phase_number = np.zeros((4, 4)), np.zeros((4, 4))
    for y in range(6):
        for x in range(8):
            far = float(np.sqrt(flow[0, y, x] ** 2 + flow[1, y, x] ** 2))
            at = (int(hidden[y, x]), max(i for i, edge in enumerate(EDGES) if far >= edge))
            wanted[at] += (error[:, y, x] ** 2).sum()
            number[at] += 3
            if not hidden[y, x]:
                phase = tuple(int((float(flow[axis, y, x]) % 1) * 4) for axis in (1, 0))
                phases[phase] += (error[:, y, x] ** 2).sum()
                phase_number[phase] += 3
    for found, sums, counts in ((squared_by_motion, wanted, number), (squared_by_phase, phases, phase_number)):
        squares, values = found(error, flow, hidden)
        np.testing.assert_allclose(squares, sums, rtol=1e-12)
        assert values.tolist() == counts.tolist()


def test_a_position_just_below_a_pixel_is_in_the_last_phase() -> None:
    flow = np.array([[[-1e-9, 0.0, 0.25, 2.999]], [[0.0, -0.5, 0.0, 0.0]]])
    _, counts = squared_by_phase(np.zeros((1, 1, 4)), flow, np.zeros((1, 4), bool))
    assert counts.tolist() == [[0, 1, 0, 2], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(("top", "left"), [(0, 0), (3, 8), (5, 2)])
def test_seams_are_where_patches_meet_wherever_the_image_begins(top: int, left: int) -> None:
    rng = np.random.default_rng(2)
    patches = np.kron(rng.uniform(0, 200, (6, 6)), np.ones((8, 8)))[None]
    image = patches[:, top : top + 40, left : left + 37]
    sums = seam_sums(image, 8, top=top, left=left)
    assert sums[1, 0] == 0, "inside a patch nothing changes"
    across = [abs(image[0, y, x] - image[0, y - 1, x]) for y in range(1, 40) if (y + top) % 8 == 0 for x in range(37)]
    across += [abs(image[0, y, x] - image[0, y, x - 1]) for x in range(1, 37) if (x + left) % 8 == 0 for y in range(40)]
    assert sums[0].tolist() == pytest.approx([sum(across), len(across)])
    assert seam(sums) == pytest.approx(np.mean(across))
    assert seam(sums + sums) == pytest.approx(seam(sums))


def test_an_image_without_patches_has_no_seams_and_one_of_a_single_patch_no_number() -> None:
    noise = np.random.default_rng(3).normal(0, 10, (3, 200, 200))
    assert seam(seam_sums(noise, 8)) == pytest.approx(0, abs=0.2)
    assert np.isnan(seam(seam_sums(noise[:, :8, :8], 8)))
