"""The images of a training by the bytes of their files: what `identity` compares and a card lists."""

from __future__ import annotations

from dataclasses import dataclass

from xlli_ray.corpus.files.sources import list_files, pair_files, read_bytes
from xlli_ray.corpus.ids import sha256_hex
from xlli_ray.training.recipe import TrainCorpus


@dataclass(frozen=True)
class Image:
    """One training image: `sha256` of the file of the target (or input alone), `input_sha256` of a pair's input. `file` is for people."""

    file: str
    sha256: str
    input_sha256: str | None = None


def list_images(corpus: TrainCorpus) -> list[Image]:
    """The images of a corpus by name and sha256: read, not decoded."""

    def sha(uri: str) -> str:
        return sha256_hex(read_bytes(uri))

    def name(uri: str) -> str:
        return uri.rsplit("/", 1)[-1]

    if corpus.pairs is not None:
        pairs = pair_files(corpus.pairs.input, corpus.pairs.target, ".")
        return [Image(name(target), sha(target), sha(source)) for source, target in pairs]
    return [Image(name(uri), sha(uri)) for uri in list_files(corpus.images or corpus.inputs or [], ".")]
