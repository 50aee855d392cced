"""The recipe: a YAML file that specifies the corpus, the models, the measurements and the analyses of a study.

Parsed strictly: an unknown key is an error that suggests the nearest valid one, and every error has its location. Paths are relative to
the recipe's folder and are resolved here, once. Nothing in this folder imports torch.
"""

from __future__ import annotations

from xlli_ray.recipe.absolute_paths import resolve_corpus, resolve_path
from xlli_ray.recipe.overrides import apply_override
from xlli_ray.recipe.parse import load_recipe, parse_recipe
from xlli_ray.recipe.schema import Limits, ModelEntry, Recipe, Stage, parse_bytes, stage_kind

__all__ = [
    "Limits", "ModelEntry", "Recipe", "Stage", "apply_override", "load_recipe", "parse_bytes", "parse_recipe", "resolve_corpus",
    "resolve_path", "stage_kind",
]  # fmt: skip
