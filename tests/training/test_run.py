"""Whole recipes: a grid trained, described and handed to a study."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import yaml
from PIL import Image
from toy_pictures import textured

from xlli_ray.errors import RecipeError, WeightsError
from xlli_ray.models import ModelSpec, load_model, read_state_dict
from xlli_ray.models.builtin_weights import check_card, sealed
from xlli_ray.recipe import parse_recipe
from xlli_ray.training.run import train


@pytest.fixture
def recipe(photos: Path, tmp_path: Path) -> Path:
    path = tmp_path / "twins.yaml"
    path.write_text(
        yaml.safe_dump({
            "name": "twins",
            "corpus": {"images": [str(photos / "*.png")]},
            "validate": {
                "images": [str(photos / "photo0.png")], "every": 4, "crop": 64, "degradations": ["clean", {"blur": 2}],
            },
            "train": {
                "network": "srresnet", "args": {"width": 4, "blocks": 1}, "iterations": 6, "batch": 2, "crop": 32,
            },
            "tags": {"family": "tiny"},
            "grid": [
                {"id": "late", "train": {"init": "gr", "iterations": 3, "gan": {"width": 2}}, "tags": {"loss": "gan"}},
                {"id": "gr", "train": {"args": {"global_residual": "bilinear"}}, "tags": {"residual": True}},
                {"id": "nogr", "train": {"args": {"global_residual": "none"}}, "tags": {"residual": False}},
            ],
        })
    )  # fmt: skip
    return path


def test_a_grid_becomes_models_that_a_study_can_name(recipe: Path, tmp_path: Path) -> None:
    seen = []
    path = train(recipe, tmp_path / "out", progress=seen.append)
    assert path == tmp_path / "out" / "models.yaml"
    models = yaml.safe_load(path.read_text())["models"]
    assert [model["id"] for model in models] == ["late", "gr", "nogr"]
    assert models[1]["tags"] == {"family": "tiny", "residual": True}
    for model in models:
        file = path.parent / model["weights"]
        assert hashlib.sha256(file.read_bytes()).hexdigest() == model["sha256"]
        loaded = load_model(ModelSpec(model["id"], network=model["network"]), read_state_dict(file).tensors)
        assert loaded.scale == 4
        assert loaded.weights_sha256 == model["sha256"]
        assert loaded.module.residual == (model["id"] != "nogr")
        card = check_card(json.loads((file.parent / "card.json").read_text()), name=model["id"])
        assert card["iterations"] == (3 if model["id"] == "late" else 6)
        assert len(card["images"]) == 4
        assert set(card["images"][0]) == {"file", "sha256"}
        assert {"loss", "psnr_y", "psnr_y blur2"} < set(card["curve"])
        assert (file.parent / "curve.svg").read_text().startswith("<svg")
        assert str(tmp_path) not in json.dumps(card)
    assert json.loads((path.parent / "late/card.json").read_text())["init_sha256"] == models[1]["sha256"]
    assert {progress.id for progress in seen} == {"late", "gr", "nogr"}


def test_a_study_reads_the_list_and_its_tags(recipe: Path, photos: Path, tmp_path: Path) -> None:
    study = pytest.importorskip("xlli_ray.recipe")
    train(recipe, tmp_path / "out", only=["gr", "nogr"])
    path = tmp_path / "study.yaml"
    path.write_text(
        yaml.safe_dump({
            "name": "s", "corpus": {"images": [str(photos / "*.png")], "scale": 4},
            "models": [{"from": "out/models.yaml"}], "stages": [{"restore": {}}],
        })
    )  # fmt: skip
    models = study.load_recipe(path).models
    assert [(model.id, model.tags["residual"]) for model in models] == [("gr", True), ("nogr", False)]
    assert models[0].weights == str(tmp_path / "out/gr/weights.safetensors")


NET = """
from torch import nn
import parts
VERSION = {version}
def make(width=4):
    return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), parts.Act(), nn.Conv2d(width, 48, 3, padding=1), nn.PixelShuffle(4))
"""


def test_a_network_beside_the_recipe_is_trained_from_any_folder_and_found_by_the_study(
    recipe: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study looks beside the recipe first (C6); a training looked in the current folder only."""
    (tmp_path / "net_to_train.py").write_text(NET.format(version=1))
    (tmp_path / "parts.py").write_text("from torch import nn\nAct = nn.ReLU\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    grid = [{"id": "mine", "train": {"network": "net_to_train.py:make", "args": {"width": 5}}}]
    content = yaml.safe_load(recipe.read_text())
    content["train"].pop("args")
    recipe.write_text(yaml.safe_dump({**content, "grid": grid}))
    listed = train(recipe, tmp_path / "out")
    corpus = {"images": [str(photos / "*.png")], "scale": 4}
    study = parse_recipe(
        {"name": "s", "corpus": corpus, "models": [{"from": str(listed)}], "stages": [{"restore": {}}]}, base=tmp_path / "elsewhere"
    )
    entry = study.models[0]
    assert entry.folder is not None
    assert Path(entry.folder).resolve() == tmp_path.resolve()
    state = read_state_dict(Path(str(entry.weights)))
    model = load_model(ModelSpec("mine", entry.weights, entry.network, entry.args, folder=entry.folder), state.tensors)
    assert model.scale == 4
    card = json.loads((tmp_path / "out/mine/card.json").read_text())
    assert str(tmp_path) not in json.dumps(card["recipe"])


def test_a_network_of_scale_1_is_trained_with_rain_drawn_on_line(recipe: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(recipe.read_text())
    content["corpus"] |= {"scale": 1, "degradations": ["clean", {"rain": "hu25-small", "share": 0.9}]}
    content["validate"]["degradations"] = ["clean", {"rain": "hu25-small"}, {"rain": {"preset": "hu25-small", "ood": "angle"}}]
    content["train"] |= {"network": "toy_trainees:Denoiser", "args": {"width": 4}}
    recipe.write_text(yaml.safe_dump({**content, "grid": [{"id": "a"}, {"id": "b", "seed": 1}]}))
    train(recipe, tmp_path / "out")
    first = (tmp_path / "out/a/weights.safetensors").read_bytes()
    train(recipe, tmp_path / "again", only=["a"])
    assert (tmp_path / "again/a/weights.safetensors").read_bytes() == first
    card = check_card(json.loads((tmp_path / "out/a/card.json").read_text()), name="a")
    assert card["scale"] == 1
    assert {"psnr_y", "psnr_y rain-hu25-small", "psnr_y rain-hu25-small-ood-angle"} < set(card["curve"])
    with pytest.raises(RecipeError, match=r"corpus\.degradations was .*hu25-small.*, is now .*hu25-large"):
        train(recipe, tmp_path / "out", overrides=["corpus.degradations=[{rain: hu25-large}]"], only=["a"])


def test_what_is_finished_is_not_trained_again_and_another_recipe_is_refused(recipe: Path, tmp_path: Path) -> None:
    train(recipe, tmp_path / "out", only=["gr"])
    before = (tmp_path / "out/gr/weights.safetensors").stat().st_mtime_ns
    seen = []
    train(recipe, tmp_path / "out", only=["gr", "nogr"], progress=seen.append)
    assert {progress.id for progress in seen} == {"nogr"}
    assert (tmp_path / "out/gr/weights.safetensors").stat().st_mtime_ns == before
    with pytest.raises(RecipeError, match=r"another, finished training: train\.lr was 0\.001, is now 0\.5\. Use another --out or id"):
        train(recipe, tmp_path / "out", overrides=["train.lr=0.5"], only=["gr"])


def test_a_twin_of_weights_that_were_trained_again_is_not_taken_for_finished(recipe: Path, tmp_path: Path) -> None:
    train(recipe, tmp_path / "out", only=["gr", "late"])
    shutil.rmtree(tmp_path / "out/gr")
    train(recipe, tmp_path / "out", overrides=["train.lr=0.002"], only=["gr"])
    with pytest.raises(RecipeError, match=r"late starts from gr, .* gr of another recipe: train\.lr was 0\.002, is now 0\.001"):
        train(recipe, tmp_path / "out", only=["late"])
    shutil.copytree(tmp_path / "out/late", tmp_path / "kept")
    changed = tmp_path / "elsewhere.safetensors"
    shutil.copy(tmp_path / "out/gr/weights.safetensors", changed)
    folder = tmp_path / "out/late"
    with pytest.raises(RecipeError, match=r"first weights \(train\.init\) were .*…, are now .*…"):
        train(recipe, tmp_path / "out", overrides=[f"grid={_grid(recipe, 'late', init=str(changed))}"], only=["late"])
    assert (folder / "card.json").read_bytes() == (tmp_path / "kept/card.json").read_bytes()


def _grid(recipe: Path, entry: str, **train_fields) -> str:
    grid = [item for item in yaml.safe_load(recipe.read_text())["grid"] if item["id"] == entry]
    grid[0]["train"] |= train_fields
    return json.dumps(grid)


def test_other_photographs_under_the_same_names_are_refused_and_named(recipe: Path, photos: Path, tmp_path: Path) -> None:
    """A1: the card was compared by a hash that drops file lists, so other training photographs counted as done."""
    folder = shutil.copytree(photos, tmp_path / "mine")
    mine = [f"corpus.images={folder}/*.png"]
    train(recipe, tmp_path / "out", overrides=mine, only=["gr"])
    Image.fromarray(textured(96, 128, 99)).save(folder / "photo2.png")
    with pytest.raises(RecipeError, match=r"4 now, 4 then; 1 with bytes that it was not trained on \(photo2\.png\), 1 gone or changed"):
        train(recipe, tmp_path / "out", overrides=mine, only=["gr"])
    (folder / "photo2.png").unlink()
    with pytest.raises(RecipeError, match=r"images: 3 now, 4 then; 1 gone or changed \(photo2\.png\)"):
        train(recipe, tmp_path / "out", overrides=mine, only=["gr"])


def test_the_same_photographs_elsewhere_and_by_other_names_are_the_same_training(recipe: Path, photos: Path, tmp_path: Path) -> None:
    train(recipe, tmp_path / "out", only=["gr"])
    (tmp_path / "moved").mkdir()
    for index, path in enumerate(sorted(photos.glob("*.png"))):
        shutil.copy(path, tmp_path / f"moved/{9 - index}.png")
    seen = []
    train(recipe, tmp_path / "out", overrides=[f"corpus.images={tmp_path}/moved/*.png"], only=["gr"], progress=seen.append)
    assert not seen


def test_an_unfinished_training_does_not_go_on_from_other_first_weights_or_pairs(make_job, make_trainer, photos, tmp_path: Path) -> None:
    first = {key: value.clone() for key, value in make_trainer(make_job(), tmp_path / "init").network.state_dict().items()}
    other = {**first, "last.bias": first["last.bias"] + 1}
    make_trainer(make_job(init="x"), tmp_path / "a", init=first).run(until=2)
    with pytest.raises(RecipeError, match=r"unfinished training: first weights"):
        make_trainer(make_job(init="x"), tmp_path / "a", init=other)
    inputs = shutil.copytree(photos, tmp_path / "inputs")
    pairs = {"pairs": {"input": f"{inputs}/*.png", "target": f"{photos}/*.png"}}
    denoiser = {"network": "toy_trainees:Denoiser", "args": {"width": 4}, "corpus": pairs}
    make_trainer(make_job(**denoiser), tmp_path / "b").run(until=2)
    Image.fromarray(textured(96, 128, 99)).save(inputs / "photo0.png")  # another input of the same target
    with pytest.raises(RecipeError, match=r"images: 4 now, 4 then; 1 with bytes that it was not trained on"):
        make_trainer(make_job(**denoiser), tmp_path / "b")


def test_a_card_from_before_is_compared_by_what_it_holds(recipe: Path, photos: Path, tmp_path: Path) -> None:
    train(recipe, tmp_path / "out", only=["gr"])
    path = tmp_path / "out/gr/card.json"
    card = json.loads(path.read_text())
    for name in ("versions", "identity_sha256"):
        del card[name]  # as cards were written until these were counted
    path.write_text(json.dumps(sealed(card)))
    seen, said = [], []
    train(recipe, tmp_path / "out", only=["gr"], progress=seen.append, say=said.append)
    assert (seen, said) == ([], [])
    path.write_text(json.dumps(sealed({**card, "images": []})))
    train(recipe, tmp_path / "out", only=["gr"], progress=seen.append, say=said.append)
    assert seen == []
    assert said == ["gr: its card lists no images: they were not compared"]
    with pytest.raises(RecipeError, match=r"train\.lr was"):
        train(recipe, tmp_path / "out", overrides=["train.lr=0.5"], only=["gr"])


def test_weights_that_are_not_those_of_the_card_do_not_count_as_trained(recipe: Path, tmp_path: Path) -> None:
    train(recipe, tmp_path / "out", only=["gr"])
    weights = tmp_path / "out/gr/weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(WeightsError, match=r"gr/weights\.safetensors: has the sha256 .* Delete the folder"):
        train(recipe, tmp_path / "out", only=["gr"])
    weights.unlink()
    with pytest.raises(WeightsError, match=r"gr/weights\.safetensors: missing"):
        train(recipe, tmp_path / "out", only=["gr"])


def test_models_yaml_lists_only_what_this_recipe_trained(recipe: Path, tmp_path: Path) -> None:
    train(recipe, tmp_path / "out", only=["gr", "nogr"])
    shutil.rmtree(tmp_path / "out/gr")
    said = []
    path = train(recipe, tmp_path / "out", overrides=["train.lr=0.002"], only=["gr"], say=said.append)
    assert [model["id"] for model in yaml.safe_load(path.read_text())["models"]] == ["gr"]
    assert said == ["models.yaml does not list nogr: trained by another recipe"]


def test_missing_files_stop_the_run_before_it_starts(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="matches no file"):
        train(recipe, tmp_path / "out", overrides=["corpus.images=/absent/*.png"])
    with pytest.raises(RecipeError, match=r"measure.Set5: .*--set measure=null"):
        train(recipe, tmp_path / "out", overrides=["measure={Set5: {input: /absent/*.png, target: /absent/*.png}}"])
    with pytest.raises(RecipeError, match="grr is not in the grid"):
        train(recipe, tmp_path / "out", only=["grr"])
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_of_the_family_trained_twice_for_200_iterations_are_byte_equal(
    root: Path, photos: Path, tmp_path: Path
) -> None:
    images = str(photos / "*.png")
    overrides = [f"corpus.images={images}", f"validate.images={images}", "measure=null", "train.iterations=200"]
    two = ["srresnet-gr-clean", "srresnet-nogr-blur0_4"]
    for again in ("first", "second"):
        train(root / "pipelines/train_matched.yaml", tmp_path / again, overrides=overrides, only=two)
    for name in two:
        first, second = (
            (tmp_path / again / name / "weights.safetensors").read_bytes() for again in ("first", "second")
        )
        assert first == second
    assert (tmp_path / "first" / two[0] / "weights.safetensors").read_bytes() != first
