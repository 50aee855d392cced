"""The explorer in a notebook without a notebook: messages in, messages out."""

from __future__ import annotations

import base64
import builtins
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from toy_studies import Recipe, Stage

import xlli_ray
from xlli_ray.errors import StudyError, XlliError
from xlli_ray.report.explorer.cem_parts import CemParts
from xlli_ray.report.explorer.lam_parts import LamParts
from xlli_ray.report.notebook import widget as module
from xlli_ray.report.notebook.answers import answer
from xlli_ray.study import open_study

Make = Callable[[Recipe], str]


class Widget:
    """Of anywidget: its traits, and the way of messages."""

    def __init__(self, **traits: Any) -> None:
        self.__dict__.update(traits)
        self.sent: list[Any] = []

    def on_msg(self, callback: Callable[[Any, Any, Any], None]) -> None:
        self.callback = callback

    def send(self, content: Any) -> None:
        self.sent.append(json.loads(json.dumps(content, allow_nan=False)))  # as a message is

    def ask(self, message: Any) -> Any:
        self.callback(self, message, [])
        return self.sent.pop() if self.sent else None


class Trait:
    def tag(self, sync: bool) -> None:
        assert sync


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stand-in for anywidget: it is optional."""
    for name, values in (("anywidget", {"AnyWidget": Widget}), ("traitlets", {"Dict": Trait, "Unicode": Trait})):
        made = ModuleType(name)
        made.__dict__.update(values)
        monkeypatch.setitem(sys.modules, name, made)
    module.widget_class.cache_clear()
    yield
    module.widget_class.cache_clear()


@pytest.mark.usefixtures("notebook")
def test_a_study_answers_from_the_kernel_what_a_page_has_beside_it(make_study: Make) -> None:
    study = open_study(make_study(Recipe([Stage("restore")])))
    shown = study.view()
    assert shown.study["rows"] == 6
    assert shown.study["served"] is True
    assert shown.study["held"] == []
    assert shown.route == ""
    for name in ("names-0", "thumbnails-0", "column-0", "sample-5"):
        assert set(shown.ask({"part": name})) == {"part", "value"}
    said = shown.ask({"part": "sample-6"})
    assert said == {"part": "sample-6", "error": f"{study.objects.url}: the page of this study has no part 'sample-6'"}
    for message in ({}, {"part": 3}, "sample-0", None, {"other": "sample-0"}):
        assert shown.ask(message) is None
    assert "render" in shown._esm
    assert ".xe-grid" in shown._css


@pytest.mark.usefixtures("notebook")
def test_a_result_opens_at_its_figure(make_study: Make) -> None:
    from xlli_ray.plots.heat import Heat
    from xlli_ray.plots.view import to_json
    from xlli_ray.store.tables.results import Figure, Made, Result, write_result

    asked = {"kind": "unheard_of", "id": "found", "params": {}, "models": "all"}
    study = open_study(make_study(Recipe([Stage("restore")], analyses=[asked])))
    view = to_json(Heat("drawn", ("a",), ("b",), ((1.0,),)))
    made = Made("found", "unheard_of", 1, "", {}, "all", 0, "f" * 16, ())
    write_result(study.objects, made, [], Result({}, [Figure("drawn", "<svg/>", "caption", view)], {}, [], []), {})
    shown = study.result("found").view()
    index = [figure["section"] for figure in shown.study["figures"]].index("found")
    assert shown.route == f"#/figures?figure={index}"
    assert shown.ask({"part": f"figure-{index}"})["value"]["title"] == "drawn"


@pytest.mark.usefixtures("notebook")
def test_a_part_that_cannot_be_made_is_an_error_in_words() -> None:
    class Broken:
        def study(self, held: Any) -> dict[str, Any]:
            return {}

        def part(self, name: str) -> dict[str, Any]:
            raise MemoryError

    assert answer(Broken(), {"part": "sample-0"}) == {"part": "sample-0", "error": "MemoryError"}


def test_without_anywidget_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, make_study: Make) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "anywidget":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    module.widget_class.cache_clear()
    study = open_study(make_study(Recipe([Stage("restore")])))
    with pytest.raises(XlliError, match=r'pip install "xlli_ray\[notebook\]"'):
        study.view()


@pytest.mark.usefixtures("notebook")
def test_a_study_that_was_not_scanned_has_nothing_to_explore(tmp_path: Path) -> None:
    from xlli_ray.store.objects.client import open_objects
    from xlli_ray.store.records.documents import save_manifest
    from xlli_ray.store.records.manifest import Manifest

    save_manifest(open_objects(tmp_path), Manifest("new", 0, {"name": "new"}, None))
    with pytest.raises(StudyError, match="never scanned"):
        open_study(tmp_path).view()


def network(seed: int) -> Any:
    import torch
    from torch import nn

    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.PixelShuffle(2))


def numbers(planes: dict[str, Any]) -> np.ndarray:
    values = np.frombuffer(base64.b64decode(planes["f4"]), "<f4")
    return values.reshape(len(planes["places"]), planes["height"], planes["width"])


def test_maps_without_a_study_have_the_parts_of_one_sample() -> None:
    pixels = np.random.default_rng(2).integers(0, 255, (20, 26, 3), dtype=np.uint8)
    one, two = (xlli_ray.lam(network(seed), pixels, window=(10, 12, 8), scale=2, nodes=2) for seed in (0, 1))
    parts = LamParts([one, two])
    about = parts.study([])
    names = [model["id"] for model in about["models"]]
    assert names == [f"{one.model} (1)", f"{two.model} (2)"] if one.model == two.model else [one.model, two.model]
    assert len({model["colour"] for model in about["models"]}) == 2
    sample = parts.part("sample-0")
    assert (sample["height"], sample["width"], sample["missing"]) == (20, 26, [])
    assert set(sample["images"]) == {array["key"] for array in about["arrays"]}
    for name, result, window in zip(names, (one, two), sample["windows"]):
        assert (window["model"], window["top"], window["left"], window["size"], window["scale"]) == (name, 10, 12, 8, 2)
        assert window["values"]["di"] == pytest.approx(result.di)
        planes = sample["images"][window["key"]]
        assert planes["places"][0] == [window["place"]]
        np.testing.assert_array_equal(numbers(planes)[0], result.map)
        signed = sample["images"][window["key"].replace(":map", ":attribution")]
        np.testing.assert_allclose(numbers(signed)[0], result.attribution.sum(0), rtol=1e-6)
        output = sample["images"][window["key"].replace(":map", ":output")]
        assert (output["height"], output["width"]) == (40, 52)
    for i, _ in enumerate(about["arrays"]):
        assert parts.part(f"array-0-{i}")["total"] == 1
    assert np.frombuffer(base64.b64decode(parts.part("column-0")["f4"]), "<f4").tolist() == pytest.approx([one.di, two.di])
    assert parts.part("thumbnails-0")["uri"].startswith("data:image/webp")
    json.dumps([about, sample, parts.part("names-0")], allow_nan=False)
    for wrong in ("sample-1", "column-9", "array-0-99", "figure-0", ""):
        with pytest.raises(XlliError, match="no part"):
            parts.part(wrong)


def test_maps_of_a_clip_have_all_frames() -> None:
    frames = np.random.default_rng(3).integers(0, 255, (3, 16, 18, 3), dtype=np.uint8)
    found = xlli_ray.lam(network(0), frames, window=(10, 12, 8), scale=2, nodes=1)
    sample = LamParts([found]).part("sample-0")
    (window,) = sample["windows"]
    planes = sample["images"][window["key"]]
    assert planes["places"] == [[0, 0], [0, 1], [0, 2]]
    np.testing.assert_array_equal(numbers(planes), found.map)
    assert (sample["height"], sample["width"]) == (16, 18)


def test_maps_of_different_windows_do_not_stand_beside_each_other() -> None:
    pixels = np.random.default_rng(2).integers(0, 255, (20, 26, 3), dtype=np.uint8)
    one, two = (xlli_ray.lam(network(0), pixels, window=place, scale=2, nodes=1) for place in ((10, 12, 8), (4, 4, 8)))
    with pytest.raises(XlliError, match=r"give `xlli_ray\.lam` the same image and window"):
        LamParts([one, two])


@pytest.mark.usefixtures("notebook")
def test_a_map_opens_at_its_sample() -> None:
    pixels = np.random.default_rng(2).integers(0, 255, (20, 26, 3), dtype=np.uint8)
    shown = xlli_ray.lam(network(0), pixels, window=(10, 12, 8), scale=2, nodes=1).view()
    assert shown.route == "#/sample?row=0"
    assert shown.ask({"part": "sample-0"})["value"]["row"] == 0


FEW: dict[str, Any] = {"scale": 2, "pool_size": 64, "draws": {"most": 8}}


def levels(planes: dict[str, Any]) -> np.ndarray:
    """Values of levels that have a table."""
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(planes["png"]))))
    found: np.ndarray = np.array(planes["table"])[image].reshape(len(planes["places"]), planes["height"], planes["width"])
    return found


def test_causal_effects_without_a_study_have_the_parts_of_one_sample() -> None:
    pixels = np.random.default_rng(2).integers(30, 220, (20, 26, 3), dtype=np.uint8)
    target = pixels.repeat(2, 0).repeat(2, 1)
    one, two = (xlli_ray.cem(network(seed), pixels, (10, 12, 8), target=target, **FEW) for seed in (0, 1))
    parts = CemParts([one, two])
    about, sample = parts.study([]), parts.part("sample-0")
    assert set(sample["images"]) == {array["key"] for array in about["arrays"]}
    assert [array["kind"] for array in about["arrays"] if array["key"].endswith(":effect")] == ["effects", "effects"]
    for result, window in zip((one, two), sample["windows"]):
        assert (window["top"], window["left"], window["size"], window["scale"], window["block"]) == (10, 12, 8, 2, 4)
        assert window["bound"] == 2.5
        assert window["values"]["helping"] == result.counts["helping"]
        planes = sample["images"][window["key"]]
        np.testing.assert_array_equal(numbers(planes)[0], result.effect.astype(np.float32))
        np.testing.assert_array_equal(numbers(planes["beside"]["error"])[0], result.error.astype(np.float32))
        np.testing.assert_array_equal(levels(planes["beside"]["draws"])[0], result.draws)
        np.testing.assert_array_equal(levels(planes["beside"]["decided"])[0], result.decided)
    helping = next(i for i, column in enumerate(about["columns"]) if column["id"] == "cem/helping")
    told = np.frombuffer(base64.b64decode(parts.part(f"column-{helping}")["f4"]), "<f4").tolist()
    assert told == [one.counts["helping"], two.counts["helping"]]
    json.dumps([about, sample, parts.part("names-0")], allow_nan=False)
    with pytest.raises(XlliError, match=r"give `xlli_ray\.cem` the same image, window and block"):
        CemParts([one, xlli_ray.cem(network(0), pixels, (4, 4, 8), target=target, **FEW)])


def test_causal_effects_of_a_clip_open_at_the_explained_frame() -> None:
    frames = np.random.default_rng(3).integers(30, 220, (3, 16, 18, 3), dtype=np.uint8)
    target = frames.repeat(2, 1).repeat(2, 2)
    found = xlli_ray.cem(network(0), frames, (10, 12, 8), target=target, frame=2, **FEW)
    sample = CemParts([found]).part("sample-0")
    (window,) = sample["windows"]
    planes = sample["images"][window["key"]]
    assert planes["places"] == [[0, 0], [0, 1], [0, 2]]
    np.testing.assert_array_equal(numbers(planes), found.effect.astype(np.float32))
    assert (sample["images"]["input"]["places"], sample["images"]["input"]["total"]) == ([[2]], 3)


def test_a_perfect_window_has_no_effects_to_look_at() -> None:
    pixels = np.random.default_rng(2).integers(30, 220, (20, 26, 3), dtype=np.uint8)
    parts = CemParts([xlli_ray.cem(torch.nn.Identity(), pixels, (4, 4, 8), target=pixels, **{**FEW, "scale": 1})])
    sample = parts.part("sample-0")
    assert not any(key.endswith(":effect") for key in sample["images"])
    assert sample["windows"][0]["values"]["undefined"] == 1
    json.dumps(sample, allow_nan=False)


@pytest.mark.usefixtures("notebook")
def test_causal_effects_open_at_their_sample() -> None:
    pixels = np.random.default_rng(2).integers(30, 220, (20, 26, 3), dtype=np.uint8)
    target = pixels.repeat(2, 0).repeat(2, 1)
    one, two = (xlli_ray.cem(network(seed), pixels, (10, 12, 8), target=target, **FEW) for seed in (0, 1))
    shown = one.view(others=[two])
    assert shown.route == "#/sample?row=0"
    assert [window["stage"] for window in shown.ask({"part": "sample-0"})["value"]["windows"]] == ["cem", "cem"]
