"""Results of a study, for people: `open_study(path)`.

    study = xlli_ray.open_study("studies/set5")
    study.sql("select model, avg(psnr_y) from restore group by model")      # pyarrow.Table
    features = study.array("features/imdn/model.2.in")                      # every bucket of one cell
    features.rows(ids)                                                      # float array, or a list when the ids span buckets
    features.xarray()                                                       # lazy, sample columns as coordinates
    study.result("lam_summary").tables["lam_pairs"]                         # result of an analysis; see .flags first
    study.sample(ids[0]).input                                              # a sample for display; also .target, .output(model)
    study.show(ids[:3], window=(40, 64, 32)).save("three.png")
    study.view()                                                            # everything, to explore in a notebook
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from xlli_ray.analyses.shared.freshness import State, states
from xlli_ray.errors import StudyError, closest, counted
from xlli_ray.store.archive import Archive, open_archive
from xlli_ray.store.objects.client import Objects
from xlli_ray.store.records.lease import running
from xlli_ray.store.records.manifest import Cell, Manifest
from xlli_ray.store.tables.results import Stored, folder, read_failure, read_file, read_results, read_table
from xlli_ray.store.tables.sample_table import SampleReader
from xlli_ray.store.tables.sql import text
from xlli_ray.store.tables.study_tables import count_in_status, query
from xlli_ray.store.zarr.read import Block
from xlli_ray.store.zarr.size_reader import Reader, SizeReader, open_readers
from xlli_ray.views.html import card

if TYPE_CHECKING:
    from xlli_ray.plots.view import View
    from xlli_ray.views.comparison import Comparison
    from xlli_ray.views.page_views import PageView
    from xlli_ray.views.sample_view import SampleView


HELD_IDS = 200_000
"""Samples of an array up to which their ids are held after the first look-up; a million, with their rows, were 700 MB."""


class StudyArray:
    """One stored array of one cell, over all its buckets (input sizes)."""

    def __init__(self, study: Study, cell: Cell, readers: Sequence[Reader]) -> None:
        self._study = study
        self.cell = cell
        self.readers = list(readers)

    def __reduce__(self) -> tuple[Any, ...]:
        return StudyArray, (self._study, self.cell, self.readers)

    @property
    def name(self) -> str:
        """`stage/model/what`."""
        return self.cell.id

    @property
    def buckets(self) -> list[str]:
        return [reader.bucket.name for reader in self.readers]

    def __repr__(self) -> str:
        shapes = ", ".join(f"{r.bucket.name}: {r.meta.rows}×{list(r.meta.shape)} {r.meta.dtype}" for r in self.readers[:4])
        return f"<{self.name} {shapes}{', …' if len(self.readers) > 4 else ''}>"

    def _repr_html_(self) -> str:
        lines = [(r.bucket.name, f"{r.meta.rows} × {list(r.meta.shape)} {r.meta.dtype}") for r in self.readers]
        return card(f"array {self.name}", lines)

    def reader(self, bucket: str | None = None) -> Reader:
        """The reader of one bucket; of the only one when there is no choice."""
        if bucket is None and len(self.readers) == 1:
            return self.readers[0]
        for reader in self.readers:
            if reader.bucket.name == bucket:
                return reader
        more = ", …" if len(self.readers) > 20 else ""
        raise StudyError(f"{self.name}: name one of its buckets: {', '.join(self.buckets[:20])}{more}")

    def samples(self, bucket: str | None = None) -> pa.Table:
        """The sample-table rows behind the array's rows, in their order."""
        segments = self.reader(bucket).bucket.segments
        return pa.concat_tables([self._study.sample_rows(first, first + count) for first, count in segments])

    def xarray(self, bucket: str | None = None) -> Any:
        """Lazy xarray.DataArray (sample, …) with the sample columns and `valid` as coordinates."""
        from xlli_ray.store.zarr.xarrays import open_xarray

        reader = self.reader(bucket)
        return open_xarray(self._study.objects, reader, self.samples(reader.bucket.name))

    def rows(self, sample_ids: Sequence[str]) -> np.ndarray | list[np.ndarray]:
        """The rows of these samples, in their order: one array (n, …), or a list of single rows when they span buckets.

        With many input sizes in one bucket: an array if all rows have one shape (pooled features), else a list.

        Raises StudyError for an id that this array does not hold.
        """
        wanted = list(sample_ids)
        places = self._places(wanted)
        missing = [name for name in wanted if name not in places]
        if missing:
            raise StudyError(f"{self.name}: no sample {missing[0]!r} here ({len(missing)} of {len(wanted)} ids are unknown)")
        positions = [places[name] for name in wanted]
        if len({bucket for bucket, _ in positions}) <= 1:
            reader = self.readers[positions[0][0]] if positions else self.readers[0]
            return reader.rows([position for _, position in positions])
        out: list[np.ndarray] = [np.empty(0)] * len(positions)
        together = isinstance(self.readers[0], SizeReader) and len({reader.meta.shape for reader in self.readers}) == 1
        for number, reader in enumerate(self.readers):
            indices = [i for i, (bucket, _) in enumerate(positions) if bucket == number]
            for i, row in zip(indices, reader.rows([positions[i][1] for i in indices])):
                out[i] = row
        return np.stack(out) if together else out

    def _places(self, wanted: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Sample id → (reader, position in its array), of those that are here; a large sample table is searched, not held."""
        if sum(reader.meta.rows for reader in self.readers) <= HELD_IDS:
            return self._every
        listed = ", ".join(map(text, sorted(set(wanted)))) or "''"
        found = self._study.sql(f"select sample_id, row from samples where sample_id in ({listed}) order by row").to_pydict()
        names, rows = found["sample_id"], np.array(found["row"], np.int64)
        out: dict[str, tuple[int, int]] = {}
        for number, reader in enumerate(self.readers):
            offset = 0
            for first, count in reader.bucket.segments:
                low, high = np.searchsorted(rows, (first, first + count)).tolist()
                out.update({names[i]: (number, offset + int(rows[i]) - first) for i in range(low, high)})
                offset += count
        return out

    @cached_property
    def _every(self) -> dict[str, tuple[int, int]]:
        out: dict[str, tuple[int, int]] = {}
        for number, reader in enumerate(self.readers):
            ids = self.samples(reader.bucket.name)["sample_id"].to_pylist()
            out.update({name: (number, position) for position, name in enumerate(ids)})
        return out

    def scan(self, bucket: str | None = None) -> Iterator[Block]:
        """All rows of a bucket, a shard at a time."""
        yield from self.reader(bucket).scan()


class StudyResult:
    """Result of one analysis. `state` is `current`, or `stale` if its inputs have changed: run the recipe again."""

    def __init__(self, objects: Objects, stored: Stored, state: State) -> None:
        self._objects, self._state = objects, state
        self.stored = stored
        self.state = state.state
        self.why = state.why
        """What changed, if stale."""
        self.values = stored.values
        self.flags = stored.flags
        """Warnings about the numbers."""
        self.notes = stored.notes

    def __reduce__(self) -> tuple[Any, ...]:
        return StudyResult, (self._objects, self.stored, self._state)

    def __repr__(self) -> str:
        about = f", {self.state}: {self.why}" if self.state != "current" else ""
        flags = f", {counted(len(self.flags), 'flag')}" if self.flags else ""
        return f"<result {self.stored.made.analysis}: tables {', '.join(f.name for f in self.stored.tables)}{flags}{about}>"

    def _repr_html_(self) -> str:
        lines = [("state", f"{self.state}: {self.why}" if self.state != "current" else self.state)]
        lines += [("flag", str(flag)) for flag in self.flags] + [("table", file.name) for file in self.stored.tables]
        return card(f"result {self.stored.made.analysis}", lines)

    @cached_property
    def tables(self) -> dict[str, pa.Table]:
        """Name → table, with the column `stage` first. Raises AnalysisError if a file was changed."""
        return {file.name: read_table(self._objects, self.stored.made.analysis, file) for file in self.stored.tables}

    @cached_property
    def figures(self) -> dict[str, str]:
        """Name → SVG text."""
        return {file.name: read_file(self._objects, self.stored.made.analysis, file).decode() for file in self.stored.figures}

    @cached_property
    def views(self) -> dict[str, View]:
        """Name of a figure → its data and encoding; figures of older results have none.

        Raises StudyError naming file and field if a view is invalid.
        """
        from xlli_ray.plots.kinds import from_json

        analysis = self.stored.made.analysis
        place = f"{self._objects.url}/{folder(analysis)}"
        return {file.name: from_json(read_file(self._objects, analysis, file), f"{place}/{file.file}") for file in self.stored.views}

    def view(self) -> Any:
        """The study in the explorer, in a notebook, at the first figure of this result. Errors: as of `Study.view`."""
        from xlli_ray.registry import VIEWERS

        return VIEWERS.load("study")(open_study(self._objects.url), self.stored.made.analysis)


class Study:
    """A study folder or bucket, read-only. See the module docstring.

    Each query (`sql`, `array`, `results`, `status`, …) lists the records once, so a study held open in a notebook shows the progress of a
    run. The plan is fixed when the study is opened: reopen it after a run has added models or stages.
    """

    def __init__(self, archive: Archive, *, still: bool = False) -> None:
        """`still`: see `as_it_is`."""
        self._archive, self._still = archive, still

    def __reduce__(self) -> tuple[Any, ...]:
        return Study, (self._archive,)

    def as_it_is(self) -> Study:
        """The same study with a snapshot of its current records: for consistent output such as a report."""
        return Study(self.archive, still=True)

    @property
    def objects(self) -> Objects:
        """Its location."""
        return self._archive.objects

    @property
    def manifest(self) -> Manifest:
        """The plan, as of the opening of the study."""
        return self._archive.manifest

    @property
    def archive(self) -> Archive:
        """The stored study, with a new listing of its records."""
        return self._archive if self._still else self._archive.again()

    def __repr__(self) -> str:
        rows = self.manifest.samples.rows if self.manifest.samples else 0
        counts = ((rows, "sample"), (len(self.manifest.models), "model"), (len(self.manifest.cells), "cell"))
        return f"<study {self.manifest.name}: {', '.join(counted(number, noun) for number, noun in counts)}>"

    def _repr_html_(self) -> str:
        rows = self.manifest.samples.rows if self.manifest.samples else 0
        lines = [("samples", str(rows)), *(("model", model.id) for model in self.manifest.models)]
        return card(f"study {self.manifest.name}", [*lines, *(("array", name) for name in self.arrays)])

    def sql(self, statement: str, *, unsafe: bool = False) -> pa.Table:
        """Run SQL (DuckDB) over samples, models, features, failures, one table per probe with scalars, and the tables of results.

        A duplicate column is called `psnr_y_1`. A statement sees only these tables; `unsafe` gives it access to files, network and
        settings, for `copy … to 'mine.csv'`: only for statements that you trust. Raises StudyError.
        """
        return query(self.archive, statement, unsafe=unsafe)

    def array(self, name: str, array: str | None = None) -> StudyArray:
        """The stored array of cell `stage/model/what` (`array` names one of several). Raises StudyError with the nearest names."""
        cells = {cell.id: cell for cell in self.manifest.cells if any(bucket.arrays for bucket in cell.buckets)}
        if name not in cells:
            near = closest(name, cells) or sorted(cells)[:3]
            raise StudyError(f"no array {name!r} in this study; nearest: {', '.join(near) or 'none is stored'}")
        readers = open_readers(self.archive.records, cells[name])
        names = list(dict.fromkeys(reader.meta.name for reader in readers))
        if array is None and len(names) > 1:
            raise StudyError(f"{name} holds several arrays: {', '.join(names)}; name one")
        return StudyArray(self, cells[name], [r for r in readers if r.meta.name == (array or names[0])])

    @property
    def arrays(self) -> list[str]:
        """Names for `array`."""
        return [cell.id for cell in self.manifest.cells if any(bucket.arrays for bucket in cell.buckets)]

    @property
    def results(self) -> dict[str, StudyResult]:
        """Analysis id → its result."""
        how = {state.id: state for state in self.analyses}
        return {name: StudyResult(self.objects, stored, how[name]) for name, stored in read_results(self.objects).items() if name in how}

    def result(self, name: str) -> StudyResult:
        """The result of the analysis `name`. Raises StudyError if there is none, with the reason if it failed."""
        results = self.results
        if name in results:
            return results[name]
        failure = read_failure(self.objects, name)
        if failure:
            raise StudyError(f"the analysis {name!r} failed: {failure}")
        near = closest(name, results) or sorted(results)
        raise StudyError(f"no result {name!r} in this study; results: {', '.join(near) or 'none: `xlli run` makes those of the recipe'}")

    @property
    def analyses(self) -> list[State]:
        """State of each analysis: current, stale, missing or failed."""
        return states(self.archive)

    @property
    def models(self) -> pa.Table:
        return self.sql("select * from models")

    @property
    def failures(self) -> pa.Table:
        return self.sql("select * from failures")

    @cached_property
    def _reader(self) -> SampleReader:
        if self.manifest.samples is None:
            raise StudyError(f"{self.objects.url}: the corpus was never scanned; run `xlli run` again")
        return SampleReader(self.objects, self.manifest.samples)

    def sample_rows(self, start: int, stop: int) -> pa.Table:
        """Rows [start, stop) of the sample table."""
        return self._reader.rows(start, stop)

    def sample(self, sample_id: str) -> SampleView:
        """One sample for display. Raises StudyError for an unknown id."""
        from xlli_ray.views.sample_view import SampleView

        matches = self.sql(f"select row from samples where sample_id = {text(str(sample_id))}")["row"].to_pylist()
        if not matches:
            raise StudyError(f"no sample {sample_id!r} in this study; `study.sql(\"select sample_id, source from samples\")` lists them")
        return SampleView(self.archive, self.sample_rows(matches[0], matches[0] + 1).to_pylist()[0])

    def show(
        self, ids: str | Sequence[str], models: Sequence[str] | None = None, window: tuple[int, int, int] | None = None
    ) -> Comparison:
        """Samples side by side with the outputs of networks: shown in a notebook, `save(path)` for a file.

        `models`: in this order; None: all with stored outputs. `window`: (top, left, size) in output pixels, framed and enlarged.
        Raises StudyError for an unknown sample or model, an output that is not stored, a window outside the image.
        """
        from xlli_ray.views.comparison import compare

        return compare([self.sample(name) for name in ([ids] if isinstance(ids, str) else ids)], models, window)

    def view(self) -> Any:
        """The study as it is now in the explorer, in a notebook (Jupyter or marimo): what `xlli view` shows in a browser.

        Raises StudyError if the corpus was never scanned, XlliError without the extra `notebook`.
        """
        from xlli_ray.registry import VIEWERS

        return VIEWERS.load("study")(self)

    @property
    def page_views(self) -> list[PageView]:
        """The figures that the page draws of measurements, as data, as of when it was last written; those of results: `StudyResult.views`.

        Image panels have no pixels; `sources` say where these lie. Raises StudyError naming file and field for an invalid one.
        """
        from xlli_ray.views.page_views import read_page_views

        return read_page_views(self.objects)

    def status(self) -> dict[str, Any]:
        """Units done and failed samples per cell: as shown by `xlli status`."""
        archive = self.archive
        cells: list[dict[str, Any]] = []
        for cell in self.manifest.cells:
            done = archive.records.entries(cell)
            cells.append({"cell": cell.id, "units": cell.units, "done": len(done), "rows": cell.rows})
        samples = self.manifest.samples
        analyses = [asdict(state) for state in states(archive)]
        by_stage, failed, of_all = count_in_status(archive)
        as_of = {} if of_all else {"as_of": "the last run that ended"}
        return {
            "name": self.manifest.name,
            "running": running(self.objects),
            "samples": samples.rows if samples else 0,
            "rejected": samples.rejected if samples else 0,
            "cells": cells,
            "failed": by_stage,
            "failures": {"samples": failed, "of": self.manifest.measurements, **as_of},
            "analyses": analyses,
            "complete": bool(cells)
            and all(cell["done"] >= cell["units"] for cell in cells)
            and all(state["state"] == "current" for state in analyses if state["wanted"]),
        }


def open_study(path: str | Path) -> Study:
    """Open a study for reading, at any time, also during a run. Raises StudyError if there is none."""
    return Study(open_archive(path))
