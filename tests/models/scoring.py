"""PSNR as the super-resolution literature has it, written out: BT.601 luma 16..235, 8 bit, border cropped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from xlli_ray.models import Model


def read(path: Path) -> np.ndarray:
    """(H, W, 3) float64, 0..255."""
    return np.asarray(Image.open(path).convert("RGB"), dtype=np.float64)


def batch(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) of 0..255 -> (1, 3, H, W) float32 of 0..1."""
    return torch.from_numpy((image / 255).astype(np.float32)).permute(2, 0, 1)[None]


def luma(image: np.ndarray) -> np.ndarray:
    return 16 + image @ np.array([65.481, 128.553, 24.966]) / 255


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Of arrays on 0..255."""
    return float(10 * np.log10(255**2 / np.mean((a - b) ** 2)))


def psnr_y(model: Model, low: Path, high: Path) -> float:
    with torch.no_grad():
        y = model.forward(batch(read(low)))
    image = np.floor(y[0].permute(1, 2, 0).double().clamp(0, 1).numpy() * 255 + 0.5)
    target = read(high)
    assert image.shape == target.shape
    s = model.scale
    return psnr(luma(image)[s:-s, s:-s], luma(target)[s:-s, s:-s])
