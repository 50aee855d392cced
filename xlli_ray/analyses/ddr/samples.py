"""The samples of `ddr`: integer codes of their degradation, content and image, and the classes to separate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from xlli_ray.analyses.shared.labels import Labels
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.corpus.degradations import CLEAN, GIVEN
from xlli_ray.errors import AnalysisError, closest

GROUPS = 256
"""More images than this are divided into this many groups, each left out as a whole: the expected variance is the same."""


@dataclass(frozen=True)
class Samples:
    """The analysed rows of the sample table, as columns. Codes start at 0."""

    rows: np.ndarray
    """int64 (n,), ascending."""
    label: np.ndarray
    """int64 (n,): code of the degradation, in the recipe's order."""
    content: np.ndarray
    image: np.ndarray
    labels: tuple[str, ...]
    """Names of the degradations."""
    images: tuple[str, ...]
    """File names of the photographs."""
    ids: tuple[str, ...]
    contents: tuple[str, ...]
    meaning: Labels

    @cached_property
    def cluster(self) -> np.ndarray:
        """int64 (n,): unit left out for intervals: images, or groups of images."""
        return self.image % GROUPS

    @property
    def clusters(self) -> int:
        return min(len(self.images), GROUPS)

    @cached_property
    def types(self) -> tuple[str, ...]:
        """Type of each label: its degradation without the level."""
        return tuple(map(self.meaning.type, self.labels))

    @cached_property
    def families(self) -> tuple[str, ...]:
        """The types, each once, in the recipe's order."""
        return tuple(dict.fromkeys(self.types))

    def levels(self, family: str) -> list[int]:
        """Codes of the labels of a type, weakest first (mixtures: in the recipe's order)."""
        mine = [label for label, kind in zip(self.labels, self.types) if kind == family]
        return [self.labels.index(label) for label in self.meaning.by_strength(mine)]

    @cached_property
    def clean(self) -> int | None:
        """Code of the clean samples; None if there are none."""
        return self.labels.index(CLEAN) if CLEAN in self.labels else None

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Indices of these rows among the samples: int64 (m,)."""
        return np.searchsorted(self.rows, rows)


def read_samples(view: View, bucket: str, wanted: Sequence[str] | None) -> Samples:
    """The samples of one input size, of the degradations `wanted` (None: all). Raises AnalysisError naming one that does not exist."""
    known = view.labels
    for name in wanted or ():
        if name not in known:
            near = closest(name, known, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise AnalysisError(f"ddr.degradations: no sample has the label {name!r}. {hint}Labels: {', '.join(known)}")
    # For labelled pairs the target identifies the image.
    table = view.sql(
        "select row, sample_id, content, label, source, coalesce(case when label <> ? then target_sha end, source_sha, content) as image "
        "from samples where bucket = ? order by row",
        [GIVEN, bucket],
    )
    column = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    labels = tuple(label for label in known if wanted is None or label in wanted)
    number = {label: code for code, label in enumerate(labels)}
    label = np.array([number.get(name, -1) for name in column["label"]], np.int64)
    kept = label >= 0
    contents, content = np.unique(column["content"][kept], return_inverse=True)
    images, first, image = np.unique(column["image"][kept], return_index=True, return_inverse=True)
    names = tuple(str(text).replace("\\", "/").rsplit("/", 1)[-1] for text in column["source"][kept][first])
    del images
    return Samples(
        column["row"][kept].astype(np.int64), label[kept], content.reshape(-1), image.reshape(-1), labels, names,
        tuple(column["sample_id"][kept]), tuple(contents), view.meaning,
    )  # fmt: skip


def own_contents(samples: Samples, places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A selection in which no two degradations share a content: one sample of each content, with the label assigned to it.

    `places`: int (n,), indices into `samples`. Within each image the labels are assigned to contents in turn, starting at a label drawn for
    the image, so that every degradation has about equally many contents of every image. Returns ascending indices; contents without a
    sample of their assigned label are left out.
    """
    count = len(samples.labels)
    have = {(int(samples.content[place]), int(samples.label[place])): int(place) for place in places}
    start = rng.integers(0, count, len(samples.images))
    out, turn = [], dict[int, int]()
    first = {int(samples.content[place]): int(samples.image[place]) for place in places}
    for content in sorted(first):
        image = first[content]
        label = (int(start[image]) + turn.get(image, 0)) % count
        turn[image] = turn.get(image, 0) + 1
        if (content, label) in have:
            out.append(have[content, label])
    return np.array(sorted(out), np.int64)
