"""Where a run computes: every combination of workers, shares and devices has a stated number of workers that fit, or a reason at once."""

from __future__ import annotations

import itertools
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers import digest

from xlli_ray.engine.options import Options
from xlli_ray.engine.pools import placement, slots
from xlli_ray.engine.pools.gpus import Gpus, visible
from xlli_ray.engine.pools.placement import Placement, place
from xlli_ray.engine.pools.slots import check_cluster, gpus_for, room_in, room_on
from xlli_ray.engine.run import driver, plan_apart
from xlli_ray.engine.run.driver import Summary
from xlli_ray.errors import EnvironmentFailure, PlanError
from xlli_ray.recipe import Recipe

H200 = "NVIDIA H200"


def having(count: int) -> Callable[[], Gpus]:
    return lambda: visible((H200,) * count, None)


@pytest.fixture(autouse=True)
def _a_machine_with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "torch_computes_on_gpus", lambda: True)
    monkeypatch.setattr(placement, "own_cores", lambda: 16)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


# -- everything -------------------------------------------------------------------------------------------------------

WORKERS = (None, 0, 1, 2, 5, 40)
SHARES = (0.0, 0.25, 0.3, 1.0, 2.0, math.nan)
DEVICES = ("auto", "cpu", "cuda", "cuda:1", "mps")
VISIBLE = (None, "", "0", "0,1")
BEGUN = ("", "cpu/AVX2", f"cuda/{H200}")
REASONS = r"must be|contradict|--workers \d|--device (cpu|cuda)|new --out|1 CPU and"


@pytest.mark.parametrize("address", [None, "head:6379"])
@pytest.mark.parametrize(("gpus", "cores"), [(0, 1), (0, 16), (1, 1), (1, 16), (2, 2), (4, 2), (4, 16)])
def test_every_combination_runs_with_workers_that_fit_or_says_at_once_why_not(
    address: str | None, gpus: int, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "own_cores", lambda: cores)
    monkeypatch.setattr(slots, "own_cores", lambda: cores)
    nodes = [{"Alive": True, "Resources": {"CPU": cores, **({"GPU": gpus} if gpus else {})}}]
    waited: list[float] = []
    monkeypatch.setattr(slots.time, "sleep", waited.append)
    for workers, share, device, setting, begun in itertools.product(WORKERS, SHARES, DEVICES, VISIBLE, BEGUN):
        here = visible((H200,) * gpus, setting)
        options = Options(workers=workers, address=address, gpus_per_worker=share, device=device)
        placed, count, reason = _outcome(options, begun, here, nodes)
        what = f"{options} with {here}: {placed}, {reason}"
        if placed is None:
            assert re.search(REASONS, reason), what
            continue
        local = address is None or placed.workers == 0
        assert (placed.share > 0) == (placed.device.startswith("cuda")), what
        if local and placed.device.startswith("cuda"):
            have = 1 if ":" in placed.device else here.count
            assert room_on({"CPU": 1000, "GPU": have}, threads=1, gpus=placed.share) >= max(count, 1), what
            assert gpus_for(max(count, 1), placed.share) <= have, what
            assert (placed.only in here.ids) == (":" in placed.device and count > 0), what
            assert placed.said, what
        elif not local:
            assert count >= 1, what
        if workers is not None:
            assert placed.workers == workers, what
        if placed.device == "cpu" and share == 0 and device == "auto" and not here.count and local:
            assert placed.said == "", what  # without a GPU nothing is said
    assert sum(waited) <= 5


def _outcome(options: Options, begun: str, here: Gpus, nodes: list[Any]) -> tuple[Placement | None, int, str]:
    """Placement and number of workers that a run would start, or the reason why it would not."""
    try:
        placed = place(options, begun=lambda: begun, gpus=lambda: here, nodes=lambda _: nodes)
        if options.address is not None and placed.workers != 0:
            return placed, check_cluster(lambda: nodes, "the cluster", threads=1, gpus=placed.share, seconds=0.0), ""
        return placed, slots.workers_here(1) if placed.workers is None else placed.workers, ""
    except (PlanError, EnvironmentFailure) as error:
        return None, 0, str(error)


# -- what is chosen ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpus", "options", "device", "workers", "share", "said"),
    [
        (0, {}, "cpu", None, 0, ""),
        (1, {}, "cuda", 0, 1, f"1 GPU ({H200}): 1 worker on it; --device cpu for the CPU"),
        (4, {}, "cuda", 4, 1, f"4 GPUs ({H200}): 4 workers, one GPU each; --device cpu for the CPU"),
        (4, {"workers": 0}, "cuda", 0, 1, f"4 GPUs ({H200}): 1 worker on the first of them; --device cpu for the CPU"),
        (1, {"workers": 1}, "cuda", 1, 1, f"1 GPU ({H200}): 1 worker on it; --device cpu for the CPU"),
        (1, {"workers": 4}, "cuda", 4, 0.25, f"1 GPU ({H200}): 4 workers, 0.25 of a GPU each; --device cpu for the CPU"),
        (2, {"workers": 3}, "cuda", 3, 0.5, f"2 GPUs ({H200}): 3 workers, 0.5 of a GPU each; --device cpu for the CPU"),
        (4, {"workers": 2}, "cuda", 2, 1, f"4 GPUs ({H200}): 2 workers, one GPU each; --device cpu for the CPU"),
        (2, {"device": "cpu"}, "cpu", None, 0, ""),
        (2, {"device": "cuda"}, "cuda", 2, 1, f"2 GPUs ({H200}): 2 workers, one GPU each"),
        (2, {"device": "cuda:1"}, "cuda:1", 0, 1, f"cuda:1 of 2 GPUs ({H200}): 1 worker on it"),
        (2, {"device": "cuda:1", "workers": 2}, "cuda:1", 2, 0.5, f"cuda:1 of 2 GPUs ({H200}): 2 workers, 0.5 of a GPU each"),
        (1, {"gpus_per_worker": 1.0}, "cuda", 0, 1, f"1 GPU ({H200}): 1 worker on it; --device cpu for the CPU"),
        (1, {"gpus_per_worker": 0.25}, "cuda", 4, 0.25, f"1 GPU ({H200}): 4 workers, 0.25 of a GPU each; --device cpu for the CPU"),
        (4, {"gpus_per_worker": 2.0}, "cuda", 2, 2, f"4 GPUs ({H200}): 2 workers, 2 GPUs each; --device cpu for the CPU"),
    ],
)
def test_all_gpus_are_used_by_one_worker_each_unless_told_otherwise(
    gpus: int, options: Mapping[str, Any], device: str, workers: int | None, share: float, said: str
) -> None:
    placed = place(Options(**options), gpus=having(gpus))
    assert (placed.device, placed.workers, placed.share, placed.said) == (device, workers, share, said)


def test_one_gpu_and_sixteen_cores_do_not_hang() -> None:
    """`--gpus-per-worker 1` without `--workers` once started sixteen workers, fifteen of which waited for a GPU."""
    assert place(Options(gpus_per_worker=1.0), gpus=having(1)).workers == 0
    assert place(Options(gpus_per_worker=0.1), gpus=having(1)).workers == 10


def test_workers_of_a_chosen_gpu_see_only_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,2")
    placed = place(Options(device="cuda:1", workers=1), gpus=lambda: visible((H200,) * 4, "3,2"))
    assert (placed.only, placed.worker_device) == ("2", "cuda")
    assert place(Options(device="cuda:1", workers=0), gpus=having(4)).worker_device == "cuda:1"  # this process sees all of them


def test_gpus_of_two_models_are_not_mixed_unless_rounding_does_not_matter() -> None:
    here = visible(("NVIDIA H100", H200), None)
    placed = place(Options(), gpus=lambda: here)
    assert (placed.device, placed.workers) == ("cuda:0", 0)
    assert placed.said.startswith(f"cuda:0 of 2 GPUs (NVIDIA H100, {H200}), a study is computed on one model: 1 worker on it")
    assert place(Options(workers=2), gpus=lambda: here).only == "0"
    assert place(Options(device="cuda:1"), gpus=lambda: here).device == "cuda:1"
    assert place(Options(any_device=True), gpus=lambda: here).workers == 2


def test_a_gpu_that_torch_is_not_built_for_is_named_and_the_cpu_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "torch_computes_on_gpus", lambda: False)
    placed = place(Options(), gpus=having(1))
    assert (placed.device, placed.workers) == ("cpu", None)
    assert placed.said == f"1 GPU ({H200}) is here, but the installed torch is built without CUDA: computing on the CPU"
    with pytest.raises(EnvironmentFailure, match=r"torch is built without CUDA.*--device cpu"):
        place(Options(device="cuda"), gpus=having(1))


def test_trainings_stay_in_this_process_unless_there_are_several_gpus() -> None:
    counts = [place(Options(), gpus=having(gpus), cpu_workers=0).workers for gpus in (0, 1, 3)]
    assert counts == [0, 0, 3]
    assert place(Options(workers=2), gpus=having(0), cpu_workers=0).workers == 2


# -- what is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpus", "options", "reason"),
    [
        (0, {"device": "cuda"}, r"--device cuda: no GPU is visible here; --device cpu.*--address"),
        (0, {"gpus_per_worker": 1.0}, r"--gpus-per-worker 1: no GPU is visible here"),
        (2, {"device": "cuda:2"}, rf"visible here are cuda:0 \({H200}\), cuda:1 \({H200}\)"),
        (1, {"workers": 2, "gpus_per_worker": 1.0}, r"--workers 2 .* need 2 GPUs, 1 visible here: room for 1 worker, --workers 1"),
        (1, {"gpus_per_worker": 2.0}, r"need 2 GPUs, 1 visible here: room for 0 workers"),
        (2, {"device": "cuda:0", "gpus_per_worker": 2.0}, r"need 2 GPUs, 1 visible"),
        (1, {"workers": 40}, r"--workers 40 on 1 GPU .*at most 16 share one, --workers 16"),
        (1, {"device": "cpu", "gpus_per_worker": 0.5}, r"contradict each other"),
        (1, {"device": "mps"}, r"Apple computer, this is Linux"),
        (1, {"device": "mps", "address": "head:1"}, r"--device cuda takes those of the cluster"),
        (1, {"device": "cuda:0", "address": "head:1"}, r"the cluster assigns its GPUs; write --device cuda"),
        (1, {"device": "cuda:x"}, r"--device must be auto, cpu, cuda, cuda:0, .* got 'cuda:x'"),
    ],
)
def test_what_cannot_run_is_refused_with_what_there_is(
    gpus: int, options: Mapping[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement.platform, "system", lambda: "Linux")
    with pytest.raises((EnvironmentFailure, PlanError), match=reason):
        place(Options(**options), gpus=having(gpus))


def test_the_reason_names_the_setting_that_hides_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(EnvironmentFailure, match=r"no GPU is visible here \(CUDA_VISIBLE_DEVICES=''\)"):
        place(Options(device="cuda"), gpus=having(0))


def test_an_apple_gpu_has_one_worker_and_is_used_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement.platform, "system", lambda: "Darwin")
    assert place(Options(), gpus=having(0)) == Placement("cpu", None)
    assert (place(Options(device="mps"), gpus=having(0)).workers, place(Options(device="mps", workers=1)).worker_device) == (0, "mps")
    assert place(Options(), begun=lambda: "mps/arm", gpus=having(0)).device == "mps"
    with pytest.raises(PlanError, match="one GPU, for one worker"):
        place(Options(device="mps", workers=2))


# -- a study that has a plan ----------------------------------------------------------------------------------------------


def test_a_study_begun_on_a_cpu_continues_there_and_says_so() -> None:
    placed = place(Options(workers=2), begun=lambda: "cpu/AVX2", gpus=having(1))
    assert (placed.device, placed.workers, placed.share) == ("cpu", 2, 0)
    assert placed.said == (
        f"1 GPU ({H200}) is here, but this study was planned for cpu/AVX2 and continues there; with a new --out it would compute on the GPU"
    )
    assert place(Options(), begun=lambda: "any", gpus=having(1)).device == "cuda"


@pytest.mark.parametrize(
    ("begun", "options"),
    [("cpu/AVX2", {"device": "cuda"}), ("cpu/AVX2", {"gpus_per_worker": 1.0}), (f"cuda/{H200}", {"device": "cpu"})],
)
def test_another_device_than_planned_is_refused_before_anything_runs(begun: str, options: Mapping[str, Any]) -> None:
    with pytest.raises(EnvironmentFailure, match=rf"planned for {begun}, and --.* was requested.*new --out"):
        place(Options(**options), begun=lambda: begun, gpus=having(1))
    place(Options(**options, any_device=True), begun=lambda: begun, gpus=having(1))


def test_the_plan_is_not_read_where_there_is_no_gpu() -> None:
    def never() -> str:
        raise AssertionError("read")

    assert place(Options(workers=3), begun=never, gpus=having(0)) == Placement("cpu", 3)


def test_samples_without_a_network_are_measured_on_the_cpu_unless_their_study_has_a_gpu() -> None:
    assert place(Options(gpus_per_worker=1.0), gpus=having(1), samples_alone=True) == Placement("cpu", None)
    assert place(Options(device="cuda"), gpus=having(0), samples_alone=True) == Placement("cpu", None)
    assert place(Options(), begun=lambda: f"cuda/{H200}", gpus=having(1), samples_alone=True).device == "cuda"


# -- clusters -----------------------------------------------------------------------------------------------------------


def node(cpus: int, gpus: int) -> dict[str, Any]:
    return {"Alive": True, "Resources": {"CPU": cpus, "GPU": gpus}}


@pytest.mark.parametrize(
    ("nodes", "options", "device", "workers", "share"),
    [
        ([node(8, 0)], {}, "cpu", None, 0),
        ([node(8, 2), node(8, 2)], {}, "cuda", None, 1),
        ([node(8, 2), node(8, 2)], {"workers": 4}, "cuda", 4, 1),
        ([node(8, 2), node(8, 2)], {"workers": 6}, "cuda", 6, 0.5),
        ([node(2, 2)], {"workers": 6}, "cuda", 6, 1),  # six do not fit its cores: the others begin when nodes come
        ([node(8, 2)], {"device": "cpu"}, "cpu", None, 0),
        ([node(8, 2)], {"gpus_per_worker": 0.25, "workers": 3}, "cuda", 3, 0.25),
    ],
)
def test_a_cluster_is_asked_for_its_gpus(
    nodes: list[Any], options: Mapping[str, Any], device: str, workers: int | None, share: float
) -> None:
    placed = place(Options(address="head:1", **options), nodes=lambda _: nodes, gpus=having(0))
    assert (placed.device, placed.workers, placed.share) == (device, workers, share)


def test_a_cluster_is_not_joined_for_a_study_begun_on_a_cpu() -> None:
    def never(_address: str) -> list[Any]:
        raise AssertionError("joined")

    assert place(Options(address="head:1"), begun=lambda: "cpu/AVX2", nodes=never).device == "cpu"
    assert place(Options(address="head:1", device="cpu"), nodes=never).device == "cpu"


def test_shares_on_a_cluster_fit_its_nodes() -> None:
    nodes = [node(16, 1), node(16, 3)]
    for workers in range(1, 33):
        share = place(Options(address="head:1", workers=workers), nodes=lambda _: nodes).share
        assert room_in(nodes, threads=1, gpus=share) >= workers


# -- studies -----------------------------------------------------------------------------------------------------------


def test_a_begun_study_continues_on_the_cpu_beside_a_gpu(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run(recipe(stages=[{"restore": {}}]))
    monkeypatch.setattr(placement, "gpus_here", having(1))
    assert run(recipe(), quiet=False).units_run > 0
    assert "is here, but this study was planned for cpu/" in capsys.readouterr().err
    with pytest.raises(EnvironmentFailure, match="--device cuda was requested"):
        run(recipe(), device="cuda")


def test_a_study_of_a_gpu_is_complete_without_one_and_new_units_are_refused(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_apart, "device_name", lambda _device: f"cuda/{H200}")
    monkeypatch.setattr(driver, "check_kind", lambda *_: None)
    with pytest.raises(EnvironmentFailure, match=f"planned for cuda/{H200}"):
        run(recipe())  # its worker, which is not deceived
    monkeypatch.undo()
    with pytest.raises(EnvironmentFailure, match=f"planned for cuda/{H200}, which .* does not have"):
        run(recipe())


def test_plan_counts_the_workers_of_the_gpus(
    recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(placement, "gpus_here", having(4))
    monkeypatch.setattr(plan_apart, "device_name", lambda _device: f"cuda/{H200}")
    asked = recipe()
    manifest, _ = driver.plan_study(asked, str(tmp_path / "study"), Options())
    assert manifest.device == f"cuda/{H200}"
    assert "4 workers, one GPU each" in capsys.readouterr().err
    assert driver.workers_of(asked, manifest, Options()) == 4
    assert driver.workers_of(asked, manifest, Options(workers=2)) == 2


def test_a_cluster_that_was_only_asked_is_left(monkeypatch: pytest.MonkeyPatch, recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    from xlli_ray.engine.run import session

    left: list[int] = []
    monkeypatch.setattr(session, "leave_cluster", lambda: left.append(1))
    monkeypatch.setattr(placement, "_nodes_at", lambda _address: [])
    with pytest.raises(PlanError, match="assigns its GPUs"):
        driver.run_study(recipe(), str(tmp_path / "study"), Options(address="head:1", device="cuda:1", quiet=True))
    assert left
    assert not (tmp_path / "study").exists()


def test_attribution_in_float64_is_refused_on_an_apple_gpu_and_features_are_not(
    recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(plan_apart, "device_name", lambda _device: "mps/arm")
    manifest, _ = driver.plan_study(recipe(), str(tmp_path / "a"), Options(device="mps", quiet=True))
    assert manifest.device == "mps/arm"
    with pytest.raises(PlanError, match=r"stage lam: lam computes in float64, .*--device cpu"):
        driver.plan_study(recipe(stages=[{"lam": {"nodes": 2}}], batch={}), str(tmp_path / "b"), Options(device="mps", quiet=True))


SHARED = """
import sys
from xlli_ray.engine.options import Options
from xlli_ray.engine.pools import placement
from xlli_ray.engine.pools.gpus import visible
from xlli_ray.engine.run import driver, plan_apart
from xlli_ray.engine.worker.environment import device_name
from xlli_ray.recipe import load_recipe

placement.gpus_here = lambda: visible(("GPU",), None)
placement.torch_computes_on_gpus = lambda: True
placement.Placement.worker_device = "cpu"
plan_apart.device_name = lambda _device: device_name("cpu")
driver.check_kind = lambda *_: None
print(driver.run_study(load_recipe(sys.argv[1]), sys.argv[2], Options(workers=3)).units_run)
"""


@pytest.mark.slow
def test_three_workers_on_a_third_of_a_gpu_each_start_and_end_with_the_bytes_of_one(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], corpus: Path, tmp_path: Path
) -> None:
    """Ray believes in the GPU, and the workers compute on the CPU. Once such a run waited forever."""
    run(recipe(stages=[{"restore": {"save": True}}], batch={"restore": 2}), "one")
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", SHARED, str(tmp_path / "recipe.yaml"), str(tmp_path / "three")]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120)
    assert int(done.stdout) > 0, done.stderr
    assert "1 GPU (GPU): 3 workers, 0.333 of a GPU each" in done.stderr
    assert digest(tmp_path / "three") == digest(tmp_path / "one")
