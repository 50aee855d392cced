"""A plan in progress: which of the wanted cells are new, which the study already has, and which are recomputed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from xlli_ray.engine.run.cell_identity import as_known, other_content, without_model
from xlli_ray.engine.run.wanted_cells import WantedCell
from xlli_ray.errors import PlanError
from xlli_ray.store.records.manifest import Cell, identity_hash


@dataclass
class PlanDraft:
    """See the module docstring."""

    old: Mapping[str, Cell]
    replace_ids: frozenset[str]
    cells: list[Cell] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    """Cells of the study that are superseded by others."""
    hashes: dict[str, str] = field(default_factory=dict)

    def new(self, wanted: Sequence[WantedCell], owner: str) -> list[WantedCell]:
        """The cells to be computed; the others are kept. `owner`: the model's id, or NO_MODEL. Raises PlanError for different content."""
        out = []
        for want in wanted:
            cell_id = want.id(owner)
            if want.needs:
                told = {f"{name.split('/')[0]}/{name.split('/')[2]}": self.hashes[name] for name in want.needs}
                want = replace(want, identity={**want.identity, "needs": told})
            self.hashes[cell_id] = identity_hash(want.identity)
            there = self.old.get(cell_id)
            if there is None:
                self.added.append(cell_id)
                out.append(want)
            elif self.replace_ids & {cell_id, want.stage.id, owner}:
                # even if nothing changed: this is how a damaged shard is recomputed
                self.replaced.append(cell_id)
                out.append(want)
            elif there.hash == identity_hash(as_known(want.identity, there.identity)):
                self._keep(there, want)
            else:
                raise PlanError(other_content(cell_id, want.stage.id, there.identity, want.identity))
        return out

    def of_before(self, wanted: Sequence[WantedCell], existing: Sequence[Cell]) -> tuple[list[WantedCell], dict[str, Sequence[str]]]:
        """The wanted cells without a model, except for stages whose cells an earlier version measured with a model: those are used instead
        and kept (stage → their ids). `--replace` measures them without a model. Raises PlanError for different content."""
        out: list[WantedCell] = []
        stand: dict[str, Sequence[str]] = {}
        for want in wanted:
            before = [cell for cell in existing if (cell.stage, cell.kind) == (want.stage.id, want.stage.kind) and cell.model]
            names = {want.stage.id, *(name for cell in before for name in (cell.id, cell.model))}
            if not before or self.replace_ids & names:
                self.gone += [cell.id for cell in before if cell.id not in self.gone]
                out.append(want)
                continue
            for cell in before:
                there, now = without_model(cell.identity), without_model(want.identity)
                if cell.what == want.probe.what and there != now:
                    raise PlanError(other_content(cell.id, want.stage.id, there, now))
                if cell.id not in self.hashes:
                    self._keep(cell, want)
            stand[want.stage.id] = [cell.id for cell in before]
        return out, stand

    def _keep(self, cell: Cell, want: WantedCell) -> None:
        self.kept.append(cell.id)
        self.hashes[cell.id] = cell.hash
        self.cells.append(replace(cell, code=want.stage.code))  # the code may have moved
