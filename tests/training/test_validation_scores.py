"""Scores against closed forms and published figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from toy_pictures import textured

from xlli_ray.corpus.decode import to_u8
from xlli_ray.corpus.resize import bicubic_up
from xlli_ray.errors import RecipeError
from xlli_ray.models.model import ImageModel, Range
from xlli_ray.probes.measurement import Batch, Forward
from xlli_ray.probes.restore import Params, Restore
from xlli_ray.training.corpus import MeasuredFiles, ValidationFiles
from xlli_ray.training.image_scores import compare, high_frequency
from xlli_ray.training.validation_scores import Case, ScoredSet, restore, score


class Bicubic(nn.Module):
    """x4 by torch's own bicubic (a = -0.75)."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, scale_factor=4, mode="bicubic", align_corners=False)


def test_white_noise_has_the_share_of_energy_that_its_area_of_the_spectrum_says() -> None:
    # Frequencies above 0.25 cycles per pixel are all of the unit square but a disc of radius 0.25.
    noise = np.random.default_rng(0).normal(100, 5, (256, 256))
    assert high_frequency(noise) == pytest.approx(25 * (1 - np.pi / 16), rel=0.03)


def test_a_wave_counts_fully_above_the_limit_and_not_below() -> None:
    x = np.arange(200)[None, :] * np.ones((200, 1))
    assert high_frequency(10 * np.cos(2 * np.pi * 0.4 * x)) == pytest.approx(50, rel=0.02)
    assert high_frequency(10 * np.cos(2 * np.pi * 0.1 * x)) < 0.01
    assert high_frequency(np.full((64, 64), 77.0)) == pytest.approx(0, abs=1e-12)


def test_psnr_is_that_of_luma_without_the_border() -> None:
    target = textured(64, 64, 0) // 2
    output = target.copy()
    output[:4] = 255  # in the border, not counted
    output[4:-4, 4:-4] += 10  # 10 grey levels of RGB are 219 / 255 * 10 of luma
    psnr_y, _, _ = compare(output, target, border=4)
    assert psnr_y == pytest.approx(20 * np.log10(255 / (10 * 219 / 255)), abs=1e-6)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_training_and_restore_score_the_same_pixels_at_every_scale(scale: int) -> None:
    """A4: at scale 1 a training's score cut one pixel, a `restore` stage none."""

    class Enlarge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.interpolate(x, scale_factor=scale, mode="nearest").roll(1, -1)  # wrong at the border most of all

    target = textured(64, 64, 3)
    small = np.ascontiguousarray(target[::scale, ::scale])
    mine = score(Enlarge(), [Case("", small, target)], scale=scale).psnr_y
    planes = torch.from_numpy(small.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255))
    stage = Restore(Params(), {})
    model = ImageModel(
        id="m", module=Enlarge(), network="x", network_version=1, scale=scale, channels=3, range=Range(0.0, 1.0), multiple=1, minimum=1,
        output="image", weights_sha256="",
    )  # fmt: skip
    wanted = target.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    with torch.no_grad():
        forward = Forward(model(planes), {})
    found = stage.measure(model, Batch([], planes, [wanted], np.ones(1, bool)), forward).columns["psnr_y"][0]
    assert mine == pytest.approx(found, abs=1e-9)


def test_images_without_a_score_do_not_poison_the_mean_of_a_training() -> None:
    target = textured(64, 64, 0)
    small = np.ascontiguousarray(target[::4, ::4])
    good = score(Bicubic(), [Case("", small, target)], scale=4)
    tiny = Case("tiny", np.zeros((2, 8, 3), np.uint8), np.zeros((8, 32, 3), np.uint8))  # nothing is left inside of the border
    exact = Case("flat", np.full((16, 16, 3), 9, np.uint8), np.full((64, 64, 3), 9, np.uint8))
    assert score(Bicubic(), [tiny, Case("", small, target), exact], scale=4) == good
    assert good.images == 1
    assert score(Bicubic(), [tiny], scale=4).images == 0


def test_restoring_rounds_half_up_and_clamps() -> None:
    class Half(Bicubic):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.tensor([0.5 / 255, -2.0, 2.0]).view(1, 3, 1, 1)

    image = textured(8, 8, 0)
    found = restore(Half(), image)
    assert np.array_equal(found[..., 0], np.minimum(image[..., 0].astype(int) + 1, 255))
    assert (found[..., 1] == 0).all()
    assert (found[..., 2] == 255).all()


def cases(photos: Path, *degradations: object, crop: int | None = None) -> dict[str, list[Case]]:
    files = ValidationFiles(images=[str(photos / "*.png")], degradations=["clean", *degradations])
    return ScoredSet.of(files, 4).cases(crop)


def test_degraded_cases_keep_their_targets(photos: Path) -> None:
    first, again = cases(photos, {"noise": 20}, crop=64), cases(photos, {"noise": 20}, crop=64)
    assert list(first) == ["", " noise20"]
    assert [case.target.shape for case in first[""]] == [(64, 64, 3)] * 4
    assert [case.input.shape for case in first[""]] == [(16, 16, 3)] * 4
    for a, b, c in zip(first[""], first[" noise20"], again[" noise20"], strict=True):
        assert np.array_equal(a.target, b.target)
        assert not np.array_equal(a.input, b.input)
        assert np.array_equal(b.input, c.input)


def test_scores_are_means_over_images(photos: Path) -> None:
    images = cases(photos)[""]
    all_of_them = score(Bicubic(), images, scale=4)
    one_by_one = [score(Bicubic(), [Case("", case.input, case.target)], scale=4) for case in images]
    assert all_of_them.images == 4
    assert all_of_them.psnr_y == pytest.approx(np.mean([scored.psnr_y for scored in one_by_one]))


def test_given_inputs_are_scored_by_their_labels_and_a_bad_file_stops_the_training_before_it_begins(photos: Path, tmp_path: Path) -> None:
    for index in (0, 1):
        Image.fromarray(textured(24, 24, index)).save(tmp_path / f"{index}_in.png")
        Image.fromarray(textured(24, 24, index)).save(tmp_path / f"{index}_out.png")
    globs = {side: [f"{tmp_path}/{index}_{side}.png" for index in (0, 1)] for side in ("in", "out")}
    pairs = {"input": globs["in"], "target": globs["out"], "label": ["rain", "clean"]}
    found = ScoredSet.of(MeasuredFiles(pairs=pairs), 1).cases()
    assert {name: [case.name for case in some] for name, some in found.items()} == {" rain": [globs["in"][0]], "": [globs["in"][1]]}
    (tmp_path / "1_out.png").write_bytes(b"none")
    with pytest.raises(RecipeError, match=r"cannot be used: .*1_in\.png: target .*1_out\.png: not an image"):
        ScoredSet.of(MeasuredFiles(pairs=pairs), 1)
    with pytest.raises(ValueError, match="inputs have no target to score against"):
        MeasuredFiles(inputs=globs["in"])


def test_bicubic_enlargement_of_set5_has_its_published_figure(fixtures: Path) -> None:
    folder = fixtures / "images/Set5/x4"
    files = MeasuredFiles(**{"input": str(folder / "*_LR.png"), "target": str(folder / "*_HR.png")})
    rows = [
        compare(to_u8(bicubic_up(case.input.astype(np.float32) / np.float32(255), 4)), case.target, border=4)
        for case in ScoredSet.of(files, 4).cases()[""]
    ]
    assert np.mean([psnr_y for psnr_y, _, _ in rows]) == pytest.approx(28.43, abs=0.01)
