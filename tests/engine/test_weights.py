"""How checkpoints come into a study: which weights were taken is kept, and a file that is not the one meant is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from xlli_ray.engine.weights import keep_models, load_study_model
from xlli_ray.errors import WeightsError
from xlli_ray.models.builtin import builtin_path
from xlli_ray.models.checkpoint import read_state_dict
from xlli_ray.recipe import parse_recipe
from xlli_ray.store.objects import Objects, open_objects


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return open_objects(str(tmp_path / "study"))


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A checkpoint with averaged weights beside the last ones."""
    averaged = read_state_dict(builtin_path("srresnet-gr-clean")).tensors
    last = {name: tensor + 0.01 if tensor.is_floating_point() else tensor for name, tensor in averaged.items()}
    torch.save({"params": last, "params_ema": averaged, "iter": 5}, tmp_path / "two.pth")
    return tmp_path / "two.pth"


def recipe(path: Path, **model: Any) -> Any:
    return parse_recipe(
        {
            "name": "x", "corpus": {"images": ["skimage://chelsea"], "scale": 4},
            "models": [{"id": "a", "weights": str(path), "network": "srresnet", **model}], "stages": [{"restore": {}}],
        },
        base=path.parent,
    )  # fmt: skip


def test_which_weights_were_taken_is_kept_with_the_study(two: Path, objects: Objects) -> None:
    (averaged,) = keep_models(objects, recipe(two), ())
    assert averaged.notes == ("averaged weights taken (params_ema); `key: params` takes those of the last step",)
    assert averaged.weights_sha256 == read_state_dict(builtin_path("srresnet-gr-clean")).weights_sha256
    (last,) = keep_models(objects, recipe(two, key="params"), (averaged,))
    assert last.weights_sha256 != averaged.weights_sha256
    assert load_study_model(objects, last).weights_sha256 == last.weights_sha256


def test_a_file_that_does_not_have_the_recipes_sha256_is_refused_even_where_the_study_knows_it(two: Path, objects: Objects) -> None:
    right = read_state_dict(two).file_sha256
    known = keep_models(objects, recipe(two, sha256=right), ())
    assert "sha256" not in known[0].entry  # it checks, and is no part of what the model is
    assert keep_models(objects, recipe(two), known) == known
    with pytest.raises(WeightsError, match=r"model a: .*two\.pth: this is another file than `sha256` says"):
        keep_models(objects, recipe(two, sha256="0" * 64), known)


def test_an_entry_of_an_older_study_is_known_again(two: Path, objects: Objects) -> None:
    """Its record has no `key`, no `sha256`, no notes."""
    known = keep_models(objects, recipe(two), ())
    assert set(known[0].entry) == {"weights", "network", "args", "scale", "range", "output"}
    two.unlink()
    assert keep_models(objects, recipe(two), known) == known
