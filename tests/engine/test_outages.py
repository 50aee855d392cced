"""An outage is not a bad sample: the run stops and marks nothing, and the same command afterwards gives the undisturbed bytes."""

from __future__ import annotations

import errno
import itertools
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import digest, image
from PIL import Image

from xlli_ray.corpus.files import outages, sources
from xlli_ray.corpus.files.faults import FileFault, judge
from xlli_ray.corpus.files.sources import list_files
from xlli_ray.engine.events import Events
from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import Summary, run_study, scan_study
from xlli_ray.errors import EnvironmentFailure
from xlli_ray.recipe import Recipe, load_recipe
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.verify.check_study import verify
from xlli_ray.study import open_study

Make = Callable[..., Recipe]
Run = Callable[..., Summary]

TROUBLE = {
    "denied": PermissionError(errno.EACCES, "Permission denied"),
    "missing": FileNotFoundError(errno.ENOENT, "No such file or directory"),
    "disk": OSError(errno.EIO, "Input/output error"),
    "stale": OSError(errno.ESTALE, "Stale file handle"),
    "reset": ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    "timeout": TimeoutError(),
}


class World:
    """Reads of corpus files from the `after`-th on end as `bad` says: an exception, other bytes, or (None) well."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bad: Callable[[str, int], Exception | bytes | None] = lambda uri, count: None
        self.count = 0
        self._lock = threading.Lock()
        monkeypatch.setattr(outages, "read_bytes", self.read)
        monkeypatch.setattr(outages, "PAUSES", (0.001, 0.002))
        monkeypatch.setattr(outages, "SECOND_LOOK", 0.001)

    def read(self, uri: str) -> bytes:
        with self._lock:
            self.count += 1
            bad = self.bad(uri, self.count)
        if isinstance(bad, Exception):
            raise judge(uri, bad) from bad
        return sources.read_bytes(uri) if bad is None else bad


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def failures(study: Path) -> list[dict[str, Any]]:
    """Failed rows, those of the scan included; none where nothing was planned yet."""
    if not (study / "study.json").exists():
        return []
    opened = open_study(study)
    return [] if opened.manifest.samples is None else opened.failures.to_pylist()


def study_is_whole(study: Path) -> bool:
    opened = open_study(study)
    return not list(verify(opened.archive))


def scan_records(study: Path) -> int:
    return len(list((study / "records").glob("scan-*/*.arrow")))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, dict[str, str]]:
    """A recipe whose corpus no test changes, and what its run gives."""
    place = tmp_path_factory.mktemp("undisturbed")
    (place / "images").mkdir()
    for i in range(12):
        Image.fromarray(image(i, *((48, 48) if i % 3 else (40, 56)))).save(place / "images" / f"{i:02d}.png")
    (place / "recipe.yaml").write_text(yaml.safe_dump({
        "name": "toy",
        "baseline": False,
        "corpus": {"images": [f"{place}/images/*.png"], "scale": 2, "degradations": ["clean", {"noise": 20}]},
        "models": [{"id": "small", "network": "toy:small"}],
        "stages": [{"features": {"layers": ["head"]}}, {"restore": {}}],
        "batch": {"features": 2, "restore": 2},
    }))  # fmt: skip
    made = load_recipe(place / "recipe.yaml")
    run_study(made, str(place / "study"), Options(workers=0, quiet=True))
    return made, digest(place / "study")


PAGE = "a page that asks for a password"
WHEN = [*((name, 3) for name in ("denied", "missing", "disk", "reset")), *((name, 20) for name in (*TROUBLE, PAGE)), ("denied", 23)]


@pytest.mark.parametrize(("name", "after"), WHEN)
def test_an_outage_of_the_corpus_stops_the_run_marks_nothing_and_the_same_command_ends_in_the_same_bytes(
    undisturbed: tuple[Recipe, dict[str, str]], run: Run, world: World, tmp_path: Path, name: str, after: int
) -> None:
    """The first twelve reads are the scan's."""
    made, wanted = undisturbed
    bad = TROUBLE.get(name, b"<html>please log in</html>")
    world.bad = lambda uri, count: bad if count >= after else None
    with pytest.raises(EnvironmentFailure, match="othing is"):
        run(made)
    assert world.count >= after
    assert failures(tmp_path / "study") == []
    assert scan_records(tmp_path / "study") == (after > 12), "no file was rejected"
    world.bad = lambda uri, count: None
    run(made)
    assert digest(tmp_path / "study") == wanted
    assert study_is_whole(tmp_path / "study")


@pytest.mark.parametrize("name", ["denied", "missing", "changed"])
def test_one_bad_file_is_a_failed_row_and_the_rest_is_measured(
    recipe: Make, run: Run, world: World, corpus: Path, tmp_path: Path, name: str
) -> None:
    made = recipe()
    scan_study(made, str(tmp_path / "study"), Options(workers=0, quiet=True))
    bad = TROUBLE.get(name, b"other bytes")
    world.bad = lambda uri, count: bad if uri.endswith("05.png") else None
    summary = run(made)
    assert (summary.failed, summary.measurements) == (2, 24)
    assert {name in row["reason"] for row in failures(tmp_path / "study")} == {True}
    world.bad = lambda uri, count: None
    assert run(made).complete
    assert run(made, retry_failed=True).failed == 0
    run(made, "undisturbed")
    assert digest(tmp_path / "study") == digest(tmp_path / "undisturbed")


def after_units(monkeypatch: pytest.MonkeyPatch, number: int, do: Callable[[], object]) -> None:
    """`do` is called once, when that many units have ended."""
    event, ended = Events.event, itertools.count(1)

    def heard(self: Events, kind: str, **fields: Any) -> None:
        event(self, kind, **fields)
        if kind == "unit" and next(ended) == number:
            do()

    monkeypatch.setattr(Events, "event", heard)


@pytest.mark.parametrize("moment", ["gone", "empty"])
def test_a_folder_that_is_unmounted_while_units_run(
    recipe: Make, run: Run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    made, away = recipe(), corpus.with_name("away")
    run(made, "undisturbed")

    def unmount() -> None:
        corpus.rename(away)
        if moment == "empty":
            corpus.mkdir()

    after_units(monkeypatch, 2, unmount)
    with pytest.raises(EnvironmentFailure, match="is it mounted"):
        run(made)
    monkeypatch.undo()
    assert failures(tmp_path / "study") == []
    if moment == "empty":
        corpus.rmdir()
    away.rename(corpus)
    run(made)
    assert digest(tmp_path / "study") == digest(tmp_path / "undisturbed")


@pytest.mark.parametrize("moment", [2, 4])
@pytest.mark.parametrize("how", ["gone", "another device"])
def test_a_study_that_is_unmounted_while_units_run_is_not_begun_anew_where_it_was(
    undisturbed: tuple[Recipe, dict[str, str]], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int, how: str
) -> None:
    made, wanted = undisturbed
    study, away = tmp_path / "study", tmp_path / "away"

    def unmount() -> None:
        study.rename(away)
        if how != "gone":  # what lies below a mount point is a folder, of another file system
            stat = os.stat
            monkeypatch.setattr(
                os, "stat", lambda path, **kw: os.stat_result([*stat(path, **kw)[:2], -1, *stat(path, **kw)[3:]])
                if path == study else stat(path, **kw),
            )  # fmt: skip
            study.mkdir()  # last: another thread may write at any moment

    after_units(monkeypatch, moment, unmount)
    with pytest.raises(EnvironmentFailure, match=r"is gone|different file system|vanished"):
        run(made)
    monkeypatch.undo()
    assert not study.exists() or list(study.iterdir()) == [], "nothing was written where the study had been"
    if study.exists():
        study.rmdir()
    away.rename(study)
    run(made)
    assert digest(study) == wanted


def test_a_folder_of_records_that_cannot_be_listed_is_no_empty_one(
    undisturbed: tuple[Recipe, dict[str, str]], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = undisturbed
    run(made)
    objects = open_objects(tmp_path / "study")
    scandir = os.scandir

    def fail(path: Any) -> Any:
        if "records" in str(path):
            raise OSError(errno.ESTALE, "Stale file handle")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(EnvironmentFailure, match="mount it again"):
        list(objects.list("records"))
    with pytest.raises(EnvironmentFailure, match="mount it again"):
        run(made)


def test_an_outage_is_told_across_ray_too(
    undisturbed: tuple[Recipe, dict[str, str]], run: Run, tmp_path: Path, ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, wanted = undisturbed
    corpus = Path(list_files(made.corpus.images or [], "/")[0]).parent
    away = corpus.with_name("away")
    event = Events.event

    def unmount(self: Events, kind: str, **fields: Any) -> None:
        event(self, kind, **fields)
        if kind == "end" and fields["phase"] == "scan" and corpus.exists():
            corpus.rename(away)

    monkeypatch.setattr(Events, "event", unmount)
    try:
        with pytest.raises(EnvironmentFailure, match="is it mounted"):
            run(made, workers=1)
    finally:
        away.rename(corpus)
    monkeypatch.undo()
    assert failures(tmp_path / "study") == []
    run(made)
    assert digest(tmp_path / "study") == wanted


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 40))])
def test_reads_that_fail_at_random_end_in_the_undisturbed_bytes_or_in_a_stop(
    undisturbed: tuple[Recipe, dict[str, str]], run: Run, world: World, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    share = (0.02, 0.1, 0.3)[seed % 3]
    made, wanted = undisturbed
    kinds = [*TROUBLE.values(), b"cut on its way"]
    world.bad = lambda uri, count: chance.choice(kinds) if chance.random() < share else None
    for _ in range(8):
        try:
            run(made)
            break
        except EnvironmentFailure:
            assert failures(tmp_path / "study") == []
    world.bad = lambda uri, count: None
    run(made)
    assert digest(tmp_path / "study") == wanted


def test_rejected_files_are_read_again_by_retry_failed_and_by_scan(recipe: Make, run: Run, corpus: Path, tmp_path: Path) -> None:
    good = (corpus / "05.png").read_bytes()
    for name, again in (("a", "retry"), ("b", "scan")):
        (corpus / "05.png").write_bytes(good[: len(good) // 2])
        first = scan_study(recipe(), str(tmp_path / name), Options(workers=0, quiet=True))
        assert first.samples is not None
        assert first.samples.rejected == 1
        (corpus / "05.png").write_bytes(good)
        if again == "scan":
            second = scan_study(recipe(), str(tmp_path / name), Options(workers=0, quiet=True))
            assert second.samples is not None
            assert (second.samples.rejected, second.samples.rows) == (0, 24)
        summary = run(recipe(), name, retry_failed=again == "retry")
        assert (summary.rejected, summary.samples, summary.failed) == (0, 24, 0)
    run(recipe(), "undisturbed")
    assert digest(tmp_path / "a") == digest(tmp_path / "b") == digest(tmp_path / "undisturbed")


def test_a_study_that_was_measured_does_not_grow_by_files_that_are_good_now_and_says_so(
    recipe: Make, run: Run, corpus: Path, tmp_path: Path
) -> None:
    good = (corpus / "05.png").read_bytes()
    (corpus / "05.png").write_bytes(b"")
    assert run(recipe()).rejected == 1
    before = digest(tmp_path / "study")
    assert not run(recipe(), retry_failed=True).notes
    (corpus / "05.png").write_bytes(good)
    again = run(recipe(), retry_failed=True)
    assert "1 rejected file can be read now" in again.notes[0]
    assert digest(tmp_path / "study") == before


@pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens")
def test_a_study_whose_samples_all_failed_says_so_loudly_everywhere(
    recipe: Make, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from xlli_ray.__main__ import main

    recipe("toy:nan_everywhere", stages=[{"restore": {}}])
    arguments = ["xlli", "run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "study"), "--workers", "0", "--quiet"]

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["xlli", *words])
        monkeypatch.setattr("signal.signal", lambda *_: None)
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    for _ in range(2):
        code, said = call(*arguments[1:])
        assert code == 1
        assert "ALL 24 measurements failed" in said
        assert "nothing to do" not in said
    assert "ALL 24 MEASUREMENTS FAILED" in call("status", str(tmp_path / "study"))[1]
    assert "ALL 24 measurements failed" in call("verify", str(tmp_path / "study"))[1]


def test_a_image_that_is_replaced_by_a_pipe_does_not_hang_the_run(
    recipe: Make, run: Run, corpus: Path, tmp_path: Path
) -> None:
    os.mkfifo(corpus / "99.png")
    Image.fromarray(image(99)).save(corpus / "98.png")
    summary = run(recipe())
    assert summary.samples == 26, "a pattern finds files only"
    (corpus / "98.png").unlink()
    os.mkfifo(corpus / "98.png")
    again = run(recipe(), "other")
    assert again.samples == 24
    with pytest.raises(FileFault, match="a pipe"):
        sources.read_bytes(str(corpus / "98.png"))
