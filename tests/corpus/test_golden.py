"""Bytes that must not move by accident.

When one of these fails, the same recipe now gives other numbers than before. If that is intended, raise the VERSION of
what changed (`decode.VERSION`, `resize.VERSION`, the degradation's `VERSION`) in the same commit as the new hash:
stored results are found again by those versions, and without a new number old and new would be mixed silently.

The image is made by integer arithmetic, so it is the same everywhere.
"""

from __future__ import annotations

import json
from hashlib import sha256
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from xlli_ray.corpus import decode, degradations, resize
from xlli_ray.corpus.degradations import get, parse
from xlli_ray.registry import DEGRADATIONS


def image() -> np.ndarray:
    """uint8 (96, 120, 3): ramps, edges and texture."""
    y, x = np.mgrid[:96, :120]
    planes = [
        (x * 2 + y) % 256,
        (x * y) // 7 % 256,
        255 * ((x // 12 + y // 8) % 2) - (x % 5) * (((x // 12 + y // 8) % 2) * 4),
    ]
    return np.stack(planes, axis=2).astype(np.uint8)


def digest(array: np.ndarray) -> str:
    header = json.dumps([array.dtype.str, array.shape])
    return sha256(header.encode() + np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def png(array: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


KEY = "0|0123456789abcdef"
HR = decode.decode(png(image())).pixels
LR = resize.downscale(HR, 4)


def test_the_image_itself() -> None:
    assert digest(image()) == "be172abdd0d4064c"


def test_decoded_bytes() -> None:
    assert decode.VERSION == 1
    assert digest(HR) == "d9f4ef93c91703db"
    deep = image()[:, :, 0].astype(np.uint16) * 257 + 3
    assert digest(decode.decode(png(deep)).pixels) == "4378aa5004275e9d"


def test_resized_bytes() -> None:
    assert resize.VERSION == 1
    assert digest(LR) == "7279741155188e64"
    assert digest(resize.downscale(HR, 3)) == "5a8a012569daf2d1"
    assert digest(resize.bicubic(HR, 4)) == "66d5264d54372af9"
    assert digest(resize.bicubic_up(HR[:20, :20], 2)) == "994cf2c78d42a5b3"


GOLDEN = {
    "blur0.5": (1, "be564f378211fc4a"),
    "blur2": (1, "85f5b86f085edbf5"),
    "blur8": (1, "7340cb21daf7482c"),
    "noise10": (1, "3c00bb192fc6a009"),
    "noise20": (1, "452b34ceb3429a7e"),
    "rain-hu25-small": (1, "7978275f2b887ca2"),
    "rain-hu25-random": (1, "abee6e303ba0111d"),
    "rain-xpixel-large": (1, "9751cfec71d5211f"),
    "jpeg10": (1, "6bd17c75bf19f92c"),
    "jpeg50": (1, "ecf2bdf656def685"),
}


@pytest.mark.parametrize("label", GOLDEN)
def test_degraded_bytes(label: str) -> None:
    (one,) = degradations.parse_label(label).parts
    version, expected = GOLDEN[label]
    assert version == one.VERSION
    assert digest(one.apply(HR if one.DOMAIN == "target" else LR, key=KEY).image) == expected


def test_blurred_bytes_in_a_window() -> None:
    found = {label: digest(degradations.parse_label(label).apply(HR, "target", key=KEY).image) for label in ("blur2w15", "blur8w21")}
    assert get("blur").VERSION == 1
    assert found == {"blur2w15": "9f397ac449c847a7", "blur8w21": "eb40a0d8f1f18019"}


def test_every_degradation_has_a_golden_hash() -> None:
    assert {part.NAME for label in GOLDEN for part in degradations.parse_label(label).parts} == set(DEGRADATIONS)


def test_the_whole_chain() -> None:
    mixture = parse({"blur": 2.0, "noise": 10, "jpeg": 50})
    small = resize.downscale(mixture.apply(HR, "target", key="").image, 4)
    assert digest(mixture.apply(small, "input", key=KEY).image) == "a6b28ce9420a7a2a"
