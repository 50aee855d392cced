"""The images of a training: a corpus as in a study, with the same scan and the same loader.

A scan gives one row per file (or pair), good or rejected with a reason; the good ones are trained on, as whole clean images. `corpus.count`
takes the first `count` of them in an order determined by the seed and the bytes of the files, so that the first eight are among the first
64 of the same seed, and file names do not matter. Equal files count as several images.

What identifies an image is the sha256 of its files: that is what `identity` compares and a card lists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.decode import to_u8
from xlli_ray.corpus.ids import drawn_key
from xlli_ray.corpus.kinds.kind import Source
from xlli_ray.corpus.sample import Loader, Sample, sample_from_row
from xlli_ray.corpus.scan import expand, list_sources, scan_source
from xlli_ray.corpus.spec import CorpusSpec
from xlli_ray.errors import RecipeError, counted
from xlli_ray.training.corpus import TrainCorpus

Row = Mapping[str, Any]
"""A row of a scan (`corpus.scan.scan_source`)."""
Scan = Callable[[CorpusSpec], Sequence[Row]]
"""From a corpus to the rows of its files."""


@dataclass(frozen=True)
class Image:
    """One training image: `sha256` of the target's file (or the only input's), `input_sha256` of a pair's input. `file` is for people."""

    file: str
    sha256: str
    input_sha256: str | None = None


def scan_here(corpus: CorpusSpec) -> list[Row]:
    """The rows of all files of a corpus, read in this process. Raises RecipeError where no file matches."""
    return [scan_source(source, corpus, 0) for source in list_sources(corpus, ".")]


def remembered(scan: Scan) -> Scan:
    """`scan`, called once per corpus: the networks of a grid share it."""
    known: dict[str, Sequence[Row]] = {}

    def scanned(corpus: CorpusSpec) -> Sequence[Row]:
        key = corpus.model_dump_json()
        if key not in known:
            known[key] = scan(corpus)
        return known[key]

    return scanned


def rejected(rows: Iterable[Row]) -> Iterator[tuple[str, str]]:
    """(file, reason) of each file left out."""
    for row in rows:
        if row["status"] != "ok":
            yield row.get("uri") or row.get("source") or "", row["reason"]


def witnesses(rows: Sequence[Row]) -> list[tuple[str, str | None]]:
    """(file, sha256) of up to three good rows: whether they can be read decides what a bad file means (`corpus.files.outages`)."""
    good = [row for row in rows if row["status"] == "ok"]
    return list(dict.fromkeys((good[i]["uri"], good[i]["sha"]) for i in (0, len(good) // 2, -1))) if good else []


def samples_of(rows: Iterable[Row], corpus: CorpusSpec) -> list[Sample]:
    """Each good row as the sample that it would be in a study, in the order of the rows.

    A study merges equal files into one sample; here each stays one, so rows with the same bytes go into separate tables.
    """
    tables: list[list[dict[str, Any]]] = []
    repeats, place = Counter[tuple[Any, ...]](), dict[tuple[Any, Any], int]()
    for number, row in enumerate(rows):
        place.setdefault((row.get("uri"), row.get("target")), number)
        if row["status"] != "ok":
            continue
        files = (row["sha"], row["target_sha"], row.get("label"), row.get("mask_sha"))
        if repeats[files] == len(tables):
            tables.append([])
        tables[repeats[files]].append(dict(row))
        repeats[files] += 1
    samples = [sample_from_row(line) for table in tables for batch in expand(table, corpus, 0) for line in batch.to_pylist()]
    return sorted(samples, key=lambda sample: place.get((sample.source, sample.target), 0))


def training_samples(corpus: TrainCorpus, rows: Sequence[Row], seed: int) -> list[Sample]:
    """The training rows: all good ones, or `count` of them by (seed, bytes of the files). Raises RecipeError for none, or too few."""
    samples = samples_of(rows, corpus.scanned())
    bad = list(rejected(rows))
    if bad and not samples:
        raise RecipeError(f"corpus: none of the {counted(len(rows), 'file')} can be used; the first, {bad[0][0]}: {bad[0][1]}")
    check_count(corpus, samples, len(bad))
    if corpus.count is None:
        return samples

    def drawn(sample: Sample) -> str:
        image = image_of(sample)
        return drawn_key(seed, image.sha256, image.input_sha256)

    return sorted(samples, key=drawn)[: corpus.count]


def check_count(corpus: TrainCorpus, images: Sequence[Source | Sample], rejected: int = 0) -> None:
    """Raise RecipeError if the corpus has fewer images than its `count`."""
    if corpus.count is not None and corpus.count > len(images):
        have = counted(len(images), "pair" if any(image.target for image in images) else "image")
        raise RecipeError(f"corpus.count is {corpus.count}, but the corpus has {have}{f'; {rejected} rejected' if rejected else ''}")


def image_of(sample: Sample) -> Image:
    """The identity of the image that a sample is."""
    if sample.target is not None and sample.target_sha is not None:
        return Image(sample.target.rsplit("/", 1)[-1], sample.target_sha, sample.source_sha)
    return Image(sample.source.rsplit("/", 1)[-1], sample.source_sha)


def pixels_of(sample: Sample, loader: Loader) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Input and target (None if missing), uint8 (h, w, 3) and (sh, sw, 3). Raises as `Loader.load`; RecipeError for a clip."""
    loaded = loader.load(sample)
    if loaded.input.ndim != 3:
        raise RecipeError(f"{sample.source}: networks are trained on single images, but this is a clip of {sample.frames} frames")
    planes = (loaded.input, loaded.target)
    small, target = (None if one is None else np.ascontiguousarray(to_u8(one).transpose(1, 2, 0)) for one in planes)
    assert small is not None
    return small, target
