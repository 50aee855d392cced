"""Plain text for a terminal: tables of plans, results, layers, status."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from xlli_ray.analyses import analysis_class
from xlli_ray.analyses.shared.freshness import Asked, asked_in
from xlli_ray.analyses.shared.labels import Labels
from xlli_ray.analyses.shared.remembered_means import means
from xlli_ray.errors import RecipeError, counted
from xlli_ray.store.tables.results import plain
from xlli_ray.store.tables.study_tables import stored_arrays
from xlli_ray.study import open_study
from xlli_ray.terminal import harmless, human_bytes

if TYPE_CHECKING:
    from xlli_ray.engine.run.plan import Plan
    from xlli_ray.store.records.manifest import Manifest, SampleTable


SHOWN = 24
"""Rows of a table at the end of a run."""
WIDEST = 8
"""Columns of such a table."""


def grid(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> str:
    """Columns aligned with two spaces between; numbers to the right."""
    texts = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(str(h)), *(len(row[i]) for row in texts)) if texts else len(str(h)) for i, h in enumerate(header)]
    right = [all(isinstance(row[i], int | float) or row[i] is None for row in rows) and bool(rows) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right)).rstrip()

    return "\n".join([line(list(header)), line(["─" * w for w in widths]), *(line(row) for row in texts)])


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, list | tuple):
        return "×".join(map(str, value))
    if isinstance(value, dict):  # an image or a list of neighbours, for programs
        return ", ".join(f"{name}: {len(item) if hasattr(item, '__len__') else item}" for name, item in value.items())
    return harmless(str(value), line=True)


def format_rows(table: pa.Table, how: str = "table") -> str:
    """A query's result as an aligned table, csv or JSON."""
    rows = table.to_pylist()
    if how == "json":
        return json.dumps(plain(rows), indent=1, default=str, allow_nan=False)
    if how == "csv":
        sink = io.StringIO()
        writer = csv.writer(sink, lineterminator="\n")
        writer.writerow(table.column_names)
        writer.writerows([row[name] for name in table.column_names] for row in rows)
        return sink.getvalue().rstrip("\n")
    return grid([[row[name] for name in table.column_names] for row in rows], table.column_names)


def result_table(place: str) -> str:
    """What `xlli run` prints at its end: of each analysis, in the recipe's order, the table with its finding; then means of all scalars."""
    study = open_study(place)
    parts = []
    kinds = {one.id: one for one in asked_in(study.manifest)}
    order = list(kinds)
    for name, result in sorted(study.results.items(), key=lambda one: order.index(one[0]) if one[0] in order else len(order)):
        headline, columns = _headline(kinds.get(name))
        table = headline if headline in result.tables else next(iter(result.tables), "")
        if table and result.tables[table].num_rows and result.state == "current":
            parts.append(excerpt(result.tables[table], table, place, columns))
    archive = study.archive
    parts += ["\n".join([excerpt(table, "", place), *lines]) for table, lines in means(archive).tables]
    arrays, size = stored_arrays(archive)
    if arrays:
        parts.append(f"{counted(arrays, 'array')}, {human_bytes(size)}: xlli query {shlex.quote(place)} \"from features\"")
    return "\n\n".join(parts)


def _headline(asked: Asked | None) -> tuple[str, Sequence[str]]:
    """The table with an analysis' finding, and its columns; ("", ()): the first table."""
    try:
        return getattr(analysis_class(asked.kind, asked.code), "HEADLINE", ("", ())) if asked is not None else ("", ())
    except RecipeError:
        return "", ()


def excerpt(table: pa.Table, name: str, place: str, columns: Sequence[str] = ()) -> str:
    """The first rows and at most eight columns of a table, and how to have the rest. `columns`: those that tell the finding."""
    wanted = [column for column in columns if column in table.column_names] or table.column_names
    left = [counted(table.num_rows - SHOWN, "more row")] if table.num_rows > SHOWN else []
    if (hidden := table.num_columns - len(wanted[:WIDEST])) > 0:
        left.append(counted(hidden, "more column"))
    where = f': xlli query {place} "from {name}"' if name else f": xlli query {place}"
    more = f"\n… {' and '.join(left)}{where}" if left else ""
    return format_rows(table.select(wanted[:WIDEST]).slice(0, SHOWN)) + more


def scanned_text(samples: SampleTable, sizes: str = "") -> str:
    """`12 samples in 1 size, 1 file rejected`; with `sizes`, these are listed between."""
    listed = f": {sizes};" if sizes else ","
    rejected = f"{counted(samples.rejected, 'file')} rejected"
    return f"{counted(samples.rows, 'sample')} in {counted(len(samples.buckets), 'size')}{listed} {rejected}"


def sets_text(samples: SampleTable) -> str:
    """The degradations and how many samples each has, those of one type as first … last; '' where there is but one."""
    counts, meaning = samples.labels, Labels.of(samples)
    if len(counts) < 2:
        return ""
    named = [
        names[0] if len(names) == 1 else f"{names[0]} … {names[-1]} ({len(names)})"
        for names in (list(group) for _, group in groupby(counts, meaning.type))
    ]
    each = sorted(set(counts.values()))
    return f"{len(counts)} sets of {f'{each[0]} to ' if len(each) > 1 else ''}{counted(each[-1], 'sample')}: {', '.join(named)}"


def plan_table(manifest: Manifest, plan: Plan, *, workers: int) -> str:
    """What a run would do."""
    samples = manifest.samples
    assert samples is not None
    rows = []
    for cell in plan.cells:
        size = cell.nbytes
        first = next((array for bucket in cell.buckets for array in bucket.arrays), None)
        batches = sorted({bucket.batch for bucket in cell.sizes})
        state = "new" if cell.id in plan.added else "replaced" if cell.id in plan.replaced else "there"
        shape = f"{'×'.join(map(str, first.shape))} {first.dtype}" if first else "scalars"
        rows.append([cell.id, state, cell.rows, cell.units, "/".join(map(str, batches)), shape, human_bytes(size)])
    hours = plan.seconds / 3600
    sizes = ", ".join(f"{b.name} ({b.rows})" for b in samples.buckets[:6]) + (" …" if len(samples.buckets) > 6 else "")
    sets = [text] if (text := sets_text(samples)) else []
    lines = [
        "\n".join([scanned_text(samples, sizes), *sets]),
        grid(rows, ["cell", "state", "samples", "units", "batch", "first array", "bytes"]),
        f"{human_bytes(plan.nbytes)} before compression; about {hours / workers:.2f} hours on {counted(workers, 'worker')} "
        f"({hours:.2f} worker hours at 50 GMAC/s)",
        *([f"timed here: {duration(plan.timed)} of one worker for what is left, {duration(plan.timed / workers)} on "
           f"{counted(workers, 'worker')}"] if plan.timed is not None else []),
        *(f"note: {note}" for note in plan.notes),
        *([f"then: {', '.join(one.id for one in asked_in(manifest))}"] if asked_in(manifest) else []),
    ]
    return "\n\n".join(lines)


def training_text(state: Mapping[str, Any]) -> str:
    """`xlli status` of a training study, for people."""
    rows = [[one["id"], one["state"], one["iteration"], one["iterations"], one["loss"]] for one in state["trainings"]]
    run = state["running"]
    head = f"{state['name']}: {state['done']} of {counted(len(rows), 'network')} trained"
    head += f"; running on {run['host']}, pid {run['pid']}" if run else "" if state["done"] == len(rows) else "; no run is going on"
    bad = state["rejected"]
    why = [f"rejected {harmless(one['file'], line=True)}: {harmless(one['reason'], line=True)}" for one in bad[:SHOWN]]
    why += [f"and {len(bad) - SHOWN} more files are rejected"] if len(bad) > SHOWN else []
    why += [f"FAILED {one['id']}: {harmless(one['why'], line=True)}" for one in state["trainings"] if one.get("why")]
    return "\n".join([head, "", grid(rows, ["network", "state", "iteration", "of", "loss"]), *why])


def status_text(state: Mapping[str, Any]) -> str:
    """`xlli status` for people."""
    rows = [[c["cell"], c["rows"], c["done"], c["units"], f"{100 * c['done'] / max(1, c['units']):.0f} %"] for c in state["cells"]]
    failed = ", ".join(f"{count} in {stage}" for stage, count in state["failed"].items()) or "none"
    if as_of := state["failures"].get("as_of"):
        failed += f" (as of {as_of}; since then: --watch)"
    head = _standing(state)
    if (bad := state["failures"])["samples"]:
        of = counted(bad["of"], "measurement").upper()
        lost = f"ALL {of}" if bad["samples"] >= bad["of"] else f"{bad['samples']} of {of}"
        head += f"; {lost} FAILED (why: xlli query STUDY \"from failures\"; `xlli run … --retry-failed` tries them again)"
    return "\n".join(
        [
            f"{state['name']}: {head}",
            f"{counted(state['samples'], 'sample')}, {counted(state['rejected'], 'file')} rejected, failed: {failed}",
            grid(rows, ["cell", "samples", "units done", "of", ""]) if rows else "no cells yet",
            *(f"analysis {one['id']}: {one['state']}{', kept from an earlier recipe' if not one['wanted'] else ''}"
              f"{' – ' + one['why'] if one['why'] else ''}" for one in state["analyses"]),
        ]
    )  # fmt: skip


def _standing(state: Mapping[str, Any]) -> str:
    """Complete, running, or what would help: never a command that cannot."""
    units = sum(cell["units"] for cell in state["cells"])
    done = sum(cell["done"] for cell in state["cells"])
    percent = f"{100 * done / units:.0f} % of its units done" if units else "no units yet"
    if run := state["running"]:
        return f"running on {run['host']}, pid {run['pid']}, for {duration(run['seconds'])}: {percent} (--watch follows it)"
    if state["complete"]:
        return "complete"
    if not units or done < units:
        return f"not complete, {percent}: run the same command again"
    wanted = [one for one in state["analyses"] if one["wanted"] and one["state"] != "current"]
    failed = [one["id"] for one in wanted if one["state"] == "failed"]
    if len(failed) < len(wanted):
        return "measured, analyses are left: run the same command again"
    return f"measured, but {', '.join(failed)} failed: the same command fails again; change what the reason below names"


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
