"""Meaning of a study's degradation labels: type, level, axis and colour, from the summary of the sample table.

The code of the degradations is not needed: a study can be read where the package that made its samples is not installed. In studies older
than this summary, the meaning is parsed from the label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xlli_ray.corpus.degradations import get, is_made, parse_label
from xlli_ray.plots.palette import family_colour, paler
from xlli_ray.store.records.manifest import FamilyRecord, LabelRecord, SampleTable


@dataclass(frozen=True)
class Labels:
    """`records`: by label, in the recipe's order. `families`: by name of a degradation."""

    records: Mapping[str, LabelRecord] = field(default_factory=dict)
    families: Mapping[str, FamilyRecord] = field(default_factory=dict)

    @classmethod
    def of(cls, samples: SampleTable | None) -> Labels:
        """The labels of a study's sample table."""
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
        """`blur2+noise10` → `blur+noise`; each set of real or given inputs is a type of its own."""
        return self.records[label].type if label in self.records else label

    def level(self, label: str) -> float:
        """The first level of a label; 0 for clean samples and for unknown levels."""
        return next(iter(self.records[label].levels.values()), 0.0) if label in self.records else 0.0

    @property
    def types(self) -> tuple[str, ...]:
        """The types, each once, in the recipe's order."""
        return tuple(dict.fromkeys(record.type for record in self.records.values()))

    def axis(self, family: str) -> str:
        """Name and unit of a family's level."""
        return self.families[family].axis if family in self.families else f"level of {family}"

    def falling(self, family: str) -> bool:
        """Whether a larger level is a weaker degradation."""
        return family in self.families and not self.families[family].higher_is_worse

    def by_strength(self, labels: Sequence[str]) -> list[str]:
        """`labels` of one type from the weakest level to the strongest; mixtures, whose levels have no single order, as given."""
        kind = self.type(labels[0]) if labels else ""
        return list(labels) if "+" in kind else sorted(labels, key=self.level, reverse=self.falling(kind))

    def type_colour(self, kind: str) -> str:
        """The colour of a type, the same in every figure of the study."""
        own = {name: record.colour for name, record in self.families.items() if record.colour is not None}
        return family_colour(kind, self.types, own)

    def colour(self, label: str) -> str:
        """The colour of a label's type."""
        return self.type_colour(self.type(label))

    def shades(self, labels: Sequence[str]) -> dict[str, str]:
        """The colour of each label if levels are distinguished: that of its type for the strongest of `labels`, paler for weaker ones."""
        out = {}
        for label in labels:
            levels = [self.level(other) for other in self.by_strength([one for one in labels if self.type(one) == self.type(label)])]
            order = list(dict.fromkeys(levels))
            out[label] = paler(self.colour(label), 0.7 * (1 - (order.index(self.level(label)) + 1) / len(order)))
        return out


def _read(label: str) -> LabelRecord:
    if not is_made(label):
        return LabelRecord(label, label)
    mixture = parse_label(label)
    return LabelRecord(label, mixture.type, {part.NAME: part.level for part in mixture.parts})
