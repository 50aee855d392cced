"""SQL over a study reads the study's tables and nothing else, whatever the statement, the names or the folder."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xlli_ray.errors import StudyError
from xlli_ray.store.objects.client import Objects, open_objects
from xlli_ray.store.tables.sql import HELD_BYTES, RENAMED, Database, quoted, text, unique

SCORES = pa.table({"model": ["a", "a", "b", "b"], "seed": [1, 2, 1, 2], "psnr_y": [30.0, 31.0, float("nan"), float("inf")]})


def put(objects: Objects, key: str, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    objects.put(key, sink.getvalue().to_pybytes())


@pytest.fixture
def shut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A shut connection over a stored table, in a folder with files that a statement may want."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.csv").write_text("word\nswordfish\n")
    (tmp_path / ".tmp").mkdir()
    objects = open_objects(tmp_path / "study")
    put(objects, "tables/scores.parquet", SCORES)
    with Database() as database:
        database.add_parquet("scores", objects, ["tables/scores.parquet"])
        database.add("given", SCORES)
        database.shut()
        yield database


ATTACKS = [
    "copy scores to 'out.csv'",
    "copy (from scores) to '.tmp/out.csv'",
    "copy (from scores) to ':memory:.wal'",
    "copy scores to 'study/tables/scores.parquet'",
    "copy (from given) to 'study://0.parquet'",
    "copy (pivot given on model using sum(seed)) to 'out.csv'",
    "explain analyze copy scores to 'out.csv'",
    "copy given from 'secret.csv'",
    "export database 'out'",
    "import database 'out'",
    "attach 'out.db'",
    "attach 'out.db' as other (type sqlite)",
    "install httpfs",
    "install httpfs from 'http://localhost:1/'",
    "load httpfs",
    "load './out.duckdb_extension'",
    "from 'secret.csv'",
    "from './secret.csv'",
    "from read_csv('secret.csv')",
    "from read_csv_auto('secret.csv')",
    "from sniff_csv('secret.csv')",
    "from read_text('/etc/hostname')",
    "from read_blob('/etc/hostname')",
    "from read_json('secret.csv')",
    "from read_parquet('study/tables/scores.parquet')",
    "from parquet_metadata('study/tables/scores.parquet')",
    "from glob('*')",
    "set enable_external_access = true",
    "set threads = 1",
    "reset lock_configuration",
    "set temp_directory = 'out'",
    "set python_enable_replacements = true",
    "set allowed_paths = ['secret.csv']",
    "pragma threads = 1",
    "pragma enable_profiling = 'json'",
    "pragma profile_output = 'out.json'",
    "call enable_logging(storage = 'file', storage_config = {'path': 'out'})",
    "create persistent secret s (type s3, key_id 'x', secret 'y')",
    "from local_variable",
    "from 'https://localhost:1/x.csv'",
    "from 's3://bucket/x.parquet'",
]


@pytest.mark.parametrize("statement", ATTACKS)
def test_a_statement_reaches_no_file_no_network_and_no_setting(shut: Database, tmp_path: Path, statement: str) -> None:
    local_variable = pa.table({"word": ["swordfish"]})
    before = files(tmp_path)
    with pytest.raises(StudyError):
        shut.query(statement)
    assert files(tmp_path) == before
    assert shut.query("select count(*) as n from scores")["n"].to_pylist() == [4], "and the next statement works"
    assert local_variable.num_rows == 1


def test_the_connections_own_addresses_lead_nowhere_else(shut: Database) -> None:
    for address in ("study://../secret.csv", "study://secret.csv", "study://7.parquet"):
        assert shut.query(f"select count(*) as n from read_text('{address}')")["n"].to_pylist() == [0]
    assert shut.query("select size from read_blob('study://0.parquet')").num_rows == 1


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_refusal_names_the_way_out_and_a_plain_mistake_the_tables(shut: Database) -> None:
    with pytest.raises(StudyError, match=r"nothing else: no files, no network, no settings.*--unsafe"):
        shut.query("copy scores to 'out.csv'")
    with pytest.raises(StudyError, match=r"--unsafe"):
        shut.query("set threads = 1")
    with pytest.raises(StudyError, match="Tables: given, scores"):
        shut.query("from nowhere")


@pytest.mark.parametrize(
    "statement",
    ["from scores", "describe scores", "summarize scores", "show tables", "explain from scores", "with x as (from scores) from x",
     "pivot given on model using sum(seed)", "select 1; select 2", "from query_table('scores')"],
)  # fmt: skip
def test_what_only_reads_the_tables_is_answered(shut: Database, statement: str) -> None:
    assert shut.query(statement).num_rows


def test_without_the_lock_a_statement_may_write_and_read_files(tmp_path: Path) -> None:
    objects = open_objects(tmp_path / "study")
    put(objects, "tables/scores.parquet", SCORES)
    with Database() as database:
        database.add_parquet("scores", objects, ["tables/scores.parquet"])
        before = (tmp_path / "study/tables/scores.parquet").read_bytes()
        database.query(f"copy scores to {text(str(tmp_path / 'out.csv'))}")
        assert database.query(f"from read_csv({text(str(tmp_path / 'out.csv'))})").num_rows == 4
        with pytest.raises(StudyError, match="read only"):
            database.query("copy scores to 'study://0.parquet'")
    assert (tmp_path / "study/tables/scores.parquet").read_bytes() == before


def test_what_spills_lies_in_a_private_folder_that_goes_with_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Database() as database:
        (folder,) = tmp_path.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert database.query("select current_setting('temp_directory') as d")["d"].to_pylist()[0].strip("[/]") == str(folder).strip("/")
        database.shut()
        database.query(f"copy (select 1) to {text(str(folder / 'x.csv'))}")
    assert not list(tmp_path.iterdir())


NAMES = ['a"b', "a'b", 'x"; copy y to \'z', "select", "a b", "ä\n", "[x]", "model=b", "%", "--", "/*", ";"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_quoted_and_never_read_as_sql(name: str) -> None:
    with Database() as database:
        database.add(name, pa.table({name: [1, 2]}), where=f"{quoted(name)} > 1")
        table = database.query(f"select {quoted(name)}, {text(name)} as said from {quoted(name)} where {text(name)} = ?", [name])
    assert table.to_pylist() == [{name: 2, "said": name}]


FOLDERS = ["model=swinir", "seed=7", "[ab]", "*", "?", "%20", "a#b", "a b", "a'b", 'a"b', "ü→", "a\nb", "a::b", "~", "{x}"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_studys_path_is_no_pattern_partition_or_option(tmp_path: Path, folder: str) -> None:
    for other in ("a", "b", "xx"):  # what a pattern would find
        put(open_objects(tmp_path / other / "inner"), "tables/scores.parquet", SCORES.slice(0, 1))
    objects = open_objects(tmp_path / folder / "inner")
    put(objects, "tables/scores.parquet", SCORES)
    with Database() as database:
        database.add_parquet("scores", objects, ["tables/scores.parquet"])
        database.shut()
        assert database.query("select model, seed from scores").equals(SCORES.select(["model", "seed"]))


def test_two_columns_of_one_name_are_both_shown_and_the_change_is_said(shut: Database) -> None:
    table = shut.query(
        "select x.psnr_y, y.psnr_y, 5 as psnr_y_1 from scores x join scores y using (seed) where x.model = 'a' and y.model = 'b'"
    )
    assert table.column_names == ["psnr_y", "psnr_y_2", "psnr_y_1"]
    assert sorted(table["psnr_y"].to_pylist()) == [30.0, 31.0]
    assert table.schema.metadata[RENAMED].decode() == "psnr_y → psnr_y_2"
    assert shut.query("from scores").schema.metadata is None


def test_names_are_made_unique_without_taking_anothers() -> None:
    assert unique(["a", "a", "a_1", "a", "b"]) == ["a", "a_2", "a_1", "a_3", "b"]
    assert unique([]) == []


def test_a_table_in_a_bucket_is_read_by_ranges_and_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    table = pa.table({"row": np.arange(200_000), "x": rng.normal(size=200_000), "y": rng.normal(size=200_000)})
    here, there = open_objects(tmp_path), open_objects("memory://sql")
    for objects in (here, there):
        put(objects, "tables/t.parquet", table)
    monkeypatch.setattr("xlli_ray.store.tables.sql.HELD_BYTES", 1000)
    asked: list[int] = []
    whole = there.get_range
    monkeypatch.setattr(there, "get_range", lambda key, start, length: asked.append(length) or whole(key, start, length))
    answers = []
    for objects in (here, there):
        with Database() as database:
            database.add_parquet("t", objects, ["tables/t.parquet"])
            database.shut()
            answers.append(database.query("select count(*) as n, max(row) as m from t").to_pylist())
    assert answers[0] == answers[1] == [{"n": 200_000, "m": 199_999}]
    assert 0 < sum(asked) < there.size("tables/t.parquet") / 2, "two columns of three were never asked for"
    assert HELD_BYTES > 1000


def test_threads_that_share_a_file_do_not_read_each_others_places(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    objects = open_objects(tmp_path)
    table = pa.table({"row": np.arange(400_000), "x": rng.integers(0, 1 << 40, 400_000)})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=10_000)
    total = int(table["x"].to_numpy().sum())

    def ask(_: int) -> int:
        with Database() as database:
            database.query("set threads = 8")
            database.add_parquet("t", objects, ["t.parquet"])
            return int(database.query("select sum(x)::bigint as s from t where row >= 0")["s"][0].as_py())

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(ask, range(12))) == {total}


def test_a_file_that_is_gone_or_cut_is_named(tmp_path: Path) -> None:
    objects = open_objects(tmp_path)
    put(objects, "tables/scores.parquet", SCORES)
    with Database() as database:
        with pytest.raises(StudyError, match=rf"{tmp_path}/tables/nothing.parquet is gone"):
            database.add_parquet("nothing", objects, ["tables/nothing.parquet"])
        os.mkfifo(tmp_path / "tables/pipe.parquet")
        with pytest.raises(StudyError, match=rf"{tmp_path}/tables/pipe.parquet: a FIFO, not a file"):
            database.add_parquet("pipe", objects, ["tables/pipe.parquet"])
        (tmp_path / "tables/scores.parquet").write_bytes(b"PAR1" + os.urandom(50))
        with pytest.raises(StudyError, match=rf"{tmp_path}/tables/scores.parquet"):
            database.add_parquet("scores", objects, ["tables/scores.parquet"])


def test_json_of_a_result_has_no_nan(shut: Database) -> None:
    from xlli_ray.report.text import format_rows

    def refuse(word: str) -> float:
        raise AssertionError(word)

    rows = json.loads(format_rows(shut.query("from scores"), "json"), parse_constant=refuse)
    assert [row["psnr_y"] for row in rows] == [30.0, 31.0, None, None]
