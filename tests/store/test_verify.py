"""Verify: an outage is no damage, and what a stranger's study lists is looked for inside it only."""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xlli_ray.errors import EnvironmentFailure
from xlli_ray.store.archive import Archive
from xlli_ray.store.objects import local as objects_module
from xlli_ray.store.objects.client import Objects, open_objects
from xlli_ray.store.records import checksum_root as root_module
from xlli_ray.store.records.checksum_root import write_root
from xlli_ray.store.records.manifest import Manifest, SampleTable
from xlli_ray.store.records.seal import sealed_json, sealed_parquet
from xlli_ray.store.tables.sample_table import part_key
from xlli_ray.store.tables.study_tables import rejected
from xlli_ray.store.verify.check_study import findings

REJECTED = "samples/rejected.parquet"
EMPTY = pa.table({name: pa.array([], pa.string()) for name in ("source", "target", "reason")})
MANIFEST = Manifest("study", 0, {}, SampleTable("hash", "corpus", 0, 0, (), 1, 1))


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    """A study with a sample table of no rows."""
    out = open_objects(tmp_path / "study")
    for key in (part_key(0), REJECTED):
        out.put(key, sealed_parquet(EMPTY.schema, [EMPTY]))
    return out


@pytest.mark.parametrize("key", [part_key(0), REJECTED])
@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_sample_table_that_cannot_be_reached_is_an_outage_and_not_damage(
    objects: Objects, monkeypatch: pytest.MonkeyPatch, key: str, code: int
) -> None:
    assert not [finding for finding in findings(Archive(objects, MANIFEST)) if finding.kind == "samples"]
    usual = objects_module.open_regular

    def out_of_reach(path: Path | str) -> BinaryIO:
        if str(path).endswith(key):
            raise OSError(code, "gone for now", str(path))
        return usual(path)

    monkeypatch.setattr(objects_module, "open_regular", out_of_reach)
    monkeypatch.setattr(root_module, "open_regular", out_of_reach)
    with pytest.raises(EnvironmentFailure):
        list(findings(Archive(objects, MANIFEST)))
    if key == REJECTED:
        with pytest.raises(EnvironmentFailure):
            rejected(objects)


def test_names_in_a_strangers_lists_that_lead_outside_are_findings_and_nothing_outside_is_opened(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.parquet").write_bytes(b"secret")
    outside = str(tmp_path / "secret.parquet")
    objects.put("tables/index.json", sealed_json({"fingerprint": "", "files": {"../../secret": [6, "00000000"]}, "tables": []}))
    named = {"../secret.parquet": [6, "00000000"], outside: [6, "00000000"]}
    objects.put("digests.json", sealed_json({"epoch": 1, "objects": named, "records": {}, "format": 1}))
    opened: list[str] = []
    usual = root_module.open_regular

    def noted(path: Path | str) -> BinaryIO:
        opened.append(str(Path(path).resolve()))
        return usual(path)

    monkeypatch.setattr(root_module, "open_regular", noted)
    found = {finding.key for finding in findings(Archive(objects, MANIFEST))}
    assert {"tables/../../secret.parquet", "../secret.parquet", outside} <= found
    assert opened
    assert outside not in opened


def test_a_sample_table_without_a_seal_needs_none_once_the_digests_name_it(objects: Objects) -> None:
    """Verify noted for ever that `digests.json` would cover it once the same run had ended, although it did."""
    sink = io.BytesIO()
    pq.write_table(EMPTY, sink)
    for key in (part_key(0), REJECTED):
        objects.put(key, sink.getvalue())
    notes: list[str] = []
    list(findings(Archive(objects, MANIFEST), notes=notes))
    assert notes == ["samples: written before seals were introduced; digests.json covers it once the same `xlli run` has ended"]
    write_root(objects, 1)
    notes.clear()
    assert [finding for finding in findings(Archive(objects, MANIFEST), notes=notes) if finding.kind == "samples"] == []
    assert notes == []
    other = EMPTY.append_column("more", pa.array([], pa.string()))
    pq.write_table(other, sink := io.BytesIO())
    objects.put(part_key(0), sink.getvalue())
    (found,) = [finding for finding in findings(Archive(objects, MANIFEST)) if finding.kind == "samples"]
    assert "not as the run of lease 1 left it" in found.what
