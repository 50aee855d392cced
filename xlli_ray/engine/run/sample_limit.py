"""A trial with few samples (`--limit N`): the same contents under every degradation, from as many images as possible.

The first N rows of a sample table are all clean, since rows are sorted by degradation; no conclusion could be drawn from them. So contents
are taken round-robin from the images, in an order determined by the seed and the files' bytes, each with all its degradations: every set
has the same number, as analyses require.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import TypeVar

import numpy as np
import pyarrow as pa

from xlli_ray.corpus.ids import order_key

T = TypeVar("T")


def some_files(uris: Sequence[str], items: Sequence[T], limit: int, seed: int) -> list[T]:
    """`limit` of `items`, by the hash of their names: the first by name might be of one kind. In their original order."""
    order = sorted(range(len(items)), key=lambda i: sha256(f"{seed}|{uris[i]}".encode("utf-8", "surrogateescape")).digest())
    return [items[i] for i in sorted(order[:limit])]


def some_rows(batches: Iterable[pa.RecordBatch], limit: int, seed: int) -> Iterator[pa.RecordBatch]:
    """At most `limit` rows of a sample table: whole contents, with all their degradations, in the table's order and renumbered.

    Fewer rows than degradations: one content under the first `limit` of them.
    """
    given = list(batches)
    if not given:  # every file was rejected
        return
    table = pa.Table.from_batches(given)
    contents, labels = table["content"].to_pylist(), table["label"].to_pylist()
    images = [f"{source}|{target}" for source, target in zip(table["source_sha"].to_pylist(), table["target_sha"].to_pylist())]
    kinds = len(set(labels))
    chosen = set(_dealt(dict(zip(contents, images)), max(1, limit // kinds), seed))
    kept = [number for number, content in enumerate(contents) if content in chosen][:limit]
    out = table.take(pa.array(kept, pa.int64()))
    place = out.schema.get_field_index("row")
    out = out.set_column(place, out.schema.field(place), pa.array(np.arange(len(kept)), pa.int64()))
    yield from out.combine_chunks().to_batches()


def _dealt(image_of: dict[str, str], count: int, seed: int) -> list[str]:
    """`count` contents: in each round every image gives its next one."""
    turns: dict[str, int] = {}
    ranked = []
    for content in sorted(image_of, key=lambda content: order_key(seed, content)):
        turn = turns[image_of[content]] = turns.get(image_of[content], -1) + 1
        ranked.append((turn, order_key(seed, content), content))
    return [content for _, _, content in sorted(ranked)[:count]]
