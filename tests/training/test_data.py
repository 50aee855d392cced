"""Crops: keyed by (seed, iteration), cut alike for twins, degraded exactly as whole images are."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import BaseModel
from toy_pictures import textured

from xlli_ray.corpus import degradations
from xlli_ray.corpus.degradations import Degradation, Degraded, parse
from xlli_ray.corpus.degradations.keyed_random import generator
from xlli_ray.corpus.ids import sha256_hex
from xlli_ray.corpus.resize import downscale
from xlli_ray.errors import RecipeError
from xlli_ray.registry import DEGRADATIONS
from xlli_ray.training.corpus import TrainCorpus
from xlli_ray.training.data import Crops, TrainingImage, degraded_crop, read_images
from xlli_ray.training.images import rejected, scan_here


@pytest.fixture(scope="module")
def images(photos: Path) -> list[TrainingImage]:
    return read(images=[str(photos / "*.png")])[0]


def read(seed: int = 0, **corpus: object) -> tuple[list[TrainingImage], int]:
    section = TrainCorpus(**corpus)
    return read_images(section, scan_here(section.scanned()), seed=seed)


def crops(images: list[TrainingImage], **changes) -> Crops:
    settings = {"crop": 48, "batch": 4, "degradations": ["clean"], "seed": 0, "min_gradient": 4.0, **changes}
    return Crops(images, 4, **settings)


def test_a_batch_depends_on_seed_and_iteration_alone(images) -> None:
    first, again = crops(images), crops(images)
    later = first.batch(7)
    first.batch(3)
    assert np.array_equal(again.batch(7).input, later.input)
    assert np.array_equal(first.batch(7).target, later.target)
    assert not np.array_equal(first.batch(8).target, later.target)
    assert not np.array_equal(crops(images, seed=1).batch(7).target, later.target)
    assert later.input.shape == (4, 3, 12, 12)
    assert later.target.shape == (4, 3, 48, 48)
    assert later.input.dtype == later.target.dtype == np.float32
    assert 0 <= later.input.min() <= later.input.max() <= 1


def test_twins_are_cut_at_the_same_places_whatever_their_degradations(images) -> None:
    clean = crops(images).batch(5)
    for damage in ([{"blur": [0, 4]}], [{"noise": 20}], ["clean", {"jpeg": [30, 90]}]):
        other = crops(images, degradations=damage).batch(5)
        assert np.array_equal(other.target, clean.target)
        assert np.array_equal(other.content, clean.content)
        assert not np.array_equal(other.input, clean.input)


def test_input_and_target_show_the_same_place_after_flips_and_turns(images) -> None:
    batch = crops(images, batch=16).batch(0)
    means = batch.target.reshape(16, 3, 12, 4, 12, 4).mean((3, 5))
    centre = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    assert np.abs(means[centre] - batch.input[centre]).mean() < 0.02
    assert np.abs(means[:, :, :, ::-1][centre] - batch.input[centre]).mean() > 0.05


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("label", [{"blur": 0.3}, {"blur": 1.7}, {"blur": 4}])
def test_a_degraded_crop_is_a_crop_of_the_degraded_picture(scale: int, label: dict) -> None:
    target, size = textured(160, 192, 9), 12
    mixture = parse(label)
    whole = downscale(mixture.apply(target.astype(np.float32) / np.float32(255), "target", key="").image, scale)
    height, width = whole.shape[:2]
    for top, left in (
        (0, 0),
        (height - size, width - size),
        (height // 2 - 6, width // 2 - 6),
        (3, width // 2),
        (9, 11),
    ):
        found = degraded_crop(target, mixture, scale, top, left, size, key="").astype(int)
        difference = np.abs(found - whole[top : top + size, left : left + size])
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01


def test_noise_is_as_strong_as_its_name_says_and_never_the_same_twice(images) -> None:
    flat = [TrainingImage("flat", "0" * 64, np.full((96, 96, 3), 128, np.uint8), np.full((24, 24, 3), 128, np.uint8))]
    noisy = crops(flat, degradations=[{"noise": 20}], min_gradient=0.0, batch=32)
    values = noisy.batch(0).input * 255
    assert abs(values.std() - 20) < 0.5
    assert not np.array_equal(noisy.batch(0).input[0], noisy.batch(0).input[1])
    assert not np.array_equal(noisy.batch(0).input, noisy.batch(1).input)


def test_crops_of_the_same_size_get_rain_of_their_own_and_a_share_of_them_none(images) -> None:
    rain = [degradations.CLEAN, {"rain": {"preset": "hu25-small", "angle": [[20, 45], [-45, -20]]}, "share": 0.9}]
    same = [TrainingImage(one.name, one.sha256, one.target, one.target) for one in images]
    made = [Crops(same, 1, crop=40, batch=100, degradations=rain, seed=0).batch(iteration) for iteration in (0, 1, 0)]
    assert made[0].input.shape == made[0].target.shape == (100, 3, 40, 40)
    clean = (made[0].input == made[0].target).all((1, 2, 3))
    assert 2 <= clean.sum() <= 20
    assert (made[0].input >= made[0].target).all()
    assert (made[0].input > made[0].target).any((1, 2, 3))[~clean].all()
    added = {(one.input[i] - one.target[i]).tobytes() for one in made[:2] for i in range(100)}
    assert len(added) >= 160, "no two crops have the same rain"
    assert made[0].input.tobytes() == made[2].input.tobytes()


class StainParams(BaseModel):
    amount: float


class Stain(Degradation):
    """A random degradation of the whole target, of which the package has none."""

    NAME, VERSION, ORDER, DOMAIN, Params, LEVEL, AXIS = "stain", 1, 5, "target", StainParams, "amount", "stain"

    def apply(self, array: np.ndarray, *, key: str) -> Degraded:
        grain = generator(f"{key}|stain").standard_normal(array.shape, dtype=np.float32)
        return Degraded(np.clip(array + np.float32(self.level) * grain, 0, 1))


@pytest.fixture
def stain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEGRADATIONS, "stain", f"{__name__}:Stain")


LEVELS = {"blur": 2.0, "noise": 20, "jpeg": 50, "rain": 0.02, "stain": 0.2}


def test_every_registered_degradation_has_a_level_to_be_tried_with(stain) -> None:
    assert set(LEVELS) == set(DEGRADATIONS)


@pytest.mark.parametrize("name", sorted(LEVELS))
def test_every_crop_of_every_step_has_draws_of_its_own(name: str, stain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A2: in the domain `target` the key was empty, so that all crops of a training had one and the same draw."""
    level = LEVELS[name]
    part = degradations.get(name).of(level)
    keys: list[str] = []
    apply = type(part).apply

    def watched(self, array: np.ndarray, *, key: str) -> Degraded:
        keys.append(key)
        return apply(self, array, key=key)

    image = textured(40, 40, 0)
    given = image if part.DOMAIN == "input" else image.astype(np.float32) / np.float32(255)
    random = not np.array_equal(part.apply(given, key="a").image, part.apply(given, key="b").image)
    assert random == (name in ("noise", "rain", "stain"))
    monkeypatch.setattr(type(part), "apply", watched)
    flat = TrainingImage("flat", "0" * 64, np.full((64, 64, 3), 128, np.uint8), np.full((16, 16, 3), 128, np.uint8))
    made = crops([flat], degradations=[{name: level}], min_gradient=0.0, batch=3, crop=32)
    first, later, again = (made.batch(iteration) for iteration in (0, 1, 0))
    assert np.array_equal(first.input, again.input)
    if random:
        assert len(set(keys[:6])) == 6
        assert keys[6:] == keys[:3]
    draws = [image.tobytes() for image in (*first.input, *later.input)]
    assert len(set(draws)) == (6 if random else 1)


def test_crops_are_taken_where_there_is_something_to_learn() -> None:
    half = np.full((96, 192, 3), 90, np.uint8)
    half[:, :96] = textured(96, 96, 1)
    small = downscale(half.astype(np.float32) / np.float32(255), 4)
    batches = crops([TrainingImage("half", "0" * 64, half, small)], batch=32, crop=32).batch(0)
    assert batches.target.std(axis=(1, 2, 3)).min() > 0.02
    flat = TrainingImage("flat", "1" * 64, np.full((96, 96, 3), 9, np.uint8), np.full((24, 24, 3), 9, np.uint8))
    with pytest.raises(RecipeError, match=r"none of the images \(1\) has a crop of 12 input pixels"):
        crops([flat])


def test_pairs_bring_their_own_scale_and_inputs_have_none(tmp_path: Path) -> None:
    for index in range(2):
        large = textured(64, 64, index)
        Image.fromarray(large).save(tmp_path / f"{index}_HR.png")
        Image.fromarray(large[::2, ::2]).save(tmp_path / f"{index}_LR.png")
    pairs = {"input": str(tmp_path / "*_LR.png"), "target": str(tmp_path / "*_HR.png")}
    images, scale = read(pairs=pairs)
    assert scale == 2
    assert [image.small.shape for image in images] == [(32, 32, 3)] * 2
    images, scale = read(inputs=[str(tmp_path / "*_HR.png")])
    assert scale == 1
    assert images[0].small is images[0].target
    Image.fromarray(textured(96, 96, 0)).save(tmp_path / "0_HR.png")
    with pytest.raises(RecipeError, match="scales 2, 3 are mixed"):
        read(pairs=pairs)


def test_a_file_that_cannot_be_used_is_left_out_with_its_reason_and_all_of_them_end_the_training(photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "photo0.png", tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    corpus = TrainCorpus(images=[str(tmp_path)])
    rows = scan_here(corpus.scanned())
    assert [(Path(file).name, reason[:12]) for file, reason in rejected(rows)] == [("bad.png", "not an image")]
    assert [image.name for image in read_images(corpus, rows)[0]] == ["good.png"]
    with pytest.raises(RecipeError, match=r"corpus\.count is 2, but the corpus has 1 image; 1 rejected"):
        read(images=[str(tmp_path)], count=2)
    (tmp_path / "good.png").unlink()
    with pytest.raises(RecipeError, match=r"none of the 1 file can be used; the first, .*bad\.png: not an image"):
        read(images=[str(tmp_path)])


def test_a_list_is_trained_on_as_the_files_that_it_names(photos: Path, tmp_path: Path) -> None:
    files = sorted(map(str, photos.glob("*.png")))
    pq.write_table(pa.table({"image": files, "who": ["a"] * 4}), tmp_path / "images.parquet")
    pq.write_table(pa.table({"input": files, "target": files[::-1], "label": ["rain"] * 4}), tmp_path / "pairs.parquet")

    def bytes_of(images: list[TrainingImage]) -> list[tuple[str, bytes, bytes]]:
        return [(image.sha256, image.target.tobytes(), image.small.tobytes()) for image in images]

    listed, named = read(list=str(tmp_path / "images.parquet"), scale=2), read(images=files, scale=2)
    assert (bytes_of(listed[0]), listed[1]) == (bytes_of(named[0]), 2)
    pairs, scale = read(list=str(tmp_path / "pairs.parquet"))
    assert scale == 1
    shas = [sha256_hex(Path(file).read_bytes()) for file in files]
    assert {(image.sha256, image.input_sha256) for image in pairs} == set(zip(shas[::-1], shas, strict=True))


def test_what_a_training_does_not_know_is_refused_with_the_way_out() -> None:
    for changes, message in (
        ({"patches": {}}, "patches belongs to studies; a training draws its own crops"),
        ({"pies": {}}, "pies belongs to studies"),
        ({"images": None, "list": "a.parquet", "degradations": [{"blur": 1}]}, "list are used unchanged"),
    ):
        with pytest.raises(ValueError, match=message):
            TrainCorpus(**{"images": ["a.png"], **changes})
