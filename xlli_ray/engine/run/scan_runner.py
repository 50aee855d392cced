"""The scan: read the corpus once, on the pool, resumable; then write the sample table.

Each chunk of files is a unit with its own create-only record (`records/scan-<id>/`), so a killed scan resumes where it was.
A file that cannot be read is a row of `samples/rejected.parquet` with its reason.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any

import pyarrow as pa

from xlli_ray.corpus import decode, degradations
from xlli_ray.corpus.degradations import Mixture
from xlli_ray.corpus.files.outages import Watch
from xlli_ray.corpus.files.patterns import shown
from xlli_ray.corpus.pies_like_set import remarks as pies_remarks
from xlli_ray.corpus.scan import Source, scan_source
from xlli_ray.corpus.spec import CorpusSpec
from xlli_ray.corpus.table import expand, mixtures_of, table_schema
from xlli_ray.engine.events import Reporter
from xlli_ray.engine.pools.local import MAX_FRUITLESS, Lost, Pool
from xlli_ray.engine.run.corpus_files import CorpusFiles
from xlli_ray.engine.run.progress import Progress
from xlli_ray.engine.run.sample_limit import some_files, some_rows
from xlli_ray.engine.run.scanned_rows import ScannedRows
from xlli_ray.engine.worker.job import GivenUp
from xlli_ray.errors import EnvironmentFailure, LeaseError, PlanError, counted
from xlli_ray.recipe import Recipe
from xlli_ray.store.objects.client import Objects, open_objects
from xlli_ray.store.records.lease import holder_mark, superseded
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.manifest import FamilyRecord, LabelRecord, SampleTable
from xlli_ray.store.records.unit_records import Receipt, read_crash_note, read_records, write_crash_note, write_record
from xlli_ray.store.tables.sample_table import corpus_hash, write_sample_table

CHUNK = 64
_FIELDS = tuple(field.name for field in fields(Source))
REJECTED = pa.schema([("source", pa.string()), ("target", pa.string()), ("reason", pa.string())])


@dataclass(frozen=True)
class ScanJob:
    """One chunk of files."""

    scan: str
    unit: int
    corpus: dict[str, Any]
    seed: int
    sources: Sequence[Source]
    attempt: int = 0
    careful: bool = False
    """Write a note before each file, to identify one that kills its reader."""
    skip: tuple[int, ...] = ()
    """Files of the chunk that are known to kill their reader."""
    witnesses: tuple[str, ...] = ()
    """Files of the whole corpus: whether they are readable decides what a bad file means."""


@dataclass(frozen=True)
class ScanResult:
    """Counts of one chunk."""

    unit: int
    files: int
    rejected: int


class Scanner:
    """Scans chunks inside a worker."""

    def __init__(self, study: str, epoch: int) -> None:
        self.objects = open_objects(study)
        self.epoch = epoch
        self._mark = holder_mark(self.objects, epoch)
        self._over = threading.Event()

    def give_up(self) -> None:
        """The run ends: chunks in progress stop before their next file, with GivenUp."""
        self._over.set()

    def run(self, job: ScanJob) -> ScanResult:
        spec = CorpusSpec(**job.corpus)
        watch = Watch(lambda: [(uri, None) for uri in job.witnesses])
        cell, rows = f"scan-{job.scan}", []
        for number, source in enumerate(job.sources):
            if self._over.is_set():
                raise GivenUp
            if number in job.skip:
                reason = "reading this file killed its worker twice"
                target = source.target and shown(source.target)
                rows.append({"source": shown(source.uri), "target": target, "status": "failed", "reason": reason})
                continue
            if job.careful:
                write_crash_note(self.objects, cell, job.unit, self.epoch, job.attempt, number)
            rows.append(scan_source(source, spec, job.seed, watch))
        bad = [source for source, row in zip(job.sources, rows) if row["status"] == "failed"]
        watch.confirm(uri for source in bad for uri in source.files)
        table = pa.table({"json": [json.dumps(row) for row in rows]})
        receipt = Receipt(cell=cell, unit=job.unit, epoch=self.epoch, bucket="", start=0, stop=len(rows))
        if superseded(self.objects, self.epoch, self._mark):
            raise LeaseError(f"{self.objects.url}: another run took this study over; this part of the scan is dropped")
        write_record(self.objects, receipt, table)
        return ScanResult(job.unit, len(rows), sum(row["status"] != "ok" for row in rows))


def scan_corpus(
    objects: Objects,
    recipe: Recipe,
    files: CorpusFiles,
    pool: Callable[[], Pool],
    reporter: Reporter,
    *,
    stop: Callable[[], None],
    epoch: int,
    limit: int | None = None,
    known: SampleTable | None = None,
    fixed: bool = False,
    again: bool = False,
    notes: list[str] | None = None,
) -> SampleTable:
    """The study's sample table: the existing one if the corpus section is unchanged, else from a new scan.

    `pool` is called only if there is something to scan. `fixed`: the study has cells, so its samples may move to other paths but not
    change. `again`: retry rejected files; a fixed table does not gain those that are readable now, and `notes` says so. Raises PlanError if
    the recipe matches no file, or if a fixed table would change; nothing is overwritten then.
    """
    spec = recipe.corpus
    if limit is not None and spec.pies is not None:  # the first files are hardly ever all sets'; a try looks at the made ones
        spec = spec.model_copy(update={"pies": spec.pies.model_copy(update={"real": {}})})
    corpus = spec.model_dump(mode="json")
    if spec.pies is None:
        del corpus["pies"]  # so that scans from before this field existed are still recognised
    corpus_id = corpus_hash({**corpus, "limit": limit}, recipe.seed, scan_versions(spec))
    again = again and (known is None or known.rejected > 0)
    if known is not None and known.corpus_hash == corpus_id and not again:
        return known
    sources = files.take(spec)
    if not sources:
        raise PlanError(f"corpus: no file matches {', '.join(_texts(corpus[spec.kind]))}; check the path (relative to the recipe's folder)")
    if limit is not None:
        sources = some_files([source.uri for source in sources], sources, limit, recipe.seed)
    rows, _ = scan_files(objects, sources, corpus, corpus_id, pool, reporter, seed=recipe.seed, stop=stop, epoch=epoch, again=again)
    bad = [row for row in rows if row["status"] != "ok"]
    rejected = pa.table(
        {
            "source": [row.get("source") or row.get("uri") for row in bad],
            "target": [row.get("target") for row in bad],
            "reason": [row["reason"] for row in bad],
        },
        schema=REJECTED,
    )

    schema = table_schema(rows, spec)

    def batches() -> Iterator[pa.RecordBatch]:
        rows_of_table = expand(rows, spec, recipe.seed, schema)
        return rows_of_table if limit is None else some_rows(rows_of_table, limit, recipe.seed)

    if fixed and known is not None:
        now = write_sample_table(None, batches(), schema, rejected, corpus_hash=corpus_id)
        if now.hash != known.hash and known.corpus_hash == corpus_id and now.rejected < known.rejected:
            if notes is not None:
                notes.append(
                    f"{counted(known.rejected - now.rejected, 'rejected file')} can be read now; the samples of this study are fixed, so "
                    "they are ignored: use a new --out to include them"
                )
            return known
        if now.hash != known.hash:
            raise PlanError(
                f"{objects.url}: the corpus has other samples than this study ({counted(known.rows, 'sample')} then, {now.rows} "
                "now). Files were added, removed or changed; use a new --out."
            )
    return with_meanings(write_sample_table(objects, batches(), schema, rejected, corpus_hash=corpus_id), mixtures_of(rows, spec))


def scan_files(
    objects: Objects,
    sources: Sequence[Source],
    corpus: dict[str, Any],
    corpus_id: str,
    pool: Callable[[], Pool],
    reporter: Reporter,
    *,
    seed: int,
    stop: Callable[[], None],
    epoch: int,
    again: bool = False,
) -> tuple[ScannedRows, int]:
    """The rows of `sources` (`corpus.scan.scan_source`), from the study's records where they are, else from a scan on the pool; and how
    many files were scanned now. `corpus`: the section as JSON, `corpus_id` its hash. `again`: retry rejected files."""
    scan = _scan_id(corpus_id, sources)
    records = Listing(objects)
    done = set(records.entries(f"scan-{scan}"))
    if again:
        done -= {receipt.unit for receipt, table in read_records(records, f"scan-{scan}") if _has_failed(table)}
    witnesses = tuple(dict.fromkeys(sources[i].files[0] for i in (0, len(sources) // 2, -1)))
    chunks = [sources[i : i + CHUNK] for i in range(0, len(sources), CHUNK)]
    jobs = deque(
        ScanJob(scan, unit, corpus, seed, chunk, witnesses=witnesses) for unit, chunk in enumerate(chunks) if unit not in done
    )
    scanned = sum(len(job.sources) for job in jobs)
    if jobs:
        progress = Progress("scan", scanned, "file")
        reporter.begin(progress)
        lost: dict[int, int] = {}
        fruitless = 0
        for job, outcome in pool().run("scan", jobs, stop):
            if isinstance(outcome, Lost):
                reporter.event("lost", phase="scan", unit=job.unit, reason=outcome.reason, taken=outcome.taken)
                if outcome.taken:
                    jobs.append(replace(job, attempt=job.attempt + 1))
                    continue
                lost[job.unit] = lost.get(job.unit, 0) + 1
                note = read_crash_note(objects, f"scan-{scan}", job.unit, epoch, job.attempt) if job.careful else None
                retry = replace(job, attempt=job.attempt + 1, careful=lost[job.unit] >= 2)
                jobs.append(retry if note is None else replace(retry, skip=(*job.skip, note)))
                fruitless = 0 if note is not None else fruitless + 1
                if fruitless > MAX_FRUITLESS:
                    raise EnvironmentFailure(12, f"scanning lost its workers {fruitless} times in a row: {outcome.reason}")
            else:
                progress.add(outcome.files, outcome.rejected, 0, {})
                reporter.update(progress)
        reporter.end(progress)
        records.look_again()
    return ScannedRows(table["json"].to_pylist() for _, table in read_records(records, f"scan-{scan}")), scanned


def with_meanings(table: SampleTable, mixtures: Mapping[str, Mixture]) -> SampleTable:
    """The summary with the meaning of its labels, so that readers do not need the code of degradations."""
    made = {label: mixture for label, mixture in mixtures.items() if label in table.labels}
    meanings = [
        LabelRecord(label, made[label].type, {part.NAME: part.level for part in made[label].parts})
        if label in made else LabelRecord(label, label)
        for label in table.labels
    ]  # fmt: skip
    parts = sorted((part for mixture in made.values() for part in mixture.parts), key=lambda part: (part.ORDER, part.NAME))
    families = {part.NAME: FamilyRecord(part.NAME, part.AXIS, part.HIGHER_IS_WORSE, part.COLOUR) for part in parts}
    return replace(table, meanings=tuple(meanings), families=tuple(families.values()))


def scan_versions(spec: CorpusSpec) -> dict[str, int]:
    """VERSION integers of the processing of the corpus: a table made by other versions is made again and compared."""
    versions = {"decode": decode.VERSION}
    for mixture in spec.mixtures:
        versions |= mixture.versions()
    versions |= spec.versions([degradations.CLEAN] if spec.made else [])
    return degradations.counted(versions)


def remarks(corpus: CorpusSpec, table: SampleTable) -> list[str]:
    """Remarks on the sets of a `pies` corpus; none for other corpora."""
    if corpus.pies is None or not table.rows:
        return []
    return pies_remarks(corpus.pies, min(table.labels.values()))


def _has_failed(table: pa.Table) -> bool:
    """Whether a chunk's record has a file that could not be read."""
    return any(json.loads(text)["status"] == "failed" for text in table["json"].to_pylist())


def _scan_id(corpus_id: str, sources: Sequence[Source]) -> str:
    """Hash of what is asked and of the list of files: of its JSON, which is never held as a whole."""
    digest = hashlib.sha256(f"[{json.dumps(corpus_id)}, [".encode())
    for number, source in enumerate(sources):
        digest.update(((", " if number else "") + json.dumps(_plain(source), sort_keys=True)).encode())
    digest.update(b"]]")
    return digest.hexdigest()[:12]


def _plain(source: Source) -> dict[str, Any]:
    """`source` as part of the scan's id: without empty fields."""
    values = ((name, getattr(source, name)) for name in _FIELDS)  # `asdict` would copy each: a minute for a million
    return {name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value for name, value in values
            if value or name == "target" or (name == "mask" and value is not None)}  # fmt: skip


def _texts(given: Any) -> list[str]:
    """All strings in the parameters of a kind of corpus."""
    if isinstance(given, dict | list):
        return [text for item in (given.values() if isinstance(given, dict) else given) for text in _texts(item)]
    return [given] if isinstance(given, str) else []
