"""The scan of a training study: the same as for other studies, with the same records, one per corpus of the recipe.

A run that continues reads each file again and compares its sha256: files whose bytes have changed, and rejected files, are scanned again,
so that `training.identity` compares the current images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xlli_ray.corpus.files.outages import Watch
from xlli_ray.corpus.ids import sha256_hex
from xlli_ray.corpus.kinds.kind import Source
from xlli_ray.corpus.scan import list_sources, scan_source
from xlli_ray.corpus.spec import CorpusSpec
from xlli_ray.engine.events import Reporter
from xlli_ray.engine.pools.local import Pool
from xlli_ray.engine.run.scan_runner import scan_files, scan_versions
from xlli_ray.errors import SampleError
from xlli_ray.store.objects.client import Objects
from xlli_ray.store.tables.sample_table import corpus_hash
from xlli_ray.training.images import Row, Scan, remembered, witnesses


def study_scan(objects: Objects, pool: Callable[[], Pool], reporter: Reporter, *, stop: Callable[[], None], epoch: int) -> Scan:
    """From a corpus to the current rows of its files; called once per corpus."""

    def scan(corpus: CorpusSpec) -> Sequence[Row]:
        sources = list_sources(corpus, ".")
        section = corpus.model_dump(mode="json")
        key = corpus_hash(section, 0, scan_versions(corpus))
        rows, scanned = scan_files(objects, sources, section, key, pool, reporter, seed=0, stop=stop, epoch=epoch)
        if scanned == len(sources):
            return rows
        watch = Watch(lambda: witnesses(rows))
        return [_as_now(source, row, corpus, watch) for source, row in zip(sources, rows, strict=True)]

    return remembered(scan)


def _as_now(source: Source, row: Row, corpus: CorpusSpec, read: Callable[[str], bytes]) -> Row:
    files: tuple[tuple[str | None, Any], ...] = ((source.uri, row.get("sha")), (source.target, row.get("target_sha")))
    if row["status"] == "ok":
        try:
            if all(sha256_hex(read(uri)) == sha for uri, sha in files if uri is not None):
                return row
        except SampleError:
            pass  # the scan reports what is wrong
    return scan_source(source, corpus, 0, read)
