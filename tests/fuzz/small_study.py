"""A small finished study with one of everything: weights, arrays of three probes, an analysis, records and packs, a rejected file."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import run_study
from xlli_ray.recipe import Recipe, load_recipe
from xlli_ray.report.page import write_report
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
                   {"lam": {"nodes": 2, "windows": {"size": 12, "per_sample": 2}}}, {"lam_summary": {}}],
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
