"""Studies of clips: scores, features with their frames, what is refused, the page; and BasicVSR's public weights on Vid4."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from helpers import QUIET, digest, image
from PIL import Image

from xlli_ray.corpus.resize import downscale
from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import run_study
from xlli_ray.errors import PlanError
from xlli_ray.models import ModelSpec, load_model, read_state_dict
from xlli_ray.models.layers import capture
from xlli_ray.models.tap import Tap
from xlli_ray.recipe import Recipe, load_recipe
from xlli_ray.report.image_strip import Strip
from xlli_ray.report.page import gather, write_report
from xlli_ray.stats.fidelity import luma_studio, psnr
from xlli_ray.study import open_study

TOYS = Path(__file__).parents[1] / "models"
if str(TOYS) not in sys.path:
    sys.path.insert(0, str(TOYS))  # `network: toy_clip_networks:both_ways`


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Six frames of an image that moves."""
    folder = tmp_path / "clip"
    folder.mkdir()
    still = image(3, 48, 60)
    for i in range(6):
        Image.fromarray(np.roll(still, i, axis=1)).save(folder / f"f_{i:02d}.png")
    return folder


@pytest.fixture
def study(frames: Path, tmp_path: Path) -> Callable[..., Any]:
    """Runs a recipe over windows of four frames and opens its study."""

    def go(models: list[dict[str, Any]], stages: list[Any], out: str = "study", **options: Any) -> Any:
        run_study(recipe(frames, tmp_path, models, stages), str(tmp_path / out), Options(**{"workers": 0, "quiet": True, **options}))
        return open_study(tmp_path / out)

    return go


def recipe(folder: Path, place: Path, models: list[dict[str, Any]], stages: list[Any], frames: int = 4, scale: int = 2) -> Recipe:
    corpus = {"clips": {"target": f"{folder}/*.png", "frames": frames, "stride": 1}, "scale": scale}
    (place / "recipe.yaml").write_text(yaml.safe_dump({"name": "clips", "corpus": corpus, "models": models, "stages": stages}))
    return load_recipe(place / "recipe.yaml")


CLIP = {"id": "clip", "network": "toy_clip_networks:both_ways"}
IMAGE = {"id": "image", "network": "toy:small", "frames": "each"}


def test_a_study_of_clips_has_scores_features_and_a_page(study: Callable[..., Any], tmp_path: Path) -> None:
    stages = [{"restore": {"save": True}}, {"features": {"layers": ["head"], "dtype": "float32"}},
              {"features": {"id": "states", "layers": ["back", "forth"], "pool": "mean", "models": ["clip"]}}]  # fmt: skip
    opened = study([CLIP, IMAGE], stages)
    rows = opened.sql("select model, psnr_y, psnr_y_frames, status from restore order by model").to_pylist()
    assert len(rows) == 3 * 3  # three windows; the baseline beside the networks
    assert {row["status"] for row in rows} == {"ok"}
    assert all(np.isfinite(row["psnr_y"]) and np.isfinite(row["psnr_y_frames"]) for row in rows)
    head = opened.array("features/image/head.out")
    assert head.xarray().dims == ("sample", "frame", "channel", "y", "x")
    assert head.xarray().shape == (3, 4, 6, 24, 30)
    assert opened.array("states/clip/back.out").xarray().dims == ("sample", "frame", "channel")
    ids = opened.sql("select sample_id from samples order by row")["sample_id"].to_pylist()
    view = opened.sample(ids[0])
    assert view.input.shape == (4, 3, 24, 30)
    assert view.output("clip").shape == (4, 3, 48, 60)
    assert "frame 2 of 0…3" in view._repr_html_()
    opened.show(ids[:2]).save(tmp_path / "shown.png")
    assert "Of clips, the centre frames." in Path(write_report(str(tmp_path / "study"))).read_text()


def test_workers_give_the_same_bytes_and_a_second_run_computes_nothing(
    study: Callable[..., Any], ray_session: None, frames: Path, tmp_path: Path
) -> None:
    stages = [{"restore": {"save": True}}, {"features": {"layers": ["forth"]}}]
    study([CLIP], stages, "here")
    study([CLIP], stages, "there", workers=1)
    assert digest(tmp_path / "here") == digest(tmp_path / "there")
    assert run_study(recipe(frames, tmp_path, [CLIP], stages), str(tmp_path / "here"), QUIET).units_run == 0


@pytest.mark.parametrize(
    ("model", "stage", "said"),
    [
        (CLIP, {"gram": {"layers": ["head"]}}, "`gram` measures single images, but this corpus has clips"),
        (CLIP, {"lam": {"frame": 4}}, "lam.frame: 4 of clips of 4 frames; expected centre, or 0 to 3"),
        (CLIP, {"lam": {"flow": "motion"}}, "stage lam: it needs the stage 'motion', but no stage has that id"),
        ({"id": "a", "network": "toy:small"}, {"restore": {}}, "takes images, the corpus holds clips: `frames: each`"),
        ({"id": "a", "network": "toy_clip_networks:centre"}, {"restore": {}}, "takes clips of 5 frames, those of the corpus have 4"),
    ],
)
def test_what_cannot_take_clips_is_refused_before_anything_runs(study: Callable[..., Any], model: Any, stage: Any, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        study([model], [stage])


PAN = '''
"""The known motion of the clips of these tests: one pixel of the target a frame to the right, as a flow stage stores it."""

import numpy as np

from xlli_ray.probes.measurement import ArrayPlan, Measurement
from xlli_ray.probes.probe import Probe


class Pan(Probe):
    """Half a pixel of the input."""

    KIND, SUBJECT, CLIPS = "pan", "sample", True

    def arrays(self, shapes):
        shape = (shapes.frames - 1, 2, shapes.height, shapes.width)
        return tuple(ArrayPlan(name, shape, "float16", ("pair", "component", "y", "x")) for name in ("next", "previous"))

    def measure(self, model, batch, forward):
        count, frames, _, height, width = batch.input.shape
        after = np.zeros((count, frames - 1, 2, height, width), np.float16)
        after[:, :, 0] = 0.5
        return Measurement({"next": after, "previous": -after})
'''


def test_maps_of_clips_are_stored_frame_by_frame_with_the_trajectory_of_their_window(study: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "pan.py").write_text(PAN)
    window = {"choose": "texture", "size": 12, "per_sample": 2}
    stages = [{"pan.py:Pan": {}}, {"lam": {"nodes": 2, "windows": window, "max_rows": 2, "flow": "pan", "controls": ["shifted_window"]}},
              {"lam": {"id": "alone", "nodes": 2, "windows": window, "models": ["image"]}}, {"lam_summary": {}}]  # fmt: skip
    opened = study([CLIP, IMAGE], stages)
    rows = opened.sql("select * from lam where stage = 'lam' and model = 'clip' and control = '' order by row, \"window\"").to_pylist()
    assert [(row["row"], row["window"]) for row in rows] == [(0, 0), (0, 1), (1, 0), (1, 1)], "max_rows: two of three clips"
    assert {row["frame"] for row in rows} == {2}
    assert all(0 < row["centre_share"] < 1 < row["effective_frames"] <= 4 and row["tracking_error"] > 0 for row in rows)
    cell = "lam/clip/accurate"
    maps, shares = opened.array(cell, "map"), opened.array(cell, "frame_share").xarray()
    assert maps.xarray().dims == ("sample", "window", "frame", "y", "x")
    assert maps.xarray().shape == (2, 2, 4, 24, 30)
    np.testing.assert_allclose(shares.sum("frame"), 1, atol=1e-6)
    assert shares.dims == ("sample", "window", "frame")
    centroid, path = (opened.array(cell, name).xarray() for name in ("centroid", "trajectory"))
    assert centroid.dims == path.dims == ("sample", "window", "frame", "coordinate")
    np.testing.assert_allclose(np.diff(path.values[..., 1], axis=2), 0.5, atol=1e-5)
    np.testing.assert_allclose(np.diff(path.values[..., 0], axis=2), 0, atol=1e-5)
    first = [(row["top"] + 6) / 2 - 0.5 for row in rows]
    np.testing.assert_allclose(path.values[:, :, 2, 0].ravel(), first, atol=1e-5)
    alone = opened.array("alone/image/accurate", "frame_share").xarray().values
    assert alone.tolist() == [[[0, 0, 1, 0]] * 2] * 3, "frame by frame, a network uses no other frame"
    assert opened.sql("select tracking_error from lam where stage = 'alone'")["tracking_error"].null_count == 6, "no flow, no column"
    assert opened.failures.num_rows == 0

    result = opened.result("lam_summary")
    assert result.state == "current"
    frames_of = {model: [row for row in result.tables["lam_frames"].to_pylist() if row["model"] == model] for model in ("clip", "image")}
    found = [(row["frame"], row["images"], row["windows"]) for row in frames_of["clip"]]
    assert found == [(k, 1, 4) for k in (-2, -1, 0, 1)], "windows of one clip"
    np.testing.assert_allclose([row["share"] for row in frames_of["clip"]], shares.values.mean((0, 1)), rtol=1e-5)
    assert [row["share"] for row in frames_of["image"]] == [0, 0, 1, 0]
    assert {row["control"] for row in result.tables["lam_controls"].to_pylist()} == {"shifted_window"}
    assert "frames" in result.views

    place = str(tmp_path / "study")
    sections = {section.id: section for section in gather(open_study(place), place).sections}
    strips = [piece.item for piece in sections["lam"].own if isinstance(piece.item, Strip)]
    assert [strip.folded for strip in strips] == [False, True, False, False, False], "an animation of the first window, folded"
    assert strips[0].title.startswith("clip/f_*.png · window at row")
    assert [row.label.split(" · ")[0] for row in strips[0].rows] == ["clip", "image"]
    clip, image = (row.tiles for row in strips[0].rows)
    assert [tile.caption for tile in clip if tile] == ["t − 2", "t − 1", "t", "t + 1"]
    assert all("px off" in tile.note for tile in (clip[0], clip[3]) if tile)
    assert [tile.note[:5] for tile in image if tile and tile.caption == "t"] == ["100 %"]
    moving = strips[1].rows[0].tiles[0]
    assert moving is not None
    with Image.open(BytesIO(base64.b64decode(moving.uri.split(",")[1]))) as animation:
        assert (animation.format, animation.n_frames) == ("WEBP", 4)
    for file in (tmp_path / "clip").iterdir():
        file.unlink()
    without = gather(open_study(place), place)
    texts = [piece.item for section in without.sections if section.id == "lam" for piece in section.own if isinstance(piece.item, str)]
    assert sum("without their images" in text for text in texts) == 1


def test_a_network_of_clips_is_refused_over_images(frames: Path, tmp_path: Path) -> None:
    data = {"name": "a", "corpus": {"images": [f"{frames}/*.png"], "scale": 2}, "models": [CLIP], "stages": [{"restore": {}}]}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(PlanError, match="takes clips, the corpus holds images"):
        run_study(load_recipe(tmp_path / "recipe.yaml"), str(tmp_path / "study"), QUIET)


def test_other_frames_of_a_network_of_the_centre_frame_and_frames_of_images_are_refused(frames: Path, tmp_path: Path) -> None:
    centre = {"id": "a", "network": "toy_clip_networks:centre"}
    with pytest.raises(PlanError, match=r"lam.frame: 1, but the network returns the centre frame only \(2\)"):
        run_study(recipe(frames, tmp_path, [centre], [{"lam": {"frame": 1}}], frames=5), str(tmp_path / "study"), QUIET)
    images = {"images": [f"{frames}/*.png"], "scale": 2}
    for field, value in (("frame", 1), ("flow", "restore")):
        stages = [{"restore": {}}, {"lam": {field: value}}]
        (tmp_path / "recipe.yaml").write_text(
            yaml.safe_dump({"name": "a", "corpus": images, "models": [{"id": "a", "network": "toy:small"}], "stages": stages})
        )
        with pytest.raises(PlanError, match=f"lam.{field}: images have no other frames"):
            run_study(load_recipe(tmp_path / "recipe.yaml"), str(tmp_path / "images"), QUIET)


def vid4(fixtures: Path, place: Path, side: int | None, frames: int) -> Path:
    """The first frames of Vid4's calendar, or a square from their middle."""
    folder = place / "calendar"
    folder.mkdir()
    for i in range(1, frames + 1):
        frame = np.asarray(Image.open(fixtures / f"video/Vid4/calendar/hr_{i:02d}.png").convert("RGB"))
        top, left = ((size - side) // 8 * 4 if side else 0 for size in frame.shape[:2])
        Image.fromarray(frame[top : top + side, left : left + side] if side else frame).save(folder / f"hr_{i:02d}.png")
    return folder


@pytest.mark.parametrize(("side", "frames"), [(96, 2), pytest.param(None, 5, marks=pytest.mark.slow)])
def test_basicvsr_restores_vid4_as_a_plain_loop_does(side: int | None, frames: int, fixtures: Path, tmp_path: Path) -> None:
    weights = fixtures / "models/basicvsr/basicvsr_vimeo90k_bi_x4.pth"
    folder = vid4(fixtures, tmp_path, side, frames)
    models = [{"id": "basicvsr", "network": "basicvsr", "weights": str(weights)},
              {"id": "srresnet", "weights": "builtin:srresnet-gr-clean", "frames": "each"}]  # fmt: skip
    stages = [{"restore": {}}, {"features": {"layers": ["backward_trunk", "forward_trunk"], "dtype": "float32", "models": ["basicvsr"]}}]
    run_study(recipe(folder, tmp_path, models, stages, frames=frames, scale=4), str(tmp_path / "study"), QUIET)
    study = open_study(tmp_path / "study")
    rows = {row["model"]: row for row in study.sql("select model, psnr_y, psnr_y_frames from restore").to_pylist()}

    tensors = read_state_dict(weights, name="basicvsr").tensors
    model = load_model(ModelSpec(id="b", network="basicvsr"), tensors)
    targets = [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]
    small = np.stack([downscale(target.astype(np.float32) / 255, 4) for target in targets])
    x = torch.from_numpy(small.astype(np.float32) / 255).permute(0, 3, 1, 2)[None]
    first = Tap("backward_trunk", call=0)
    with torch.no_grad(), capture(model, [first], frames=frames) as found:
        y = model.module(x)[0]
    output = (y.clamp(0, 1) * 255 + 0.5).floor().byte().permute(0, 2, 3, 1).numpy()
    each = [psnr(luma_studio(ours[4:-4, 4:-4]), luma_studio(target[4:-4, 4:-4])) for ours, target in zip(output, targets)]
    assert rows["basicvsr"]["psnr_y"] == pytest.approx(each[frames // 2], abs=0.02)
    assert rows["basicvsr"]["psnr_y_frames"] == pytest.approx(np.mean(each), abs=0.02)
    assert rows["basicvsr"]["psnr_y"] > rows["srresnet"]["psnr_y"] + 0.5 > rows["bicubic"]["psnr_y"]

    stored = study.array("features/basicvsr/backward_trunk.out").xarray()
    assert stored.dims == ("sample", "frame", "channel", "y", "x")
    assert stored.shape == (1, frames, 64, *small.shape[1:3])
    np.testing.assert_allclose(stored.values[:, -1], found[first.name].numpy(), rtol=1e-4, atol=1e-4)  # it begins with the last frame
