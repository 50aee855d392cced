"""BasicVSR's public weights on a pan of known speed: with alignment the attribution follows the content, without it stays and retreats to
the explained frame. (`tests/benchmarks/temporal_lam.py` has several photographs and speeds.)"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import xlli_ray
from xlli_ray.api import ClipLamResult
from xlli_ray.corpus.decode import decode
from xlli_ray.corpus.resize import downscale

SIDE, STEP = 36, 17  # input pixels; output pixels a frame


@pytest.fixture(scope="module")
def maps(fixtures: Path) -> dict[str, ClipLamResult]:
    photo = decode((fixtures / "images/BSD100/x4/img_005_HR.png").read_bytes()).pixels
    top, left = (photo.shape[0] - 4 * SIDE) // 2, (photo.shape[1] - 4 * SIDE - 4 * STEP) // 2
    frames = [downscale(photo[top : top + 4 * SIDE, left + STEP * k :][:, : 4 * SIDE], 4) for k in range(5)]
    after = np.zeros((4, 2, SIDE, SIDE))
    after[:, 0] = -STEP / 4
    weights = fixtures / "models/basicvsr/basicvsr_vimeo90k_bi_x4.pth"
    edge = 2 * SIDE - 16
    out = {}
    for alignment in ("bilinear", "none"):
        known = {"network": "basicvsr", "args": {"alignment": alignment}, "flow": (after, -after)}
        found = xlli_ray.lam(str(weights), np.stack(frames), (edge, edge, 32), nodes=3, **known)
        assert isinstance(found, ClipLamResult)
        out[alignment] = found
    return out


@pytest.mark.slow
def test_attribution_of_basicvsr_follows_the_content_with_alignment_and_stays_without(maps: dict[str, ClipLamResult]) -> None:
    aligned, plain = maps["bilinear"], maps["none"]
    assert aligned.numbers["tracking_error"] <= 3
    assert aligned.numbers["motion_followed"] == pytest.approx(1, abs=0.25)
    assert plain.numbers["tracking_error"] > 4
    assert abs(plain.numbers["motion_followed"]) < 0.4
    assert plain.frame_share[2] > aligned.frame_share[2] + 0.1, "what it cannot find in other frames, it takes from its own"


@pytest.mark.slow
def test_maps_of_clips_are_as_complete_as_those_of_images_and_say_their_error(maps: dict[str, ClipLamResult]) -> None:
    for found in maps.values():
        assert found.frame_share.sum() == pytest.approx(1)
        assert found.result.completeness < 0.1
        assert 0 < found.error_estimate < 0.3
