"""Scores of a network trained on clips: as those of images (`validation_scores`), each clip's mean over the frames that the network gives.

A network that gives the centre frame only is scored on it. One trained on the known flow gets it here, too, where the set has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from xlli_ray.corpus.decode import to_u8
from xlli_ray.corpus.sample import Loader, Sample
from xlli_ray.models.blocks.motion import Motion
from xlli_ray.stats.fidelity import border_of
from xlli_ray.training.image_scores import Scored, compare


@dataclass(frozen=True)
class ClipCase:
    """One clip to score: float32 (T, 3, h, w) and (T, 3, sh, sw) in 0..1; `flow` as in a training batch, without the batch axis."""

    name: str
    input: NDArray[np.float32]
    target: NDArray[np.float32]
    flow: tuple[NDArray[np.float32], NDArray[np.float32]] | None


def clip_case(sample: Sample, loader: Loader, scale: int, crop: int | None) -> ClipCase:
    """A sample as a case; `crop`: target pixels around the centre, None for whole frames."""
    loaded = loader.load(sample)
    assert loaded.target is not None
    flow = None
    if "flow_next" in loaded.extras:
        forward, backward = (np.ascontiguousarray(loaded.extras[name].transpose(0, 3, 1, 2)) for name in ("flow_next", "flow_previous"))
        flow = forward[:-1], backward[1:]
    small, large = loaded.input, loaded.target
    if crop is not None:
        size, (height, width) = crop // scale, small.shape[2:]
        top, left = max(height - size, 0) // 2, max(width - size, 0) // 2
        small = small[..., top : top + size, left : left + size]
        large = large[..., top * scale : (top + size) * scale, left * scale : (left + size) * scale]
        flow = flow and (flow[0][..., top : top + size, left : left + size], flow[1][..., top : top + size, left : left + size])
    return ClipCase(sample.source, small, large, flow)


def score_clips(network: nn.Module, cases: Sequence[ClipCase], *, scale: int, known_flow: bool) -> Scored:
    """Run `network` (in eval mode) over all cases; `known_flow`: hand it the true flow of those that have one."""
    border = border_of(scale)
    rows = []
    for case in cases:
        if min(case.target.shape[2:]) <= 2 * border:
            continue
        output = _restored(network, case, known_flow)
        target = case.target if len(output) == len(case.target) else case.target[len(case.target) // 2 :][:1]
        scores = [compare(_eight_bit(frame), _eight_bit(wanted), border=border) for frame, wanted in zip(output, target, strict=True)]
        rows.append(np.mean([one for one in scores if np.isfinite(one[0])] or [(np.nan,) * 3], axis=0))
    rows = [row for row in rows if np.isfinite(row[0])]
    if not rows:
        return Scored(0, *[float("nan")] * 3)
    psnrs, high, target_high = (float(np.mean(column)) for column in zip(*rows, strict=True))
    return Scored(len(rows), psnrs, high, target_high)


def _restored(network: nn.Module, case: ClipCase, known_flow: bool) -> NDArray[np.float32]:
    """(T, 3, sh, sw), or (1, 3, sh, sw) of the centre frame."""
    device = next(network.parameters()).device

    def tensor(array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array[None])).to(device)

    more = {"motion": Motion(*map(tensor, case.flow))} if known_flow and case.flow is not None else {}
    with torch.inference_mode():
        output = network(tensor(case.input), **more)[0].float().cpu().numpy()
    return output if output.ndim == 4 else output[None]


def _eight_bit(planes: NDArray[np.float32]) -> NDArray[np.uint8]:
    return to_u8(planes.transpose(1, 2, 0))
