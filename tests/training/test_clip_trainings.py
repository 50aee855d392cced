"""Trainings over clips: of known motion and of real ones; networks that give all frames or the centre one; the known flow; identities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from toy_clip_trainees import Told
from toy_pictures import textured

from xlli_ray.corpus.degradations import Mixture
from xlli_ray.corpus.degradations.keyed_random import generator
from xlli_ray.corpus.motion.frames import frames
from xlli_ray.corpus.resize import downscale
from xlli_ray.errors import NetworkError, RecipeError
from xlli_ray.training.corpus import TrainCorpus
from xlli_ray.training.data import Batch, turned_clip
from xlli_ray.training.identity import identity_of
from xlli_ray.training.images import scan_here
from xlli_ray.training.job_crops import crops_of
from xlli_ray.training.loop import EPSILON, LOSSES, Trainer
from xlli_ray.training.motion_crops import MotionCrops, turned_flow
from xlli_ray.training.recipe import Job, Train
from xlli_ray.training.run import train

TRAIN: dict[str, Any] = {
    "network": "toy_clip_trainees.py:neighbours", "folder": str(Path(__file__).parent), "iterations": 4, "batch": 2, "crop": 24,
    "min_gradient": 0, "warmup": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for index in range(3):
        Image.fromarray(textured(120, 140, index)).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of five frames, each frame a constant plus its number."""
    folder = tmp_path_factory.mktemp("films")
    for clip in range(2):
        (folder / str(clip)).mkdir()
        for number in range(5):
            Image.fromarray(textured(40, 52, clip) // 2 + 10 * number).save(folder / str(clip) / f"{number}.png")
    return folder


def job(corpus: dict[str, Any], *, seed: int = 0, **more: Any) -> Job:
    return Job(id="net", seed=seed, corpus=TrainCorpus(**corpus), train=Train(**{**TRAIN, **more}))


def motion(photographs: Path, **more: Any) -> dict[str, Any]:
    return {"motion": {"images": str(photographs / "*.png"), "window": 3, "speeds": [[0, 4]], **more}, "scale": 2}


def trainer(job: Job, folder: Path) -> Trainer:
    return Trainer(job, crops_of(job, scan_here(job.corpus.scanned()))[0], folder)


# -- crops ------------------------------------------------------------------------------------------------------


def test_crops_of_motion_are_the_same_for_an_iteration_and_their_flow_is_that_of_their_frames(photographs: Path) -> None:
    some = job(motion(photographs), batch=6)
    crops, scale = crops_of(some, scan_here(some.corpus.scanned()))
    again = crops_of(some, scan_here(some.corpus.scanned()))[0].batch(5)
    batch = crops.batch(5)
    assert scale == 2
    assert batch.input.shape == (6, 3, 3, 12, 12)
    assert batch.target.shape == (6, 3, 3, 24, 24)
    assert batch.flow is not None
    assert batch.flow[0].shape == batch.flow[1].shape == (6, 2, 2, 12, 12)
    for one, other in zip((batch.input, batch.target, *batch.flow), (again.input, again.target, *(again.flow or ())), strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(batch.input, crops.batch(6).input)
    moved = 0
    for clip in range(6):
        for t in range(2):
            for here, there, field in ((t, t + 1, batch.flow[0][clip, t]), (t + 1, t, batch.flow[1][clip, t])):
                across, down = (round(2 * float(value)) for value in field[:, 0, 0])
                moved += (across, down) != (0, 0)
                rows, columns = slice(max(0, -down), 24 - max(0, down)), slice(max(0, -across), 24 - max(0, across))
                there_rows, there_columns = slice(max(0, down), 24 - max(0, -down)), slice(max(0, across), 24 - max(0, -across))
                assert np.array_equal(batch.target[clip, here][:, rows, columns], batch.target[clip, there][:, there_rows, there_columns])
    assert moved > 10


def test_the_quick_way_to_an_exact_pan_gives_the_bytes_of_the_plain_one(photographs: Path) -> None:
    """Cuts of low-resolution copies of the photograph, against frames that are downscaled one by one."""
    some = job(motion(photographs))
    crops, _ = crops_of(some, scan_here(some.corpus.scanned()))
    assert isinstance(crops, MotionCrops)
    for number in range(6):
        content, drawn = crops._drawn(generator(f"{number}"))
        whole = frames(crops._images[content].target, drawn, margin=8)
        plain = np.stack([downscale(frame.astype(np.float32) / np.float32(255), 2)[4:-4, 4:-4] for frame in whole])
        small, large = crops._made(content, drawn, Mixture(), "key")
        assert np.array_equal(small, plain)
        assert np.array_equal(large, whole[:, 8:-8, 8:-8])


def test_turned_flow_is_the_flow_of_the_turned_clip() -> None:
    rng = np.random.default_rng(0)
    field = rng.integers(-2, 3, (1, 6, 6, 2)).astype(np.float32)
    places = np.arange(36).reshape(1, 6, 6, 1)
    y, x = np.mgrid[:6, :6]

    def ends(flow: np.ndarray, ids: np.ndarray) -> set[tuple[int, int]]:
        rows, columns = (y + flow[0, ..., 1]).astype(int), (x + flow[0, ..., 0]).astype(int)
        inside = (rows >= 0) & (rows < 6) & (columns >= 0) & (columns < 6)
        pairs = zip(y[inside], x[inside], rows[inside], columns[inside], strict=True)
        return {(int(ids[0, a, b, 0]), int(ids[0, r, c, 0])) for a, b, r, c in pairs}

    for turn in range(8):
        assert ends(turned_flow(field, turn), turned_clip(places, turn)) == ends(field, places)


def test_layers_affine_motion_and_degradations_can_be_trained_on(photographs: Path) -> None:
    corpus = {**motion(photographs, layers=1, rotation=[-2, 2], zoom=[0.98, 1.02]), "degradations": [{"blur": [0, 2]}, {"noise": 20}]}
    some = job(corpus)
    batch = crops_of(some, scan_here(some.corpus.scanned()))[0].batch(0)
    assert batch.input.shape == (2, 3, 3, 12, 12)
    assert np.isfinite(batch.flow).all()


def test_motion_without_room_says_so(photographs: Path) -> None:
    some = job(motion(photographs, speeds=[1, 50]))
    with pytest.raises(RecipeError, match=r"no photograph has room for 3 frames of 24 pixels \(train.crop\) that move by 50 or more"):
        crops_of(some, scan_here(some.corpus.scanned()))


def test_crops_of_clips_are_windows_in_order_or_reversed_at_one_place(films: Path) -> None:
    some = job({"clips": {"frames": str(films / "*/*.png"), "window": 3}, "scale": 2}, batch=16)
    crops, scale = crops_of(some, scan_here(some.corpus.scanned()))
    assert (scale, crops.contents) == (2, 6)
    batch = crops.batch(1)
    steps = np.round((batch.target[:, 1:] - batch.target[:, :-1]) * 255).astype(int)
    assert {tuple(np.unique(step)) for step in steps} == {(10,), (-10,)}, "each frame is 10 brighter than the one before it, or after"
    assert batch.flow is None
    assert len(np.unique(batch.content)) > 3


def test_given_inputs_and_targets_of_clips_are_cropped_together(films: Path, tmp_path: Path) -> None:
    for source in sorted(films.glob("*/*.png")):
        (tmp_path / source.parent.name).mkdir(exist_ok=True)
        Image.fromarray(np.asarray(Image.open(source))[::2, ::2]).save(tmp_path / source.parent.name / source.name)
    some = job({"clips": {"input": str(tmp_path / "*/*.png"), "frames": str(films / "*/*.png"), "window": 2}})
    batch = crops_of(some, scan_here(some.corpus.scanned()))[0].batch(0)
    for small, large in zip(batch.input.reshape(-1, 3, 12, 12), batch.target.reshape(-1, 3, 24, 24), strict=True):
        assert any(np.array_equal(small, large[:, i::2, j::2]) for i in (0, 1) for j in (0, 1)), "which corner is kept turns with the clip"


# -- trainings --------------------------------------------------------------------------------------------------


def test_charbonnier_is_its_formula_and_close_to_the_absolute_difference() -> None:
    difference = torch.tensor([0.0, 3e-3, -0.5])
    wanted = np.mean(np.sqrt(np.array([0.0, 3e-3, -0.5]) ** 2 + EPSILON**2))
    assert float(LOSSES["charbonnier"](difference)) == pytest.approx(wanted, rel=1e-6)
    assert float(LOSSES["l1"](difference)) < float(LOSSES["charbonnier"](difference)) < float(LOSSES["l1"](difference)) + EPSILON


@pytest.mark.parametrize("gives", ["frames", "centre"])
@pytest.mark.parametrize("kind", ["motion", "clips"])
def test_an_interrupted_training_over_clips_ends_with_the_bytes_of_an_unbroken_one(
    kind: str, gives: str, photographs: Path, films: Path, tmp_path: Path
) -> None:
    corpus = motion(photographs) if kind == "motion" else {"clips": {"frames": str(films / "*/*.png"), "window": 3}, "scale": 2}
    some = job(corpus, args={"gives": gives}, loss="charbonnier")
    whole = trainer(some, tmp_path / "whole")
    whole.run()
    trainer(some, tmp_path / "parts").run(until=2)
    rest = trainer(some, tmp_path / "parts")
    assert rest.iteration == 2
    rest.run()
    for one, other in zip(whole.averaged.state_dict().values(), rest.averaged.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_the_loss_of_a_network_of_the_centre_frame_is_that_of_the_centre_frame(photographs: Path, tmp_path: Path) -> None:
    some = job(motion(photographs), args={"gives": "centre"}, iterations=1, loss="l1")
    one = trainer(some, tmp_path)
    batch = one._crops.batch(0)
    with torch.no_grad():
        wanted = (one.network(torch.from_numpy(batch.input)) - torch.from_numpy(batch.target[:, 1])).abs().mean()
    one._step()
    assert float(one._loss) == pytest.approx(float(wanted), rel=1e-6)


def test_the_known_flow_is_given_to_a_network_that_takes_it(photographs: Path, tmp_path: Path) -> None:
    some = job(motion(photographs), network="toy_clip_trainees.py:told", flow="known")
    one = trainer(some, tmp_path)
    one._step()
    assert isinstance(one.network, Told) or hasattr(one.network, "told")
    batch: Batch = one._crops.batch(0)
    assert batch.flow is not None
    assert np.array_equal(one.network.told.next.numpy(), batch.flow[0])
    assert np.array_equal(one.network.told.previous.numpy(), batch.flow[1])
    with pytest.raises(NetworkError, match=r"train.flow known needs a network that takes it, forward\(clip, motion=None\)"):
        trainer(job(motion(photographs), flow="known"), tmp_path / "other")


def test_frozen_layers_keep_their_first_weights(photographs: Path, tmp_path: Path) -> None:
    one = trainer(job(motion(photographs), args={"frozen": True}), tmp_path)
    first = {name: tensor.clone() for name, tensor in one.network.state_dict().items()}
    one.run()
    for states in (one.network.state_dict(), one.averaged.state_dict()):
        assert all(torch.equal(states[name], first[name]) for name in ("first.weight", "first.bias"))
        assert not torch.equal(states["last.weight"], first["last.weight"])


def test_a_recipe_with_a_sweep_is_trained_validated_and_not_trained_again(
    photographs: Path, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {
        "name": "toy", "corpus": motion(photographs),
        "validate": {"motion": {"images": str(photographs / "0.png"), "window": 3, "speeds": [1], "size": 24}, "scale": 2, "every": 2,
                     "degradations": ["clean", {"noise": 20}]},
        "measure": {"films": {"clips": {"frames": str(films / "*/*.png"), "window": 3}, "scale": 2}},
        "train": TRAIN,
        "sweep": {"train.args.gives": ["frames", "centre"]},
    }  # fmt: skip
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    train(path, tmp_path / "out")
    for gives in ("frames", "centre"):
        card = json.loads((tmp_path / "out" / f"toy-gives_{gives}" / "card.json").read_text())
        assert card["scores"]["films"]["images"] == 2
        assert card["scores"]["films"]["psnr_y"] > 10
        assert card["recipe"]["corpus"]["given"]["speeds"] == [[0.0, 4.0]]
        assert card["recipe"]["corpus"]["motion"] == "3 files, listed under images"
        log = [json.loads(line) for line in (tmp_path / "out" / f"toy-gives_{gives}" / "log.jsonl").read_text().splitlines()]
        assert {"psnr_y", "psnr_y noise20"} <= set(log[-1])
        assert log[-1]["psnr_y"] > log[-1]["psnr_y noise20"]
    monkeypatch.setattr(Trainer, "_step", lambda self: pytest.fail("trained again"))
    train(path, tmp_path / "out")
    recipe["corpus"]["motion"]["speeds"] = [[0, 3]]
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    with pytest.raises(RecipeError, match=r"corpus.given was .*'speeds': \[\[0.0, 4.0\]\]"):
        train(path, tmp_path / "out")


def test_what_decides_the_clips_is_in_the_identity_and_locations_are_not(photographs: Path, films: Path) -> None:
    def identity(corpus: dict[str, Any], **more: Any) -> str:
        some = job(corpus, **more)
        return identity_of(some, [], None).sha256

    first = identity(motion(photographs))
    assert first == identity(motion(Path("/elsewhere")))
    changes: list[dict[str, Any]] = [{"window": 4}, {"speeds": [[0, 3]]}, {"layers": 1}, {"exact": False}, {"angles": 0}]
    others = [motion(photographs, **change) for change in changes]
    clips = {"clips": {"frames": str(films), "window": 3}, "scale": 2}
    everything = [first, *map(identity, others), identity(clips), identity({**clips, "clips": {"frames": str(films), "window": 2}})]
    assert len(set(everything)) == len(everything)
    assert identity(motion(photographs), flow="known") != first


@pytest.mark.parametrize(
    ("corpus", "more", "message"),
    [
        ({"motion": {"images": "a", "size": 32}}, {}, "motion.size belongs to studies; a training draws a motion for each crop"),
        ({"motion": {"images": "a", "per_image": 2}}, {}, "motion.per_image belongs to studies"),
        ({"clips": {"frames": "a", "stride": 2}}, {}, "clips.stride belongs to studies; a training draws windows"),
        ({"clips": {"frames": "a"}, "count": 3}, {}, "count is of images; a corpus of clips is used whole"),
        ({"clips": {"frames": "a"}}, {"flow": "known"}, "only corpus.motion has a known flow, not clips"),
        ({"images": "a"}, {"flow": "known"}, "only corpus.motion has a known flow, not images"),
        ({"motion": {"images": "a"}}, {"gan": {}}, "the adversarial stage is for single images, not for motion"),
        ({"clips": {"input": "a"}, "degradations": [{"noise": 3}]}, {}, "degradations"),
    ],
)
def test_what_cannot_be_trained_says_why(corpus: dict[str, Any], more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        job(corpus, **more)


def test_the_count_of_photographs_is_theirs_whatever_the_corpus_makes_of_them(photographs: Path) -> None:
    some = job({**motion(photographs), "count": 2})
    assert crops_of(some, scan_here(some.corpus.scanned()))[0].contents == 2
