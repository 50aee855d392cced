"""Findings of `xlli verify`: one line each, with location, problem and remedy; and what `--repair` does about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "plan", "samples", "weights", "document", "companion", "record", "shard", "missing", "tables", "result", "lease", "root", "foreign",
    "training", "listed", "page",
]  # fmt: skip
WAY_OUT: dict[Kind, str] = {
    "plan": "`xlli verify --repair` restores it if it or its copy study.json is intact; otherwise restore it from a copy of the study",
    "samples": "`xlli verify --repair`, then the same `xlli run`, rebuilds the sample table from the records of the scan",
    "weights": "run the recipe again where the checkpoint can be read; this does not affect existing arrays",
    "document": "`xlli verify --repair` rewrites it",
    "companion": "`xlli verify --repair` rewrites it from plan and records",
    "record": "the same `xlli run`, or `xlli verify --repair`, removes it, and its units are recomputed",
    "shard": "run with --replace {cell}, or `xlli verify --repair` and the same `xlli run`, which recomputes only this unit",
    "missing": "run the same command again",
    "tables": "the same `xlli run`, or `xlli verify --repair`, rebuilds the tables",
    "result": "run the recipe again with --replace {cell}, or `xlli verify --repair` and the same `xlli run`",
    "lease": "`xlli verify --repair` rewrites it; nothing depends on it once its run has ended",
    "root": "the same `xlli run`, or `xlli verify --repair`, rewrites it",
    "training": "delete the folder {cell} to train this network again",
    "listed": "the same `xlli train` rewrites it",
    "page": "`xlli report` rewrites it",
    "foreign": "not written by xlli_ray, and not touched by --repair: inspect it and move it away",
}


@dataclass(frozen=True)
class Finding:
    """One object that is not as it was written."""

    kind: Kind
    key: str
    """The object, or the cell."""
    what: str
    cell: str = ""
    """Cell of a shard or record; analysis of a result."""
    unit: int = -1

    def __str__(self) -> str:
        return f"{self.key}: {self.what}; {WAY_OUT[self.kind].format(cell=self.cell)}"
