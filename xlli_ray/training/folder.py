"""Storage of one training's files: weights, card, curve, log and checkpoint, by name. A local folder, or part of a study (`engine`)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

WEIGHTS, CARD, CHECKPOINT, LOG, CURVE = "weights.safetensors", "card.json", "checkpoint.pt", "log.jsonl", "curve.svg"


class Folder(Protocol):
    """The files of one training."""

    @property
    def where(self) -> str:
        """For messages: a path or an address."""

    def get(self, name: str) -> bytes | None:
        """The whole file, None if it does not exist."""

    def put(self, name: str, data: bytes) -> None:
        """Create or replace the file, atomically and durably."""

    def delete(self, name: str) -> None:
        """Remove the file; a missing one is not an error."""


@dataclass(frozen=True)
class LocalFolder:
    """A local folder, created with its first file."""

    path: Path

    @property
    def where(self) -> str:
        return str(self.path)

    def get(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, name: str, data: bytes) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        partial = self.path / f"{name}.partial"
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path / name)

    def delete(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)
