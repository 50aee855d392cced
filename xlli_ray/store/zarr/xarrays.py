"""Stored arrays as lazy xarray, through zarr.

Only this array is opened, after `read_array_meta` has checked it: nothing else in its group is, which might use an older Zarr format whose
codecs run code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
import zarr
import zarr.errors
from xarray.core.indexing import IndexingSupport, LazilyIndexedArray, explicit_indexing_adapter
from zarr.storage import LocalStore, ObjectStore

from xlli_ray.errors import StudyError
from xlli_ray.store.objects.client import LocalObjects, Objects
from xlli_ray.store.zarr.layout import read_array_meta
from xlli_ray.store.zarr.size_reader import Reader

REFUSALS = (ValueError, TypeError, LookupError, AttributeError, RuntimeError, zarr.errors.BaseZarrError)
"""Errors of Zarr and its codecs for damaged or unsupported documents and shards."""


class _Lazy(xr.backends.BackendArray):  # type: ignore[misc]
    """Reads an indexed window: rows from `first` on, and of each the corner of `shape`."""

    def __init__(self, stored: zarr.Array, where: str, first: int, shape: tuple[int, ...]) -> None:
        self._stored, self._where, self._first = stored, where, first
        self.shape, self.dtype = shape, stored.dtype

    def __getitem__(self, place: Any) -> Any:
        return explicit_indexing_adapter(place, self.shape, IndexingSupport.OUTER, self._read)

    def _read(self, place: tuple[Any, ...]) -> Any:
        if self.shape != self._stored.shape:
            place = tuple(
                index + shift if isinstance(index, int | np.integer) else np.arange(size)[index] + shift
                for index, size, shift in zip(place, self.shape, (self._first, *[0] * len(place)))
            )
        try:
            return self._stored.oindex[place]
        except REFUSALS as error:
            raise StudyError(f"{self._where}: Zarr cannot read its shards ({str(error)[:200]}); run `xlli verify`") from error


def open_xarray(objects: Objects, reader: Reader, samples: Any) -> xr.DataArray:
    """Lazy DataArray of one bucket with the sample columns and `valid` as coordinates along `sample`.

    `samples`: pyarrow table of the array's rows, in order. Raises StudyError for an array not written by this store.
    """
    key, (first, shape) = reader.key, reader.window
    meta = read_array_meta(objects, key)
    try:
        stored = zarr.open_array(_zarr_store(objects), path=key, mode="r", zarr_format=3)
    except REFUSALS as error:
        raise StudyError(
            f"{objects.url}/{key}/zarr.json: Zarr cannot open it ({str(error)[:200]}); `xlli verify --repair` writes it again"
        ) from error
    coordinates: dict[str, Any] = {"valid": ("sample", reader.valid)}
    for name in samples.column_names:
        column = samples[name]
        if str(column.type).startswith("list"):
            continue
        coordinates[name] = ("sample", column.to_numpy())
    values = xr.Variable(
        ("sample", *meta.dims), LazilyIndexedArray(_Lazy(stored, f"{objects.url}/{key}", first, shape)), dict(stored.attrs)
    )
    return xr.DataArray(values, coordinates, name=meta.name)


def _zarr_store(objects: Objects) -> Any:
    if isinstance(objects, LocalObjects):
        return LocalStore(objects.root, read_only=True)
    return ObjectStore(objects._store, read_only=True)  # type: ignore[attr-defined]
