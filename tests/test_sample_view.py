"""Samples as people see them: `study.sample`, `study.show`, LAM of several networks, and what a notebook shows of each object."""

from __future__ import annotations

import io
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

import xlli_ray
from xlli_ray.errors import StudyError, XlliError
from xlli_ray.plots.image_panels import ImagePanel, ImagePanels, PanelRow
from xlli_ray.plots.panel_pixels import composite
from xlli_ray.plots.panel_values import image_layer
from xlli_ray.study import Study, open_study
from xlli_ray.views.html import card, grid, panels_html

ENGINE_TESTS = Path(__file__).parent / "engine"
if str(ENGINE_TESTS) not in sys.path:
    sys.path.insert(0, str(ENGINE_TESTS))

HOSTILE = "<script>alert(1)<script>&'\".png"  # a file name cannot hold a slash


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures, one of a hostile name and one bright; outputs of `small` and `fragile` stored, those of `silent` not."""
    folder = tmp_path_factory.mktemp("views")
    (folder / "pictures").mkdir()
    for name, level in ((HOSTILE, 0.4), ("bright.png", 0.85)):
        coarse = np.random.default_rng(3).normal(level, 0.05, (12, 16, 3))
        fine = np.kron(coarse, np.ones((4, 4, 1))).clip(0, 1)
        Image.fromarray((fine * 255).astype(np.uint8)).save(folder / "pictures" / name)
    (folder / "recipe.yaml").write_text(yaml.safe_dump({
        "baseline": False,
        "name": "toy", "corpus": {"images": ["pictures"], "scale": 2},
        "models": [{"id": "small", "network": "toy:small"}, {"id": "fragile", "network": "toy:nan_on_bright"},
                   {"id": "silent", "network": "toy:small"}],
        "stages": [{"restore": {"save": True, "models": ["small", "fragile"]}}, {"restore": {"id": "scores", "models": ["silent"]}}],
    }))  # fmt: skip
    xlli_ray.run(str(folder / "recipe.yaml"), str(folder / "study"))
    return folder


@pytest.fixture
def study(place: Path) -> Study:
    return open_study(place / "study")


def find(study: Study, name: str) -> str:
    rows = study.sql("select sample_id, source from samples").to_pylist()
    return next(row["sample_id"] for row in rows if Path(row["source"]).name == name)


def test_a_sample_gives_the_pixels_of_its_file_and_the_output_that_is_stored(study: Study, place: Path) -> None:
    sample = study.sample(find(study, HOSTILE))
    with Image.open(place / "pictures" / HOSTILE) as image:
        pixels = np.moveaxis(np.asarray(image), 2, 0)
    assert sample.target is not None
    np.testing.assert_array_equal(np.round(sample.target * 255).astype(np.uint8), pixels)
    assert (sample.input.dtype, sample.target.dtype) == (np.float32, np.float32)
    assert sample.input.shape == (3, sample.row["height"], sample.row["width"]) == (3, 24, 32)
    np.testing.assert_array_equal(sample.output("small"), np.asarray(study.array("restore/small/restore").rows([sample.id]))[0])
    assert sample.models == ["small", "fragile"]
    assert Path(sample.source).name == HOSTILE
    with Image.open(io.BytesIO(sample.thumbnail)) as small:
        np.testing.assert_array_equal(np.asarray(small), np.moveaxis(np.floor(sample.input * 255 + 0.5).astype(np.uint8), 0, 2))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(sample)).input, sample.input)


def test_what_is_not_stored_unknown_or_failed_is_said_with_the_way_out(study: Study) -> None:
    sample, bright = study.sample(find(study, HOSTILE)), study.sample(find(study, "bright.png"))
    with pytest.raises(StudyError, match=r"no outputs of silent are stored; add `restore: \{save: true\}`"):
        sample.output("silent")
    with pytest.raises(StudyError, match="no model 'smal' in this study; nearest: small"):
        sample.output("smal")
    with pytest.raises(StudyError, match=r"no valid output of fragile: .*`study.failures` has the reason"):
        bright.output("fragile")
    assert bright.models == ["small"]
    with pytest.raises(StudyError, match=r"no sample \"it's\" in this study; .* lists them"):
        study.sample("it's")
    with pytest.raises(StudyError, match=r"window \(40, 0, 16\) .* is 64 wide, 48 high"):
        study.show(sample.id, window=(40, 0, 16))
    with pytest.raises(StudyError, match="name at least one sample id"):
        study.show([])


def captions(view: ImagePanels) -> list[list[str]]:
    return [[panel.caption for panel in row.panels if panel] for row in view.rows]


def test_show_puts_input_target_and_outputs_in_one_row_with_the_same_window_of_each(study: Study, tmp_path: Path) -> None:
    names = [find(study, HOSTILE), find(study, "bright.png")]
    shown = study.show(names, window=(8, 16, 8))
    assert captions(shown.view) == [
        ["input, enlarged ×2", "target", "small", "fragile"], ["the window"] * 4,
        ["input, enlarged ×2", "target", "small"], ["the window"] * 3,
    ]  # fmt: skip
    output = np.moveaxis(study.sample(names[0]).output("small"), 0, 2)
    panel = shown.view.rows[1].panels[2]
    assert panel is not None
    zoom = composite(panel)
    np.testing.assert_array_equal(zoom[64:128, 64:128], output[8:16, 16:24].repeat(8, 0).repeat(8, 1))
    given = shown.view.rows[1].panels[0]
    assert given is not None
    pixels = np.moveaxis(np.floor(study.sample(names[0]).input * 255 + 0.5).astype(np.uint8), 0, 2)
    np.testing.assert_array_equal(composite(given)[64:128, 64:128], pixels[4:8, 8:12].repeat(16, 0).repeat(16, 1))
    shown.save(tmp_path / "shown.png")
    with Image.open(tmp_path / "shown.png") as image:
        assert image.format == "PNG"
    with pytest.raises(StudyError, match="cannot be written"):
        shown.save(tmp_path / "nowhere" / "shown.png")
    assert captions(study.show(names[0], models=["small"]).view) == [["input, enlarged ×2", "target", "small"]]


def test_a_notebook_shows_hostile_names_as_text(study: Study) -> None:
    sample = study.sample(find(study, HOSTILE))
    panel = ImagePanel(HOSTILE, (image_layer(np.zeros((2, 2, 3), np.uint8), side=2),), HOSTILE)
    named = ImagePanels(HOSTILE, (PanelRow(HOSTILE, (panel,)),))
    pages = [sample._repr_html_(), study.show(sample.id)._repr_html_(), card(HOSTILE, [(HOSTILE, HOSTILE)]), grid(HOSTILE, []),
             panels_html(named)]  # fmt: skip
    for page in pages:
        assert "<script" not in page
        assert "&lt;script&gt;alert(1)&lt;script&gt;&amp;" in page
    assert "restore/small/restore" in study._repr_html_()
    assert "uint8" in study.array("restore/small/restore")._repr_html_()


def test_a_card_stays_small_and_counts_what_it_leaves_out() -> None:
    assert "… and 88 more" in card("many", [("array", str(i)) for i in range(100)])


def test_a_sample_whose_corpus_is_gone_still_gives_its_output_and_says_why_it_is_not_shown(study: Study, place: Path) -> None:
    away = (place / "pictures").rename(place / "away")
    try:
        sample = study.sample(find(study, "bright.png"))
        assert sample.output("small").any()
        assert "cannot be shown" in sample._repr_html_()
        with pytest.raises(XlliError):
            sample.input  # noqa: B018
    finally:
        away.rename(place / "pictures")


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.PixelShuffle(2))


def test_lam_of_several_networks_has_a_line_each_with_its_di_and_the_zoom_around_the_window(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 255, (20, 26, 3), dtype=np.uint8)
    one, two = (xlli_ray.lam(network(seed), pixels, window=(10, 12, 8), scale=2, nodes=2) for seed in (0, 1))
    one.figure(tmp_path / "both.png", others=[two])
    view = one.panels(others=[two])
    assert [row.label for row in view.rows] == [one.model, two.model]
    assert captions(view) == [["output and window", f"map, DI {found.di:.2f}", "contribution area", "signed map", "output, the window"]
                              for found in (one, two)]  # fmt: skip
    assert one.di != two.di
    shown = view.rows[1].panels[4]
    assert shown is not None
    output = np.moveaxis(np.floor(two.output.clip(0, 1) * 255 + 0.5).astype(np.uint8), 0, 2)
    zoom = composite(shown)
    np.testing.assert_array_equal(zoom[64:128, 64:128], output[10:18, 12:20].repeat(8, 0).repeat(8, 1))
    with Image.open(tmp_path / "both.png") as image:
        assert image.size[0] > 1000
    elsewhere = xlli_ray.lam(network(1), pixels, window=(12, 12, 8), scale=2, nodes=1)
    with pytest.raises(XlliError, match="input or window differs from"):
        one.figure(others=[elsewhere])
    assert "<b>LAM of " in one._repr_html_()
