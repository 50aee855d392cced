"""Which models a command may build: only those of its own recipe, as it imported them, and none named only by study.json.

A network may be code (`network: my.py:make`), and a study may come from an untrusted source. So study.json does not determine what is
imported: the driver reads the recipe's models (`study_weights`), each job contains the sha256 of their records, and a worker builds a model
of study.json only if it is identical. Cells of other models are not changed; their missing units wait for a recipe that names them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict

from xlli_ray.errors import RecipeError, StudyError
from xlli_ray.probes import make_probe
from xlli_ray.store.records.manifest import Cell, ModelRecord

Gate = Mapping[str, str]
"""Model id → `record_digest` of the model in this command's recipe."""
SAID = ("tags", "notes", "source")
"""Fields of a record that do not affect what is built."""


def record_digest(record: ModelRecord) -> str:
    """sha256 of the canonical JSON of everything that determines what is imported and built; empty fields count as absent."""
    fields = {key: value for key, value in asdict(record).items() if key not in SAID}
    fields["entry"] = {key: value for key, value in record.entry.items() if value not in (None, {}, [], "")}
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":"), default=list).encode()).hexdigest()


def make_gate(records: Iterable[ModelRecord]) -> dict[str, str]:
    """The gate for the records of a recipe's models."""
    return {record.id: record_digest(record) for record in records}


def check_gate(gate: Gate, record: ModelRecord, place: str) -> None:
    """Raises StudyError for a model that this command's recipe does not name, or defines differently."""
    if gate.get(record.id) == record_digest(record):
        return
    what = "is not the model that this recipe names" if record.id in gate else "is not named by this recipe"
    raise StudyError(
        f"{place}: the model {record.id!r} ({record.network}) {what}, and is not built: a study does not determine what code runs. "
        "Name it in your recipe if you trust it"
    )


def needed(cell: Cell) -> tuple[str, ...]:
    """Ids of the models that the cell's probe uses; none if it measures samples without a model.

    Raises StudyError for invalid parameters of the probe, RecipeError for a probe whose code is missing or must not run.
    """
    try:
        probe = make_probe(cell.kind, cell.params, cell.spec, cell.code)
    except RecipeError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise StudyError(f"{cell.id}: {cell.kind} does not accept the parameters in study.json: {error}") from error
    return (*([cell.model] if probe.SUBJECT == "model" else []), *probe.companions)


def models_of(cells: Iterable[Cell], find: Callable[[str], Cell]) -> tuple[str, ...]:
    """Ids of the models that units of these cells build: their own, and those of needed cells. `find` returns a cell by its id."""
    names: dict[str, None] = {}
    left, seen = list(cells), set[str]()
    while left:
        cell = left.pop(0)
        if cell.id not in seen:
            seen.add(cell.id)
            names |= dict.fromkeys(needed(cell))
            left += [find(name) for name in cell.needs]
    return tuple(names)


def admitted(gate: Gate, cells: Sequence[Cell]) -> tuple[list[Cell], list[Cell]]:
    """(cells whose units may run, cells that wait)."""
    by_id = {cell.id: cell for cell in cells}
    own: list[Cell] = []
    others: list[Cell] = []
    for cell in cells:
        (own if _known(gate, cell, by_id) else others).append(cell)
    return own, others


def _known(gate: Gate, cell: Cell, by_id: Mapping[str, Cell]) -> bool:
    """Whether this recipe names the models of a cell, and may run its probe and those that it needs."""
    try:
        return all(name in gate for name in needed(cell)) and all(_known(gate, by_id[name], by_id) for name in cell.needs)
    except RecipeError:
        return False
