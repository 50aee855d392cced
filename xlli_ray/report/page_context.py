"""What all sections of a page share: the study, its samples and tables, the meaning of its labels, colours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from xlli_ray.analyses.shared.labels import Labels
from xlli_ray.corpus.sample import study_loader
from xlli_ray.plots.palette import Look, network_looks
from xlli_ray.report.page_means import Tables
from xlli_ray.report.shown_samples import Samples
from xlli_ray.store.records.manifest import SampleTable
from xlli_ray.study import Study


@dataclass(frozen=True)
class Context:
    """The context shared by all sections."""

    study: Study
    table: SampleTable
    tables: Tables
    samples: Samples
    meaning: Labels
    """Meaning of the degradation labels, in the sample table's order."""
    against: str | None = None
    """The model that all others are compared with; None: every pair of a few models, or the first with each other."""

    @property
    def families(self) -> dict[str, str]:
        """Degradation label → family, in the sample table's order."""
        return {label: self.meaning.type(label) for label in self.table.labels}

    def colour(self, label: str) -> str:
        """The colour of a degradation label."""
        return self.meaning.colour(label)

    @cached_property
    def looks(self) -> dict[str, Look]:
        """The appearance of each network."""
        return network_looks([model.id for model in self.study.manifest.models])


@contextmanager
def open_context(study: Study, table: SampleTable, against: str | None = None) -> Iterator[Context]:
    """The context of a study whose corpus was scanned, open for queries."""
    with Tables(study) as tables:
        samples = Samples(study, study_loader(study.manifest.recipe.get("corpus", {})))
        yield Context(study, table, tables, samples, Labels.of(table), against)
