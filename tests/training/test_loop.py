"""The training loop: the same bytes each time and after every interruption, and it learns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from xlli_ray.errors import NetworkError, RecipeError, WeightsError
from xlli_ray.models.checkpoint import to_safetensors
from xlli_ray.training.data import read_images
from xlli_ray.training.images import scan_here
from xlli_ray.training.loop import Trainer, device_of, read_log
from xlli_ray.training.recipe import Job
from xlli_ray.training.steps import build_network, learning_rate

MIXED = [{"blur": [0, 4], "noise": [0, 20]}]


def digest(trainer: Trainer) -> str:
    return hashlib.sha256(to_safetensors(trainer.averaged.state_dict())).hexdigest()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_recipe_gives_the_same_bytes(make_job, make_trainer, tmp_path: Path, precision: str) -> None:
    job = make_job(precision=precision, degradations=MIXED)
    first, second = make_trainer(job, tmp_path / "a"), make_trainer(job, tmp_path / "b")
    first.run()
    second.run()
    assert digest(first) == digest(second)
    assert (tmp_path / "a/log.jsonl").read_bytes() == (tmp_path / "b/log.jsonl").read_bytes()
    other = make_trainer(make_job(precision=precision, degradations=MIXED, seed=1), tmp_path / "c")
    other.run()
    assert digest(other) != digest(first)


@pytest.mark.parametrize("gan", [None, {"width": 4}])
def test_an_interrupted_training_ends_with_the_bytes_of_an_unbroken_one(make_job, make_trainer, tmp_path, gan) -> None:
    job = make_job(gan=gan, degradations=MIXED, checkpoint_every=6)
    whole = make_trainer(job, tmp_path / "whole")
    whole.run()
    for stop in (5, 13):
        make_trainer(job, tmp_path / "broken").run(until=stop)
    last = make_trainer(job, tmp_path / "broken")
    assert last.iteration == 13
    last.run()
    assert digest(last) == digest(whole)
    assert (tmp_path / "broken/log.jsonl").read_bytes() == (tmp_path / "whole/log.jsonl").read_bytes()


def test_lines_logged_after_the_last_checkpoint_are_logged_once(make_job, make_trainer, tmp_path: Path) -> None:
    job = make_job(iterations=100)
    make_trainer(job, tmp_path).run(until=50)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"iteration": 60, "loss": 1.0}\n{"iterat')  # what a killed process leaves
    again = make_trainer(job, tmp_path)
    again.run()
    assert [line["iteration"] for line in read_log(tmp_path / "log.jsonl")] == [50, 100]


def test_a_folder_of_another_training_is_refused(make_job, make_trainer, photos: Path, tmp_path: Path) -> None:
    make_trainer(make_job(), tmp_path).run(until=2)
    with pytest.raises(RecipeError, match=r"another, unfinished training: train\.lr was 0\.001, is now 0\.5"):
        make_trainer(make_job(lr=0.5), tmp_path)
    fewer = make_job(corpus={"images": [str(photos / "photo[01].png")]})
    with pytest.raises(RecipeError, match="images: 2 now, 4 then"):
        make_trainer(fewer, tmp_path)


def test_a_checkpoint_from_before_identities_goes_on_and_is_compared_by_its_hashes(make_job, make_trainer, photos, tmp_path: Path) -> None:
    job = make_job()
    make_trainer(job, tmp_path).run(until=2)
    path = tmp_path / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    del state["identity"]
    images, _ = read_images(job.corpus, scan_here(job.corpus.scanned()))
    old = hashlib.sha256("".join(image.sha256 for image in images).encode()).hexdigest()
    torch.save({**state, "recipe": job.recipe_hash(), "pictures": old}, path)
    assert make_trainer(job, tmp_path).iteration == 2
    with pytest.raises(RecipeError, match="the recipe's hash was"):
        make_trainer(make_job(lr=0.5), tmp_path)
    with pytest.raises(RecipeError, match="images: not those"):
        make_trainer(make_job(corpus={"images": [str(photos / "photo[01].png")]}), tmp_path)


def test_twins_with_and_without_global_residual_start_from_the_same_draws(make_job) -> None:
    first = build_network(make_job(args={"width": 8, "blocks": 2, "global_residual": "bilinear"}).train, 0)
    second = build_network(make_job(args={"width": 8, "blocks": 2, "global_residual": "none"}).train, 0)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(first.head.conv.weight, build_network(make_job().train, 1).head.conv.weight)


def test_the_loss_falls_and_progress_says_so(make_job, make_trainer, tmp_path: Path) -> None:
    seen = []
    scores: Callable[[object], dict[str, float]] = lambda network: {"psnr_y": 30.0}  # noqa: E731
    job = Job(
        **{
            **make_job(iterations=150, loss="l2", lr=3e-3, ema=0.9).model_dump(),
            "validate_on": {"images": ["x"], "every": 75},
        }
    )
    trainer = make_trainer(job, tmp_path, validate=scores)
    trainer.run(seen.append)
    assert [line["iteration"] for line in read_log(tmp_path / "log.jsonl")] == [50, 75, 100, 150]
    assert seen[-1].loss < 0.9 * seen[0].loss
    assert seen[-1].iteration == seen[-1].iterations == 150
    assert seen[1].validation == {"psnr_y": 30.0}
    assert "75/150" in seen[1].line
    assert "psnr_y 30.00" in seen[1].line


def test_the_adversarial_stage_trains_both_sides(make_job, make_trainer, tmp_path: Path) -> None:
    pixel = make_trainer(make_job(), tmp_path / "pixel")
    pixel.run()
    start = {key: value.clone() for key, value in pixel.averaged.state_dict().items()}
    twin = make_trainer(make_job(gan={"width": 4, "weight": 0.1}, init="pixel"), tmp_path / "gan", init=start)
    before = [p.detach().clone() for p in twin._adversary.network.parameters()]
    assert torch.equal(twin.network.last.weight.cpu(), start["last.weight"])
    twin.run()
    assert any(not torch.equal(a, b) for a, b in zip(before, twin._adversary.network.parameters(), strict=True))
    assert not torch.equal(twin.averaged.last.weight.cpu(), start["last.weight"])
    line = json.loads((tmp_path / "gan/log.jsonl").read_text().splitlines()[-1])
    assert set(line) == {"iteration", "loss", "real", "fake"}
    assert 0 <= line["real"] <= 1


def test_weights_that_do_not_fit_cannot_be_the_first_weights(make_job, make_trainer, tmp_path: Path) -> None:
    other = build_network(make_job(args={"width": 16, "blocks": 2}).train, 0)
    with pytest.raises(WeightsError, match=r"train.init 'wider'"):
        make_trainer(make_job(init="wider"), tmp_path, init=other.state_dict())


def test_a_network_without_image_learns_which_photograph_it_sees(
    make_job, make_trainer, photos, tmp_path: Path
) -> None:
    job = make_job(
        network="toy_trainees:Classifier", args={"classes": 4}, loss="cross_entropy", iterations=150, lr=2e-2, crop=32,
        batch=16, corpus={"inputs": [str(photos / "*.png")]}, ema=0.0,
    )  # fmt: skip
    trainer = make_trainer(job, tmp_path)
    trainer.run()
    assert read_log(tmp_path / "log.jsonl")[-1]["loss"] < 0.6  # chance is log 4 = 1.39
    few = make_job(
        network="toy_trainees:Classifier", args={"classes": 2}, loss="cross_entropy", crop=32,
        corpus={"inputs": [str(photos / "*.png")]},
    )  # fmt: skip
    with pytest.raises(NetworkError, match="one logit per image"):
        make_trainer(few, tmp_path / "few").run()


def test_restoration_at_the_same_size_trains_from_pairs_and_from_degraded_images(
    make_job, make_trainer, photos, tmp_path
) -> None:
    files = str(photos / "*.png")
    for name, corpus in {
        "pairs": {"pairs": {"input": files, "target": files}},
        "noise": {"images": [files], "scale": 1, "degradations": [{"noise": 20}]},
    }.items():
        trainer = make_trainer(
            make_job(network="toy_trainees:Denoiser", args={"width": 4}, corpus=corpus), tmp_path / name
        )
        trainer.run()
        assert trainer.iteration == 20
    wrong = make_job(network="toy_trainees:Denoiser", args={})  # scale 4, but the network keeps the size
    with pytest.raises(NetworkError, match=r"returns \(4, 3, 12, 12\), the targets are \(4, 3, 48, 48\)"):
        make_trainer(wrong, tmp_path / "wrong").run()


def test_what_cannot_be_trained_says_why(make_job, make_trainer, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"network 'imdn' can only be read from checkpoints"):
        build_network(make_job(network="imdn", args={}).train, 0)
    with pytest.raises(NetworkError, match="cannot be imported"):
        build_network(make_job(network="toy_trainees:Absent", args={}).train, 0)
    with pytest.raises(RecipeError, match="fp16 is for GPUs"):
        make_trainer(make_job(precision="fp16", device="cpu"), tmp_path / "half")
    exploding = make_job(
        network="toy_trainees:Exploding", args={}, corpus={"images": [str(photos / "*.png")], "scale": 1}
    )
    with pytest.raises(NetworkError, match=r"the loss is nan at iteration 20"):
        make_trainer(exploding, tmp_path / "nan").run()


def test_the_learning_rate_warms_up_and_falls_to_its_share(make_job) -> None:
    train = make_job(iterations=1000, lr=1.0, warmup=100, final_lr=0.01).train
    assert learning_rate(train, 0) == pytest.approx(0.01)
    assert learning_rate(train, 99) == pytest.approx(0.975, abs=0.01)
    assert learning_rate(train, 500) == pytest.approx(0.505)
    assert learning_rate(train, 999) == pytest.approx(0.01, abs=1e-4)


def test_training_leaves_the_threads_and_random_state_of_the_process_alone(
    make_job, make_trainer, tmp_path: Path
) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    make_trainer(make_job(gan={"width": 4}, iterations=3, threads=2), tmp_path).run()
    build_network(make_job(network="toy_trainees:Denoiser", args={}).train, 0)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_a_damaged_checkpoint_of_a_training_is_named_with_the_way_out(
    tmp_path: Path, make_job: Callable[..., Job], make_trainer: Callable[..., Trainer], kept: float
) -> None:
    make_trainer(make_job(iterations=2), tmp_path).run(until=1)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(WeightsError, match=r"checkpoint\.pt: damaged .* Delete the folder"):
        make_trainer(make_job(iterations=2), tmp_path)


@pytest.mark.parametrize(
    ("wanted", "assigned", "device"),
    [("auto", "cuda", "cuda"), ("auto", "cpu", "cpu"), ("cuda:1", "cuda", "cuda"), ("cpu", "cuda", "cpu"), ("cuda:1", None, "cuda:1")],
)
def test_a_worker_trains_on_the_gpu_that_it_was_assigned(wanted: str, assigned: str | None, device: str) -> None:
    assert str(device_of(wanted, assigned)) == device
