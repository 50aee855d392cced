"""What is sent of a recipe to a job: the resolved recipe, written as people write it, and the code that it names beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from xlli_ray.errors import RecipeError
from xlli_ray.recipe import Recipe, load_recipe
from xlli_ray.training.recipe import TrainRecipe, is_training
from xlli_ray.training.recipe import load_recipe as load_training
from xlli_ray.user_code import allowed, places_in

CODE_BYTES = 20 << 20
"""Largest total size of the Python files that are sent with a recipe."""


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe | TrainRecipe:
    """The recipe of a study or of a training. Raises RecipeError."""
    return load_training(path, overrides=overrides) if is_training(path) else load_recipe(path, overrides=overrides)


def files_of(recipe: Recipe | TrainRecipe, limit: int | None = None) -> dict[str, bytes]:
    """Path in the job's folder → content: `recipe.yaml` and the Python files beside it. Raises RecipeError above `limit` bytes of code,
    of which a Ray cluster takes most."""
    limit = CODE_BYTES if limit is None else limit
    sent = as_training(recipe) if isinstance(recipe, TrainRecipe) else as_recipe(recipe)
    files = dict(code_beside(sent))
    if (size := sum(file.stat().st_size for file in files.values())) > limit:
        raise RecipeError(
            f"{len(files)} Python files beside the recipe hold {size / 2**20:.1f} MiB, at most {limit / 2**20:g} are sent with a job: keep "
            "what the recipe names in a folder of its own, or install it on the nodes"
        )
    return {"recipe.yaml": yaml.safe_dump(sent, sort_keys=False).encode(), **{name: file.read_bytes() for name, file in files.items()}}


def code_beside(document: object) -> Iterator[tuple[str, Path]]:
    """(path from the recipe's folder, file) of the Python code that the recipe names and finds in its own folder, with the files beside it.

    Not what is installed, nor what is named by an absolute path: the nodes have the first, and must see the second.
    """
    folders = dict(allowed())
    for place in sorted(places_in(document)):
        path = Path(place.rpartition(":")[0])
        base = Path(folders.get(place, ""))
        if not folders.get(place) or path.is_absolute() or path.parts[:1] == ("~",) or ".." in path.parts:
            continue
        file = path if path.suffix == ".py" else Path(*place.partition(":")[0].split(".")).with_suffix(".py")
        package = base / file.parts[0]
        if path.suffix != ".py" and (package / "__init__.py").is_file():
            yield from ((str(one.relative_to(base)), one) for one in sorted(package.rglob("*.py")))
        elif (base / file).is_file():
            yield from ((str(one.relative_to(base)), one) for one in sorted((base / file).parent.glob("*.py")))


def as_recipe(recipe: Recipe) -> dict[str, Any]:
    """The resolved recipe in the form written by people: parses back to the same."""
    data = {key: value for key, value in recipe.dump().items() if value is not None}
    data["corpus"] = {key: value for key, value in data["corpus"].items() if value is not None}
    stages = []
    for stage in recipe.stages:
        usual = {"models": "all", "precision": "float32"}
        fields = {"id": stage.id, **{name: getattr(stage, name) for name in usual if getattr(stage, name) != usual[name]}, **stage.params}
        stages.append({stage.code or stage.kind: fields})
    return {**data, "stages": stages}


def as_training(recipe: TrainRecipe) -> dict[str, Any]:
    """A training recipe in the form written by people: parses to the same networks on a node, which has the code beside the recipe in the
    job's folder."""
    data = recipe.model_dump(mode="json", by_alias=True, exclude_unset=True)
    folders, ids = dict(allowed()), {entry["id"] for entry in data.get("grid", ())}
    for train in (data["train"], *(entry["train"] for entry in data.get("grid", ()) if "train" in entry)):
        if train.get("folder") is not None and train["folder"] in folders.values():
            del train["folder"]  # that of the recipe, which nobody wrote
        if isinstance(init := train.get("init"), str) and init not in ids and not init.startswith("builtin:"):
            train["init"] = str(Path(init).absolute())
    return data
