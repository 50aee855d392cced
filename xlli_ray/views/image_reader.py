"""The arrays that the sources of image panels name (`plots.image_panels.Source`), read from a study and its corpus."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.sample import Loaded
from xlli_ray.errors import SampleError, StudyError
from xlli_ray.plots.image_panels import Source
from xlli_ray.plots.panel_values import Values
from xlli_ray.store.archive import Archive
from xlli_ray.store.records.manifest import Cell
from xlli_ray.store.zarr.size_reader import Reader, open_readers
from xlli_ray.views.stored import row_of

KEPT = 64 << 20
"""Bytes of rows kept in memory: one row is often asked for by several panels."""


class ImageReader:
    """Reads sources: `reader(source)`. Not for several threads at once."""

    def __init__(self, archive: Archive, load: Callable[[int], Loaded | str], row: Callable[[int], Mapping[str, Any]]) -> None:
        """`load`: input, target and by-products of the sample in a row of the sample table, or why there are none; `row`: that row."""
        self._archive, self._load, self._row = archive, load, row
        self._readers: dict[str, list[Reader]] = {}
        self._rows: OrderedDict[tuple[str, str, int], tuple[NDArray, Reader]] = OrderedDict()

    def __call__(self, source: Source) -> Values:
        """See `plots.panel_values.Read`."""
        table = self._row(source.row)
        if source.cell:
            found = self._stored(source)
            if found is None:
                raise StudyError(f"{source.cell}: there is no valid row of {source.array!r} for the sample in row {source.row}")
            values, reader = found
            values, stride = _channels_first(values, reader.meta.dims), reader.meta.attributes.get("stride")
        else:
            values, stride = self._of_sample(source), None
        values = _indexed(values, source)
        step = tuple(stride) if stride else (table["height"] / values.shape[-2], table["width"] / values.shape[-1])
        return Values(values, (float(step[0]), float(step[1])))

    def stored(self, source: Source) -> NDArray | None:
        """The array's whole row for that sample, None where it is not stored or not valid. Raises StudyError for a damaged one."""
        found = self._stored(source)
        return found and found[0]

    def _stored(self, source: Source) -> tuple[NDArray, Reader] | None:
        key = (source.cell, source.array, source.row)
        if key in self._rows:
            self._rows.move_to_end(key)
            return self._rows[key]
        for reader in self.readers(source.cell):
            if reader.meta.name == source.array and (values := row_of([reader], source.row)) is not None:
                self._rows[key] = values, reader
                while sum(kept.nbytes for kept, _ in self._rows.values()) > KEPT and len(self._rows) > 1:
                    self._rows.popitem(last=False)
                return values, reader
        return None

    def readers(self, name: str) -> list[Reader]:
        """Of all arrays of the cell with this id. Raises StudyError where there is no such cell."""
        if name not in self._readers:
            cell: Cell | None = next((cell for cell in self._archive.manifest.cells if cell.id == name), None)
            if cell is None:
                raise StudyError(f"{name}: the study has no such cell")
            self._readers[name] = open_readers(self._archive.records, cell)
        return self._readers[name]

    def _of_sample(self, source: Source) -> NDArray:
        loaded = self._load(source.row)
        if isinstance(loaded, str):
            raise SampleError(loaded)
        if source.array == "input":
            return loaded.input * np.float32(255)
        if source.array == "target":
            if loaded.target is None:
                raise SampleError("the sample has no target")
            return loaded.target * np.float32(255)
        if source.array not in loaded.extras:
            raise SampleError(f"the sample has no {source.array!r}; by-products of its degradation: {', '.join(loaded.extras) or 'none'}")
        extra, clip = loaded.extras[source.array], loaded.input.ndim == 4
        if clip and not source.index:
            extra, clip = extra[len(extra) // 2], False
        return np.moveaxis(extra, -1, -3) if extra.ndim - clip == 3 else extra


def _channels_first(values: NDArray, dims: tuple[str, ...]) -> NDArray:
    """(…, channel, y, x), also of an array that is stored with its channels last."""
    return np.moveaxis(values, -1, -3) if tuple(dims[-3:]) == ("y", "x", "channel") else values


def _indexed(values: NDArray, source: Source) -> NDArray:
    """The image that the index names, of a clip the centre frame."""
    if len(source.index) > values.ndim - 2 or any(place >= length for place, length in zip(source.index, values.shape)):
        raise StudyError(f"{source.array} of {source.cell or 'the sample'} has the shape {values.shape}: there is no place {source.index}")
    values = values[source.index]
    if values.ndim == 4:
        values = values[len(values) // 2]
    if values.ndim not in (2, 3):
        raise StudyError(f"{source.array} of {source.cell or 'the sample'}: {source.index} leaves {values.shape}, expected an image")
    return values
