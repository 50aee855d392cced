"""Small finished studies for the fuzzers: of images (weights, arrays of four probes, an analysis, records and packs, a rejected file), of
clips (known motion, flow, inputs with by-products) and of trainings (two networks, one of which has failed)."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import run_study
from xlli_ray.engine.run.training_runner import train_recipe
from xlli_ray.recipe import Recipe, load_recipe
from xlli_ray.report.page import write_report
from xlli_ray.report.training_page import write_training_page
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.records import listing

ENGINE_TESTS = Path(__file__).parents[1] / "engine"
if str(ENGINE_TESTS) not in sys.path:
    sys.path.insert(0, str(ENGINE_TESTS))  # `network: toy:small`

PACKED = 3
"""Units of a pack here: a thousand would take minutes to make."""


def write_small_recipe(folder: Path) -> Path:
    """Four images of two sizes and a broken one, two networks, three probes and an analysis."""
    images = folder / "images"
    images.mkdir(parents=True)
    for i in range(4):
        coarse = np.random.default_rng(i).normal(0.45, 0.15, (10, 10 if i % 3 else 12, 3))
        fine = np.kron(coarse, np.ones((4, 4, 1))).clip(0, 1)
        Image.fromarray((fine * 255).astype(np.uint8)).save(images / f"{i}.png")
    (images / "broken.png").write_bytes(b"no image")
    data = {
        "name": "small",
        "baseline": False,
        "corpus": {"images": ["images/*.png"], "scale": 2},
        "models": [{"id": "small", "network": "toy:small", "tags": {"size": 1}},
                   {"id": "other", "network": "toy:small", "args": {"seed": 1}, "tags": {"size": 2}}],
        "stages": [{"features": {"layers": ["head"], "models": ["small"]}}, {"restore": {"save": True}},
                   {"lam": {"nodes": 2, "windows": {"size": 12, "per_sample": 2}}}, {"lam_summary": {}},
                   {"gram": {"layers": ["tail:input"], "models": ["small"]}}],
        "batch": {"features": 1, "restore": 1},
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def small_study(folder: Path) -> tuple[Recipe, Path]:
    """(recipe, study), made in two runs. Sets the size of packs for this process: call it in one that does nothing else, or set it back."""
    listing.PACK = PACKED
    recipe = load_recipe(write_small_recipe(folder))
    place = folder / "study"
    run_study(recipe.model_copy(update={"stages": recipe.stages[:1]}), str(place), Options(workers=0, quiet=True))
    run_study(recipe, str(place), Options(workers=0, quiet=True))
    write_report(str(place))
    return recipe, place


def motion_study(folder: Path) -> tuple[Recipe, Path]:
    """(recipe, study) of clips made from two photographs: flow by two estimators, inputs with arrays."""
    (folder / "photographs").mkdir()
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 256, (18, 18, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
        Image.fromarray(pixels).save(folder / f"photographs/{i}.png")
    data = {
        "name": "motion",
        "corpus": {"motion": {"images": ["photographs/*.png"], "window": 2, "size": 32, "speeds": [0, 1]}, "scale": 2,
                   "degradations": ["clean", {"rain": "hu25-small"}]},
        "stages": [{"flow": {"estimator": "known"}}, {"flow": {"id": "phase", "estimator": "phase"}},
                   {"inputs": {"save": ["input", "target"]}}],
    }  # fmt: skip
    path = folder / "motion.yaml"
    path.write_text(yaml.safe_dump(data))
    recipe, place = load_recipe(path), folder / "motion"
    run_study(recipe, str(place), Options(workers=0, quiet=True))
    write_report(str(place))
    return recipe, place


def small_training(folder: Path) -> tuple[Path, Path]:
    """(recipe, study) of two networks over the images of `write_small_recipe`; one ends as soon as it begins."""
    data = {
        "name": "trained",
        "corpus": {"images": ["images/*.png"], "degradations": ["clean"]},
        "train": {"network": "srresnet", "args": {"width": 4, "blocks": 1}, "iterations": 4, "batch": 1, "crop": 16, "checkpoint_every": 2},
        "grid": [{"id": "one"}, {"id": "two", "train": {"lr": 1e30, "iterations": 3}}],
    }  # fmt: skip
    path = folder / "training.yaml"
    path.write_text(yaml.safe_dump(data))
    place = folder / "trained"
    train_recipe(path, str(place), options=Options(workers=0, quiet=True))
    write_training_page(open_objects(str(place)))
    return path, place
