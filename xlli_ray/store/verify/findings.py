"""Findings of `xlli verify`: one line each, with location, problem and remedy; and what `--repair` does about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "plan", "samples", "weights", "document", "companion", "record", "shard", "missing", "tables", "result", "lease", "root", "foreign",
    "training", "listed", "page",
]  # fmt: skip
WAY_OUT: dict[Kind, str] = {
    "plan": "`xlli verify --repair` restores it when it or its copy study.json is whole; else restore it from a copy of the study",
    "samples": "`xlli verify --repair`, then the same `xlli run`, makes the sample table again from what the scan recorded",
    "weights": "run the recipe again where the checkpoint can be read; the arrays that were made with it are not touched by this",
    "document": "`xlli verify --repair` writes it again",
    "companion": "`xlli verify --repair` writes it again from plan and records",
    "record": "the same `xlli run`, or `xlli verify --repair`, removes it, and its units are computed again",
    "shard": "run with --replace {cell}, or `xlli verify --repair` and the same `xlli run`, which computes this unit alone",
    "missing": "run the same command again",
    "tables": "the same `xlli run`, or `xlli verify --repair`, makes the tables again",
    "result": "run the recipe again with --replace {cell}, or `xlli verify --repair` and the same `xlli run`",
    "lease": "`xlli verify --repair` writes it again; nothing depends on it once its run has ended",
    "root": "the same `xlli run`, or `xlli verify --repair`, makes it again",
    "training": "delete the folder {cell} to train this network again",
    "listed": "the same `xlli train` writes it again",
    "page": "`xlli report` writes it again",
    "foreign": "nothing here made it, and --repair leaves it alone: look at it and move it away",
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
