"""How often a study asks its store what is there: LIST calls of a run, of resumes, of `status`, of a query and of the page, with 50 cells.

    python tests/benchmarks/listings.py [--models 10] [--folder DIR]

Counted on a local folder and on `memory://`. Prints one JSON object; `a_cell` is calls divided by cells.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import common
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))  # `network: toy:small`

LAYERS = ("head", "body", "tail:input", "tail")


def counted(calls: Counter[str], cells: int, what: Callable[[], Any]) -> dict[str, float]:
    calls.clear()
    what()
    total = sum(calls.values())
    return {"lists": total, "a_cell": round(total / cells, 2)}


def study(place: str, recipe_file: Path, calls: Counter[str]) -> dict[str, Any]:
    """Every step on one study."""
    from xlli_ray.engine.options import Options
    from xlli_ray.engine.run.driver import run_study
    from xlli_ray.recipe import load_recipe
    from xlli_ray.report.page import write_report
    from xlli_ray.store.objects.client import open_objects
    from xlli_ray.study import open_study

    recipe = load_recipe(recipe_file)

    def run() -> None:
        run_study(recipe, place, Options(workers=0, quiet=True))

    cells = len(recipe.models) * (len(LAYERS) + 1)
    out = {"cells": cells, "first run": counted(calls, cells, run)}
    assert cells == len(open_study(place).manifest.cells)
    out["resume, all is done"] = counted(calls, cells, run)
    objects = open_objects(place)
    objects.delete([key for key in list(objects.list("records")) if not key.startswith("records/scan-")][::3])
    out["resume, a third is missing"] = counted(calls, cells, run)
    opened = open_study(place)
    out["status"] = counted(calls, cells, opened.status)
    out["query"] = counted(calls, cells, lambda: opened.sql("select count(*) from restore"))
    out["page"] = counted(calls, cells, lambda: write_report(place))
    return out


def recipe_in(folder: Path, models: int) -> Path:
    """A recipe over 24 small images with `models` toy networks."""
    import yaml
    from PIL import Image

    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    for i in range(24):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / "images" / f"{i:02d}.png")
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump({
        "name": "listings", "baseline": False,
        "corpus": {"images": [f"{folder}/images/*.png"], "scale": 2},
        "models": [{"id": f"m{i:02d}", "network": "toy:small", "args": {"seed": i}} for i in range(models)],
        "stages": [{"features": {"layers": list(LAYERS)}}, {"restore": {}}],
    }))  # fmt: skip
    return file


def count_lists() -> Counter[str]:
    """Counts every `list` of a store from now on, by the first part of its prefix."""
    from xlli_ray.store.objects import client

    calls: Counter[str] = Counter()
    for kind in (client.LocalObjects, client.BucketObjects):

        def counting(self: Any, prefix: str, usual: Callable[..., Iterator[str]] = kind.list) -> Iterator[str]:
            calls[prefix.split("/")[0]] += 1
            return usual(self, prefix)

        kind.list = counting  # type: ignore[assignment, method-assign]
    return calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=10)
    parser.add_argument("--folder", type=Path, default=None)
    args = parser.parse_args()
    import tempfile

    from xlli_ray.engine.run import network_process

    network_process.OWN_PROCESS = False  # the toys are ours, and `memory://` is of this process
    calls = count_lists()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        file = recipe_in(Path(name), args.models)
        out = {kind: study(place, file, calls) for kind, place in (("local", f"{name}/study"), ("memory", "memory://listings"))}
    common.finish("listings", **out)


if __name__ == "__main__":
    main()
