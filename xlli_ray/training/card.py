"""The card of a trained network's weights: what is needed to trust them, and to train them again.

One JSON object: the resolved recipe and its hash, the training images with their sha256, iterations, the loss curve,
scores, software and processor, and the sha256 of the weight file. `models.builtin_weights` seals it with its own hash and
checks both.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = 1


def json_text(content: Mapping[str, Any]) -> bytes:
    """`content` as the bytes of a JSON file."""
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def curve(log: Sequence[Mapping[str, Any]], *, points: int = 60) -> dict[str, list[float]]:
    """The loss thinned to at most `points` means of equal stretches, and every validation score with its iteration."""
    losses = [(line["iteration"], line["loss"]) for line in log if "loss" in line]
    result: dict[str, list[float]] = {"iteration": [], "loss": []}
    for part in np.array_split(np.arange(len(losses)), min(points, max(len(losses), 1))):
        if len(part):
            result["iteration"].append(losses[part[-1]][0])
            result["loss"].append(round(float(np.mean([losses[i][1] for i in part])), 6))
    known = {"iteration", "loss", "real", "fake"}
    for name in sorted({key for line in log for key in line} - known):
        scored = [(line["iteration"], line[name]) for line in log if name in line]
        result[f"{name} iteration"] = [iteration for iteration, _ in scored]
        result[name] = [value for _, value in scored]
    return result


def machine() -> dict[str, str]:
    """What the numbers depend on besides the recipe."""
    import torch

    processor = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    details = {"torch": torch.__version__.split("+")[0], "python": platform.python_version(), "processor": processor}
    if torch.cuda.is_available():
        details["gpu"] = torch.cuda.get_device_name(0)
    return details
