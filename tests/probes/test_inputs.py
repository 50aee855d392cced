"""Inputs: the hash is that of the image's bytes, whatever else the network does."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xlli_ray.corpus.decode import decode
from xlli_ray.probes.inputs import Inputs, Params, input_sha256


def planes(path: Path) -> np.ndarray:
    return decode(path.read_bytes()).pixels.transpose(2, 0, 1)


def test_the_hash_is_of_the_images_bytes_in_memory(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    image[0, 0] = (0, 255, 128)
    Image.fromarray(image).save(tmp_path / "a.png")
    wanted = sha256(np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).tobytes()).hexdigest()
    assert input_sha256(planes(tmp_path / "a.png")) == (wanted, 8)
    image[3, 2, 1] ^= 1
    assert input_sha256(image.transpose(2, 0, 1).astype(np.float32) / np.float32(255))[0] != wanted


def test_every_eight_and_every_sixteen_bit_value_is_held_exactly() -> None:
    eight = np.arange(256, dtype=np.uint8).reshape(1, 16, 16).repeat(3, 0)
    assert input_sha256(eight.astype(np.float32) / np.float32(255))[1] == 8
    deep = np.arange(65536, dtype="<u2").reshape(1, 256, 256).repeat(3, 0)
    wanted = sha256(np.ascontiguousarray(deep.transpose(1, 2, 0)).tobytes()).hexdigest()
    assert input_sha256(deep.astype(np.float32) / np.float32(65535)) == (wanted, 16)
    assert input_sha256((eight * np.uint16(257)).astype(np.float32) / np.float32(65535))[1] == 8, "the same values as in 8 bits"


def test_a_16_bit_file_and_values_of_no_file(tmp_path: Path) -> None:
    deep = np.random.default_rng(1).integers(0, 65536, (6, 4), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    wanted = sha256(np.repeat(deep[:, :, None], 3, axis=2).astype("<u2").tobytes()).hexdigest()
    assert input_sha256(planes(tmp_path / "a.png")) == (wanted, 16)
    thirds = np.full((3, 2, 2), 1 / np.pi, np.float32)
    assert input_sha256(thirds) == (sha256(thirds.transpose(1, 2, 0).astype("<f4").tobytes()).hexdigest(), 32)


def test_no_network_runs_and_a_sample_that_failed_has_no_hash_of_zeros(
    make_batch: Callable[..., Any], model: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_batch(3)
    batch.input[1] = 0
    batch.ok[1] = False
    monkeypatch.setattr(type(model), "forward", lambda *_: pytest.fail("a network ran"))
    found = Inputs(Params(), {}).measure(model, batch, None).columns["input_sha256"]
    assert [len(sha) for sha in found] == [64, 0, 64]
    assert found[0] == input_sha256(batch.input[0].numpy())[0]
