"""When a pool is made and closed: ahead of its use, once, and never for nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xlli_ray.engine.options import Options
from xlli_ray.engine.pools.run_pool import Pools
from xlli_ray.engine.run.driver import Summary
from xlli_ray.engine.worker.tasks import WorkerSpec, with_readers
from xlli_ray.errors import EnvironmentFailure
from xlli_ray.recipe import Recipe
from xlli_ray.store.objects.client import open_objects


class Fake:
    workers = 1

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def pools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Pools, list[Any]]]:
    """Pools that make fakes, and the list of those made, each with the thread it was made in."""

    def make(error: Exception | None = None, **options: Any) -> tuple[Pools, list[Any]]:
        made: list[Any] = []

        def one(self: Pools) -> Fake:
            if error is not None:
                raise error
            made.append((Fake(), threading.current_thread()))
            return made[-1][0]

        monkeypatch.setattr(Pools, "_make", one)
        return Pools(Options(**{"workers": 2, **options}), WorkerSpec(str(tmp_path), 1), open_objects(tmp_path), ()), made

    return make


def test_a_warmed_pool_is_made_once_in_another_thread_and_closed_once(pools: Any) -> None:
    ours, made = pools()
    ours.warm()
    ours.warm()
    assert ours() is ours() is made[0][0]
    assert made[0][1] is not threading.current_thread()
    ours.cool()
    ours.close()
    ours.close()
    assert len(made) == 1
    assert made[0][0].closed == 1


def test_a_pool_that_was_warmed_and_never_used_is_closed(pools: Any) -> None:
    ours, made = pools()
    ours.warm()
    ours.close()
    assert made[0][0].closed == 1


def test_without_work_nothing_is_made(pools: Any) -> None:
    ours, made = pools()
    ours.cool()
    ours.close()
    assert made == []


@pytest.mark.parametrize("options", [{"workers": 0}, {"address": "auto"}], ids=["in process", "on a cluster"])
def test_only_a_private_ray_is_started_ahead(pools: Any, options: dict[str, Any]) -> None:
    ours, made = pools(**options)
    ours.warm()
    assert made == []
    ours()
    assert made[0][1] is threading.current_thread()
    ours.close()


def test_what_goes_wrong_ahead_comes_out_where_the_pool_is_needed(pools: Any) -> None:
    ours, _ = pools(EnvironmentFailure(111, "cannot reach a private Ray"))
    ours.warm()
    with pytest.raises(EnvironmentFailure, match="private Ray"):
        ours()
    ours.close()


def test_what_is_loaded_meanwhile_is_loaded_once_there_is_no_more_work(pools: Any) -> None:
    ours, made = pools()
    loaded: list[threading.Thread] = []

    def load() -> None:
        assert made, "the pool comes first"
        loaded.append(threading.current_thread())
        raise ImportError("reported where it is needed")

    ours.warm()
    ours.meanwhile(load)
    ours.cool()
    assert len(loaded) == 1
    assert loaded[0] is not threading.current_thread()
    ours.close()
    assert made[0][0].closed == 1


def test_a_complete_study_starts_no_pool(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recipe()
    run(made)

    def never(self: Pools) -> Any:
        raise AssertionError("a pool was made for nothing")

    monkeypatch.setattr(Pools, "_make", never)
    assert run(made, workers=2).complete


@pytest.mark.parametrize(
    ("device", "threads", "workers", "cores", "readers"),
    [
        ("cpu", 1, 2, 2, 0),  # as many workers as cores
        ("cpu", 1, 8, 2, 0),
        ("cpu", 1, 1, 2, 2),  # a core to spare
        ("cpu", 2, 1, 2, 2),  # would leave a core idle while it decodes
        ("cuda", 1, 2, 2, 2),  # a GPU waits for nobody
    ],
)
def test_workers_read_by_themselves_where_they_fill_the_cores(device: str, threads: int, workers: int, cores: int, readers: int) -> None:
    assert with_readers(WorkerSpec("", 1, device, threads), workers=workers, cores=cores).readers == readers


def test_who_joins_a_cluster_is_who_leaves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Had somebody joined before the pool, the pool would take Ray for the caller's own and leave it connected."""
    from xlli_ray.engine.pools import ray_pool

    class Joins(Fake):
        room = 2

        def __init__(self, spec: WorkerSpec, **_: Any) -> None:
            super().__init__()

        def wait_ready(self) -> None: ...

    def joined_too_early(*_: Any, **__: Any) -> bool:
        raise AssertionError("joined before the pool")

    monkeypatch.setattr(ray_pool, "connect", joined_too_early)
    monkeypatch.setattr(ray_pool, "nodes_see", lambda *_: None)
    monkeypatch.setattr(ray_pool, "RayPool", Joins)
    ours = Pools(Options(workers=2, address="head:6379"), WorkerSpec(str(tmp_path), 1), open_objects(tmp_path), ())
    assert isinstance(ours(), Joins)
    ours.close()
