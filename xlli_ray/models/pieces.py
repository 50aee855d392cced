"""Large images and long clips in pieces: overlapping tiles of each frame, overlapping segments of time, so that memory is bounded.

A piece is larger than what is kept of it, by `halo` input pixels on each side and `overlap` frames before and after. A network whose
receptive field is no larger than that gives the same numbers as on the whole: a convolutional one along both axes, a sliding-window one
along time. A recurrent one carries what it has seen from the first frame to the last, and one that aligns looks as far as things move, so
for these the numbers differ a little, the less the larger the overlap; how much is measured in docs/video.md. At the border of the image
and at the ends of a clip a piece ends where they end, as the whole does.

All pieces have one size, so a piece at a border reaches further in. Tiles begin at multiples of the network's size multiple: windows of
attention and strides fall as they do on the whole image. (Networks that look at a whole image at once, by a global mean, are others in
pieces, and no overlap mends that.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from xlli_ray.errors import NetworkError, counted
from xlli_ray.models.model import ClipModel, Model


@dataclass(frozen=True)
class Pieces:
    """`tiles`: (side, halo) in input pixels; `segments`: (frames, overlap); None: whole."""

    tiles: tuple[int, int] | None = None
    segments: tuple[int, int] | None = None


@dataclass(frozen=True)
class Part:
    """One piece along one axis: input start … start + length, of which `keep` from `first` on goes to the output."""

    start: int
    length: int
    first: int
    keep: int


def parts(whole: int, size: int, halo: int, multiple: int = 1) -> list[Part]:
    """The pieces of an axis of `whole` elements that keep `size` each and see `halo` more on each side, as far as there is something.

    All have one length, a multiple of `multiple`, and start at multiples of it, if `whole` is one.
    """
    size, halo = (-(-number // multiple) * multiple for number in (size, halo))
    length = min(whole, size + 2 * halo)
    if length == whole:
        return [Part(0, whole, 0, whole)]
    out = []
    for begin in range(0, whole, size):
        keep = min(size, whole - begin)
        start = min(max(0, begin - halo), whole - length)
        out.append(Part(start, length, begin - start, keep))
    return out


def in_pieces(model: Model, pieces: Pieces) -> Model:
    """`model`, run piece by piece. NetworkError for a network that cannot be."""
    if pieces.segments is not None:
        if not isinstance(model, ClipModel):
            raise NetworkError(f"model {model.id!r} ({model.network}): `segments` divide clips in time; this network takes images.")
        if model.frames is not None or model.gives == "centre":
            what = "returns the centre frame only" if model.gives == "centre" else f"takes {counted(model.frames or 0, 'frame')} at once"
            raise NetworkError(
                f"model {model.id!r} ({model.network}) {what}: there is nothing to divide in time. Omit `segments`; `corpus.clips.window` "
                "says how many frames it gets."
            )
    if pieces.tiles is not None and (model.square or model.output != "image"):
        why = "returns no image" if model.output != "image" else "takes squares only"
        raise NetworkError(f"model {model.id!r} ({model.network}) {why}: it cannot be run in `tiles`. Omit them.")
    known: dict[str, Any] = {item.name: getattr(model, item.name) for item in fields(model)}
    return replace(model, call=_Pieced(known["call"], pieces, model.scale, model.multiple, "frame" in model.AXES))


def pieces_of(model: Model) -> Pieces | None:
    """How a model is divided; None: it is run on whole images and clips."""
    return model.call.pieces if isinstance(model.call, _Pieced) else None


@dataclass(frozen=True)
class _Pieced:
    """Runs a module on each piece of a batch (B, [T,] C, H, W) of a size that it accepts, and puts what is kept together."""

    call: Callable[[Any, Tensor], Any] | None
    pieces: Pieces
    scale: int
    multiple: int
    clips: bool

    def __call__(self, module: Any, x: Tensor) -> Any:
        whole: Tensor | None = None
        for time, down, across in self._places(x):
            piece = x[..., down.start : down.start + down.length, across.start : across.start + across.length]
            if self.clips:
                piece = piece[:, time.start : time.start + time.length]
            if piece.shape == x.shape:
                return self._run(module, x)
            found = self._run(module, piece.contiguous())
            if not isinstance(found, Tensor) or found.shape[-2:] != tuple(self.scale * side for side in piece.shape[-2:]):
                return found  # not as declared: `Model.forward` says so
            if whole is None:
                whole = self._empty(x, found)
            self._put(whole, found, time, down, across)
        return whole

    def _run(self, module: Any, x: Tensor) -> Any:
        return module(x) if self.call is None else self.call(module, x)

    def _places(self, x: Tensor) -> Iterator[tuple[Part, Part, Part]]:
        tiles, segments = self.pieces.tiles, self.pieces.segments
        height, width = x.shape[-2:]
        frames = x.shape[1] if self.clips else 1
        times = parts(frames, *segments) if segments else [Part(0, frames, 0, frames)]
        rows, columns = (parts(side, *tiles, self.multiple) if tiles else [Part(0, side, 0, side)] for side in (height, width))
        for time in times:
            for down in rows:
                for across in columns:
                    yield time, down, across

    def _empty(self, x: Tensor, found: Tensor) -> Tensor:
        lead = (found.shape[0], x.shape[1], *found.shape[2:-2]) if found.ndim == 5 else found.shape[:-2]
        return torch.empty((*lead, *(self.scale * side for side in x.shape[-2:])), dtype=found.dtype, device=found.device)

    def _put(self, whole: Tensor, found: Tensor, time: Part, down: Part, across: Part) -> None:
        kept, places = zip(*(_slices(part, self.scale) for part in (down, across)))
        if found.ndim == 5:
            own, there = _slices(time, 1)
            whole[:, there, :, places[0], places[1]] = found[:, own, :, kept[0], kept[1]]
        else:
            whole[..., places[0], places[1]] = found[..., kept[0], kept[1]]


def _slices(part: Part, scale: int) -> tuple[slice, slice]:
    """What is kept of a piece's output along one axis, and its place in the whole."""
    begin = scale * (part.start + part.first)
    return slice(scale * part.first, scale * (part.first + part.keep)), slice(begin, begin + scale * part.keep)
