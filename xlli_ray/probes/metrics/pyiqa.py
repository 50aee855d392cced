"""LPIPS, DISTS and NIQE by pyiqa (the extra `metrics`): `restore: {metrics: [lpips, dists, niqe]}`.

The published calibrations: LPIPS version 0.1 on AlexNet, DISTS on VGG-16 with its learned weights, NIQE with its authors' model, under
pyiqa's names for them. The weights are pyiqa's files. Nothing is downloaded here: a missing file is an error that explains how to fetch it.
"""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, ClassVar

import numpy as np

from xlli_ray.errors import EnvironmentFailure, RecipeError
from xlli_ray.probes.measurement import Column
from xlli_ray.probes.metrics.metric import Metric, Pair


class _Pyiqa(Metric):
    """A metric of pyiqa's, called as `pyiqa.create_metric(IQA)`: (1, 3, H, W) RGB in 0..1, on the CPU."""

    IQA: ClassVar[str]
    LEAST: ClassVar[int] = 1
    """Image side in pixels below which it is undefined."""

    @classmethod
    def check(cls) -> None:
        if importlib.util.find_spec("pyiqa") is None:
            raise RecipeError(f"metric {cls.IQA}: it needs pyiqa, not installed here: pip install 'xlli_ray[metrics]', or omit the metric")

    def __init__(self) -> None:
        self.check()
        import pyiqa
        import torch

        with _no_downloads(self.IQA), redirect_stdout(io.StringIO()):  # it prints the location of its weights
            self._metric: Any = pyiqa.create_metric(self.IQA, device=torch.device("cpu"))

    def score(self, pair: Pair) -> float:
        import torch

        if min(pair.image.shape[:2]) < self.LEAST:
            return float("nan")
        images = [(pair.image.repeat(3, axis=2) if pair.grey else pair.image) / 255.0]
        if self.NEEDS_TARGET:
            images.append(pair.luma[1][:, :, None].repeat(3, axis=2) / 255.0 if pair.grey else pair.eight_bit / 255.0)
        try:
            with torch.no_grad():
                value = self._metric(*(torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1))).float()[None] for x in images))
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # the statistics of an image that is flat have no inverse
            return float("nan")
        return float(value)


@contextmanager
def _no_downloads(name: str) -> Iterator[None]:
    """Within the context, torch's download function raises EnvironmentFailure, also as imported into pyiqa's modules."""
    import torch

    def refuse(*args: Any, **named: Any) -> Any:
        raise EnvironmentFailure(
            2, f"metric {name}: its weights are not on this machine and are not downloaded. Fetch them once with `python -c "
            f"\"import pyiqa; pyiqa.create_metric('{name}')\"` (TORCH_HOME sets another location), then run the same command again",
        )  # fmt: skip

    before = torch.hub.download_url_to_file
    theirs = [module for at, module in list(sys.modules.items()) if at.partition(".")[0] == "pyiqa"]
    holders = [torch.hub, *(module for module in theirs if getattr(module, "download_url_to_file", None) is before)]
    try:
        for holder in holders:
            holder.download_url_to_file = refuse  # type: ignore[attr-defined]
        yield
    finally:
        for holder in holders:
            holder.download_url_to_file = before  # type: ignore[attr-defined]


class Lpips(_Pyiqa):
    """Learned perceptual distance of deep features."""

    COLUMN = Column("lpips", "float64", "LPIPS 0.1, AlexNet; NaN without a target or below 31 px", better="lower", limits=(0.0, None))
    REFERENCE = "Zhang et al., CVPR 2018"
    IQA, LEAST = "lpips", 31


class Dists(_Pyiqa):
    """Structure and texture similarity of deep features."""

    COLUMN = Column("dists", "float64", "DISTS, VGG-16; NaN without a target", better="lower", limits=(0.0, None))
    REFERENCE = "Ding et al., TPAMI 2022"
    IQA = "dists"


class Niqe(_Pyiqa):
    """Distance from the statistics of natural images; needs the output only."""

    COLUMN = Column("niqe", "float64", "NIQE of the output; NaN below 96 px, and for a flat image", better="lower")
    REFERENCE = "Mittal et al., IEEE SPL 20(3), 2013"
    IQA, NEEDS_TARGET, LEAST = "niqe", False, 96
