"""The images of a training by the bytes of their files: what `identity` compares and a card lists.

`corpus.count` takes the first `count` of them in an order determined by the seed and the bytes of the files, so that the first eight are
among the first 64 of the same seed, and file names do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

from xlli_ray.corpus.files.sources import list_files, pair_files, read_bytes
from xlli_ray.corpus.ids import sha256_hex
from xlli_ray.errors import RecipeError, counted
from xlli_ray.training.recipe import TrainCorpus


@dataclass(frozen=True)
class Image:
    """One training image: `sha256` of the target's file (or the only input's), `input_sha256` of a pair's input. `file` is for people."""

    file: str
    sha256: str
    input_sha256: str | None = None


@dataclass(frozen=True)
class Files:
    """Location of one training image: the file of its target (or of its only input), and of its input for a pair."""

    target: str
    input: str | None = None

    def read(self) -> tuple[Image, bytes, bytes | None]:
        """The image with the bytes of both files, not decoded."""
        target, given = read_bytes(self.target), None if self.input is None else read_bytes(self.input)
        name = self.target.rsplit("/", 1)[-1]
        return Image(name, sha256_hex(target), None if given is None else sha256_hex(given)), target, given


def find_files(corpus: TrainCorpus) -> list[Files]:
    """All files of a corpus, none read. Raises RecipeError if there are none, or fewer than its `count`."""
    if corpus.pairs is not None:
        files = [Files(target, source) for source, target in pair_files(corpus.pairs.input, corpus.pairs.target, ".")]
    else:
        files = [Files(uri) for uri in list_files(corpus.images or corpus.inputs or [], ".")]
    if corpus.count is not None and corpus.count > len(files):
        have = counted(len(files), "pair" if corpus.pairs is not None else "image")
        raise RecipeError(f"corpus.count is {corpus.count}, and the corpus has {have}")
    return files


def taken_files(corpus: TrainCorpus, seed: int) -> list[Files]:
    """The files to train on: all, or `count` of them by (seed, bytes of the file)."""
    files = find_files(corpus)
    if corpus.count is None:
        return files

    def drawn(files: Files) -> str:
        image = files.read()[0]
        return sha256_hex(f"{seed}|count|{image.sha256}|{image.input_sha256 or ''}".encode())

    return sorted(files, key=drawn)[: corpus.count]


def list_images(corpus: TrainCorpus, seed: int) -> list[Image]:
    """The images to train on, by name and sha256: read, not decoded."""
    return [files.read()[0] for files in taken_files(corpus, seed)]
