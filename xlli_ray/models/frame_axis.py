"""Position of a clip's frames in the output of a layer: detected, and brought to one layout, (B, T, …) in the order of the clip.

Networks for clips lay out frames in four ways, all of which are supported:

    axis       (B, T, …)            unchanged
    inner      (B, C, T, h, w)      for 3-D convolutions; the two axes are swapped
    folded     (B·T, …)             frames processed independently: unfolded again
    calls      (B, …), T times      run once per frame, as in recurrent networks; stacked
    backward   (B, …), T times      the same from the last frame to the first; stacked in the order of the clip

Everything else has no frame axis ("": one value for the whole clip), or a first axis that is neither the batch nor the batch times the
frames (pairs of frames, as in optical flow networks), which cannot be stored per sample.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from xlli_ray.models.model import Model
from xlli_ray.models.tap import Frames, Shape
from xlli_ray.models.trace import WIDE_BATCH, first_tensor

SIDE = 24
"""Side in pixels of the clips on which the order of calls is tested."""


def place_of(shape: Shape, wide: Shape | None, calls: int, wide_calls: int, frames: int, wide_frames: int) -> Frames | None:
    """Position of the frames in a layer whose output has `shape` for one clip of `frames`, and `wide` (None: unknown) for WIDE_BATCH clips
    of `wide_frames`, in `calls` and `wide_calls` calls. None: its first axis is not the batch. `calls` 0: a single call is selected."""
    if not shape or (wide is not None and not wide):
        return None
    if shape[0] != 1 or (wide is not None and wide[0] != WIDE_BATCH):
        fold = shape[0] == frames and (wide is None or wide[0] == WIDE_BATCH * wide_frames)
        return "folded" if frames and fold else None
    if not frames:
        return ""
    distinct = wide is not None and wide_frames != frames
    if calls == frames and (wide_calls == wide_frames if wide is not None else True) and (calls > 1 or distinct):
        return "calls"
    axes = [i for i in (1, 2) if len(shape) > i + 1 and shape[i] == frames and (len(shape) == 5 or i == 1)]
    if wide is not None and distinct:
        axes = [i for i in axes if len(wide) == len(shape) and wide[i] == wide_frames]
    elif len(shape) != 5:
        axes = []
    return "" if not axes else "axis" if axes[0] == 1 else "inner"


def arranged_shape(place: Frames, shape: Shape, frames: int) -> Shape:
    """Shape of one sample, without the batch axis, of a layer whose last call returned `shape`, batch first: one clip of `frames`."""
    if place == "folded" or place in ("calls", "backward"):
        return frames, *shape[1:]
    return (shape[2], shape[1], *shape[3:]) if place == "inner" else shape[1:]


def arranged(place: Frames, calls: Sequence[Tensor], frames: int) -> Tensor:
    """Captured tensors as (B, T, …), or (B, …) without a frame axis; the last of `calls` unless there is one per frame."""
    if place in ("calls", "backward"):
        return torch.stack(list(calls) if place == "calls" else list(calls)[::-1], 1)
    last = calls[-1]
    if place == "folded":
        return last.unflatten(0, (-1, frames))
    return last.transpose(1, 2).contiguous() if place == "inner" else last


_BACKWARD: WeakKeyDictionary[Model, dict[str, bool]] = WeakKeyDictionary()
"""Cached results by module."""


def run_backward(model: Model, modules: Collection[str]) -> set[str]:
    """Those of `modules`, each run once per frame, that start with the last frame: their first call depends on the last frame and not on
    the first. Tested with real numbers on a small clip; restores torch's random state."""
    known = _BACKWARD.setdefault(model, {})
    if unknown := [name for name in modules if name not in known]:
        backward = _tried(model, unknown)
        known.update({name: name in backward for name in unknown})
    return {name for name in modules if known[name]}


def _tried(model: Model, modules: Collection[str]) -> set[str]:
    side = max(SIDE, model.minimum)
    shape = model.shape(model.trial_size(side, side))
    rng = np.random.default_rng(0)
    plain = torch.from_numpy(rng.uniform(0.1, 0.9, shape).astype(np.float32)).to(model.device)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            usual, early, late = (_first_calls(model, modules, _changed(plain, frame)) for frame in (None, 0, -1))
    except Exception:  # a real clip will raise it again, and its row will report it
        return set()
    both = [name for name in modules if name in usual and name in early and name in late]
    return {name for name in both if torch.equal(usual[name], early[name]) and not torch.equal(usual[name], late[name])}


def _changed(clip: Tensor, frame: int | None) -> Tensor:
    changed = clip.clone()
    if frame is not None:
        changed[:, frame] = 1 - changed[:, frame]
    return changed


def _first_calls(model: Model, modules: Collection[str], clip: Tensor) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}

    def note(name: str) -> Any:
        def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            tensor = first_tensor(output)
            if tensor is not None and name not in seen:
                seen[name] = tensor.detach().clone()

        return hook

    inside = dict(model.module.named_modules())
    handles = [inside[name].register_forward_hook(note(name)) for name in modules]
    try:
        torch.manual_seed(0)
        model.forward(clip)
    finally:
        for handle in handles:
            handle.remove()
    return seen
