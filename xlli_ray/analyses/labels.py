"""What the degradation labels of a study mean: type, level, axis and colour, as the sample table's summary has them.

No degradation's code is needed: a study can be read where the package that made its samples is not installed. Studies from before the
summary held these are read by their labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xlli_ray.corpus.degradations import get, is_made, parse_label
from xlli_ray.store.records.manifest import FamilyRecord, LabelRecord, SampleTable


@dataclass(frozen=True)
class Labels:
    """`records`: by label, in the recipe's order. `families`: by name of a degradation."""

    records: Mapping[str, LabelRecord] = field(default_factory=dict)
    families: Mapping[str, FamilyRecord] = field(default_factory=dict)

    @classmethod
    def of(cls, samples: SampleTable | None) -> Labels:
        """Of a study's sample table."""
        if samples is None:
            return cls()
        known = {record.label: record for record in samples.meanings}
        records = {label: known.get(label) or _read(label) for label in samples.labels}
        families = {record.name: record for record in samples.families}
        for name in {name for record in records.values() for name in record.levels if name not in families}:
            kind = get(name)
            families[name] = FamilyRecord(name, kind.AXIS, kind.HIGHER_IS_WORSE, kind.COLOUR)
        return cls(records, families)

    def type(self, label: str) -> str:
        """`blur2+noise10` → `blur+noise`; sets of real or given inputs are types of their own."""
        return self.records[label].type if label in self.records else label

    def level(self, label: str) -> float:
        """The first level of a label; 0 for a sample that is clean, or whose level is not known."""
        return next(iter(self.records[label].levels.values()), 0.0) if label in self.records else 0.0

    @property
    def types(self) -> tuple[str, ...]:
        """The types, each once, in the recipe's order."""
        return tuple(dict.fromkeys(record.type for record in self.records.values()))

    def axis(self, family: str) -> str:
        """What the level of a family is, with its unit."""
        return self.families[family].axis if family in self.families else f"level of {family}"

    def falling(self, family: str) -> bool:
        """Whether a larger level is less of a degradation."""
        return family in self.families and not self.families[family].higher_is_worse

    @property
    def colours(self) -> dict[str, str]:
        """The colours that degradations have of their own."""
        return {name: record.colour for name, record in self.families.items() if record.colour is not None}


def _read(label: str) -> LabelRecord:
    if not is_made(label):
        return LabelRecord(label, label)
    mixture = parse_label(label)
    return LabelRecord(label, mixture.type, {part.NAME: part.level for part in mixture.parts})
