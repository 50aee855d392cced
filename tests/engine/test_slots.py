"""Room for workers: answered before anything starts, in words that say what is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from xlli_ray.engine.options import Options
from xlli_ray.engine.pools import slots
from xlli_ray.engine.pools.slots import check_cluster, check_here, check_options, describe, room_in, room_on, workers_here
from xlli_ray.engine.run.driver import Summary
from xlli_ray.engine.worker.environment import device_name
from xlli_ray.errors import EnvironmentFailure, PlanError
from xlli_ray.recipe import Recipe


def node(cpus: float, gpus: float = 0.0, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpus, **({"GPU": gpus} if gpus else {})}}


@pytest.mark.parametrize(
    ("cpus", "gpus", "threads", "share", "room"),
    [
        (8, 0, 1, 0, 8),
        (8, 0, 3, 0, 2),
        (8, 0, 1, 1, 0),
        (8, 2, 1, 1, 2),
        (8, 2, 1, 0.5, 4),
        (8, 2, 1, 0.4, 4),  # two fifths: two on each GPU, none on the parts that are left
        (8, 1, 1, 1 / 3, 3),
        (8, 3, 1, 2, 1),
        (1, 4, 1, 1, 1),
        (0, 4, 1, 1, 0),
    ],
)
def test_no_worker_is_counted_on_parts_of_two_gpus(cpus: float, gpus: float, threads: int, share: float, room: int) -> None:
    assert room_on({"CPU": cpus, "GPU": gpus}, threads=threads, gpus=share) == room


def test_room_is_counted_node_by_node_and_dead_nodes_have_none() -> None:
    nodes = [node(3), node(3), node(64, alive=False)]
    assert room_in(nodes, threads=2, gpus=0) == 2  # not 3: no worker spans two nodes
    assert describe([*nodes, node(8, 1)]) == "2 × (3 CPUs, 0 GPUs); 1 × (8 CPUs, 1 GPUs)"


def test_without_a_gpu_a_gpu_worker_is_refused_at_once_with_the_way_out() -> None:
    with pytest.raises(EnvironmentFailure, match=r"no GPU is visible here.*omit --gpus-per-worker.*--address"):
        check_here(Options(gpus_per_worker=1.0), gpus=lambda: 0)


@pytest.mark.parametrize("workers", [2, 5])
def test_more_workers_than_gpus_are_refused_with_the_number_that_fits(workers: int) -> None:
    with pytest.raises(EnvironmentFailure, match=rf"--workers {workers} .* need {workers} GPUs, 1 visible here.*--workers 1"):
        check_here(Options(workers=workers, gpus_per_worker=1.0), gpus=lambda: 1)
    check_here(Options(workers=1, gpus_per_worker=1.0), gpus=lambda: 1)
    check_here(Options(workers=workers, gpus_per_worker=0.2), gpus=lambda: 1)


def test_nobody_looks_for_gpus_that_nobody_asked_for() -> None:
    def never() -> int:
        raise AssertionError("looked")

    check_here(Options(workers=64), gpus=never)
    check_here(Options(gpus_per_worker=1.0, address="head:6379"), gpus=never)  # the cluster's are another matter


@pytest.mark.parametrize(("cores", "gpus", "share", "workers"), [(8, 2, 1, 2), (8, 2, 0.25, 8), (2, 4, 1, 4), (8, 0, 1, 1), (8, 4, 0, 8)])
def test_the_default_number_of_workers_respects_gpus(
    monkeypatch: pytest.MonkeyPatch, cores: int, gpus: int, share: float, workers: int
) -> None:
    monkeypatch.setattr(slots, "own_cores", lambda: cores)
    monkeypatch.setattr(slots, "gpus_here", lambda: gpus)
    assert workers_here(Options(gpus_per_worker=share), 1) == workers


def test_gpus_that_are_hidden_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import accelerators

    def manager(visible: list[str] | None) -> SimpleNamespace:
        return SimpleNamespace(get_current_node_num_accelerators=lambda: 4, get_current_process_visible_accelerator_ids=lambda: visible)

    for visible, count in ((None, 4), (["0", "2"], 2), ([], 0)):
        monkeypatch.setattr(accelerators, "get_accelerator_manager_for_resource", lambda _name, visible=visible: manager(visible))
        assert slots.gpus_here() == count


@pytest.mark.parametrize("share", [-1.0, 1.5, float("nan"), float("inf")])
def test_a_share_that_means_nothing_is_refused(share: float) -> None:
    with pytest.raises(PlanError, match="must be a fraction of one GPU"):
        check_options(Options(gpus_per_worker=share))


def test_a_run_that_lacks_its_gpus_touches_nothing(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "gpus_here", lambda: 0)
    with pytest.raises(EnvironmentFailure, match="no GPU"):
        run(recipe(), workers=2, gpus_per_worker=1.0)
    with pytest.raises(PlanError, match=r"--workers must be an integer ≥ 0 .*got -1"):
        run(recipe(), workers=-1)
    assert not (tmp_path / "study").exists()


def test_a_cluster_without_room_is_refused_in_seconds_with_what_its_nodes_have() -> None:
    asked: list[int] = []

    def nodes() -> list[Any]:
        asked.append(1)
        return [node(2), node(2)]

    with pytest.raises(EnvironmentFailure, match=r"at head:1 has room for a worker of 4 CPUs and 1 GPU: 2 × \(2 CPUs, 0 GPUs\)"):
        check_cluster(nodes, "head:1", threads=4, gpus=1.0, seconds=0.0)
    assert len(asked) >= 1


def test_a_node_that_is_just_coming_is_waited_for() -> None:
    answers = [[], [node(2)]]
    assert check_cluster(lambda: answers.pop(0), "head:1", threads=1, gpus=0, seconds=60.0) == 2


def test_a_gpu_that_torch_cannot_use_is_said_so() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("torch can use one here")
    with pytest.raises(EnvironmentFailure, match=r"torch cannot use a GPU on .*Leave --gpus-per-worker out"):
        device_name("cuda")
