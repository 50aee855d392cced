"""Room for workers: answered before anything starts, in words that say what is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xlli_ray.engine.options import Options
from xlli_ray.engine.pools import placement
from xlli_ray.engine.pools.gpus import Gpus
from xlli_ray.engine.pools.slots import check_cluster, check_options, describe, gpus_for, room_in, room_on
from xlli_ray.engine.run.driver import Summary
from xlli_ray.engine.worker.environment import device_name, take_share
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


@pytest.mark.parametrize(
    ("workers", "share", "gpus"), [(1, 1, 1), (4, 1, 4), (4, 0.25, 1), (5, 0.25, 2), (3, 1 / 3, 1), (4, 0.4, 2), (2, 3, 6), (7, 0, 0)]
)
def test_a_private_ray_has_the_gpus_that_its_workers_need(workers: int, share: float, gpus: int) -> None:
    assert gpus_for(workers, share) == gpus
    assert room_on({"CPU": workers, "GPU": gpus}, threads=1, gpus=share) >= workers


@pytest.mark.parametrize("share", [-1.0, 1.5, 1e-4, float("nan"), float("inf")])
def test_a_share_that_means_nothing_is_refused(share: float) -> None:
    with pytest.raises(PlanError, match="must be a fraction of one GPU"):
        check_options(Options(gpus_per_worker=share))


def test_a_run_that_lacks_its_gpus_touches_nothing(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "gpus_here", Gpus)
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
        check_cluster(nodes, "the cluster at head:1", threads=4, gpus=1.0, seconds=0.0)
    assert len(asked) >= 1


def test_a_node_that_is_just_coming_is_waited_for() -> None:
    answers = [[], [node(2)]]
    assert check_cluster(lambda: answers.pop(0), "head:1", threads=1, gpus=0, seconds=60.0) == 2


def test_a_gpu_that_torch_cannot_use_is_said_so() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("torch can use one here")
    with pytest.raises(EnvironmentFailure, match=r"torch cannot use a GPU on .*--device cpu computes on the CPU"):
        device_name("cuda")


def test_workers_that_share_a_gpu_may_fill_only_their_share_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    limits: list[Any] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, index: limits.append((round(share, 4), index)))
    for device, share in (("cuda", 0.25), ("cuda:1", 0.5), ("cuda", 1.0), ("cuda", 2.0), ("cpu", 0.0)):
        take_share(device, share)
    assert limits == [(0.2375, None), (0.475, 1)]  # five hundredths are left for CUDA itself
