"""How checkpoints come into a study: which weights were taken is kept, and a file that is not the one meant is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
import toy

from xlli_ray.engine.run.known_models import about_files
from xlli_ray.engine.run.study_weights import keep_models
from xlli_ray.engine.worker.study_model import load_study_model
from xlli_ray.errors import WeightsError
from xlli_ray.models.builtin_weights import builtin_path
from xlli_ray.models.checkpoint import read_state_dict, to_safetensors
from xlli_ray.recipe import Recipe, parse_recipe
from xlli_ray.store.objects.client import Objects, open_objects


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
    assert averaged.notes == ("averaged weights taken (params_ema); `key: params` selects those of the last step",)
    assert averaged.weights_sha256 == read_state_dict(builtin_path("srresnet-gr-clean")).weights_sha256
    (last,) = keep_models(objects, recipe(two, key="params"), (averaged,))
    assert last.weights_sha256 != averaged.weights_sha256
    assert load_study_model(objects, last).weights_sha256 == last.weights_sha256


def test_a_file_that_does_not_have_the_recipes_sha256_is_refused_even_where_the_study_knows_it(two: Path, objects: Objects) -> None:
    right = read_state_dict(two).file_sha256
    known = keep_models(objects, recipe(two, sha256=right), ())
    assert "sha256" not in known[0].entry  # it checks, and is no part of what the model is
    assert keep_models(objects, recipe(two), known) == known
    with pytest.raises(WeightsError, match=r"model a: .*two\.pth: the file does not match `sha256`"):
        keep_models(objects, recipe(two, sha256="0" * 64), known)


def test_an_entry_of_an_older_study_is_known_again(two: Path, objects: Objects) -> None:
    """Its record has no `key`, no `sha256`, no notes."""
    known = keep_models(objects, recipe(two), ())
    assert set(known[0].entry) == {"weights", "network", "args", "scale", "range", "output"}
    two.unlink()
    assert keep_models(objects, recipe(two), known) == known


def test_a_file_that_could_not_tell_that_it_is_damaged_is_said_once_until_its_sha256_is_given(tmp_path: Path) -> None:
    """Safetensors has no checksums: one flipped bit is another network, without a word."""
    data = to_safetensors(toy.small().state_dict())
    files = {"a": tmp_path / "a.safetensors", "b": tmp_path / "b.safetensors", "c": tmp_path / "c.pth"}
    for name, path in files.items():
        path.write_bytes(data) if name != "c" else torch.save(toy.small().state_dict(), path)

    def entries(**sha256: str) -> Recipe:
        models = [{"id": name, "weights": str(path), "network": "toy:small", **({"sha256": sha256[name]} if name in sha256 else {})}
                  for name, path in files.items()]  # fmt: skip
        return parse_recipe(
            {"name": "x", "corpus": {"images": ["a.png"], "scale": 2}, "models": models, "stages": [{"restore": {}}]}, base=tmp_path
        )

    objects, digest = open_objects(str(tmp_path / "study")), hashlib.sha256(data).hexdigest()
    first = keep_models(objects, entries(), ())
    digests, note = about_files(first)
    assert digests.startswith(f"weights: a sha256 {digest[:12]}…, b sha256 {digest[:12]}…, c sha256 ")
    assert note.startswith("a, b: the format (safetensors, PyTorch before 1.6) has no checksums")
    assert keep_models(objects, entries(), first) == first
    given = keep_models(objects, entries(a=digest), first)
    assert about_files(given)[1].startswith("b: ")
    assert len(about_files(keep_models(objects, entries(a=digest, b=digest), given))) == 1
    files["a"].write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(WeightsError, match="the file does not match `sha256`"):
        keep_models(objects, entries(a=digest), given)
