"""The corpus section of a recipe: what is accepted, and what a mistake is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from xlli_ray.corpus.scan import CorpusSpec


def test_the_recipes_of_the_documentation() -> None:
    spec = CorpusSpec(
        images=["a/*_HR.png"],
        patches={"size": 128, "per_image": 8, "min_std": 5.0},
        scale=4,
        degradations=["clean", {"blur": 1.0}, {"noise": 20}, {"jpeg": 50}, {"noise": 10, "blur": 2.0}],
    )
    assert [mixture.label for mixture in spec.mixtures] == ["clean", "blur1", "noise20", "jpeg50", "blur2+noise10"]
    assert CorpusSpec(pairs={"input": "*_LR.png", "target": "*_HR.png"}).pairs.target == ["*_HR.png"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "corpus",
    [
        {"images": "x/*.png", "scale": 1},
        {"inputs": ["a", "b"], "patches": {"per_image": None}},
        {"list": "files.parquet"},
        {"images": ["x"], "scale": 2, "degradations": ["clean", {"blur": 2}], "max_pixels": 5},
    ],
)
def test_what_is_saved_is_read_back_the_same(corpus: dict[str, Any]) -> None:
    spec = CorpusSpec(**corpus)
    dumped = spec.model_dump(mode="json")
    assert CorpusSpec(**json.loads(json.dumps(dumped))) == spec


def test_defaults() -> None:
    spec = CorpusSpec(images="x/*.png", scale=4, patches={})
    assert spec.images == ["x/*.png"]
    assert [mixture.label for mixture in spec.mixtures] == ["clean"]
    assert spec.patches is not None
    assert spec.patches.model_dump() == {"size": 128, "per_image": 8, "count": None, "min_std": 5.0}


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ({}, "exactly one source of images, inputs, pairs, list, clips, motion; found none"),
        ({"images": ["a"], "inputs": ["b"], "scale": 4}, "found images and inputs"),
        ({"images": ["a"]}, "scale is missing"),
        ({"images": [], "scale": 4}, "the list is empty"),
        ({"inputs": ["a"], "scale": 4}, "scale is only for images"),
        ({"pairs": {"input": "a", "target": "b"}, "degradations": ["clean"]}, "degradations is only for images"),
        ({"images": ["a"], "scale": 3, "patches": {"size": 128}}, "size must be a multiple of scale 3, got 128"),
        ({"images": ["a"], "scale": 4, "degradations": []}, "the list is empty"),
        ({"images": ["a"], "scale": 4, "degradations": [{"blur": 2}, {"blur": 2.0}]}, "blur2 is listed twice"),
        ({"images": ["a"], "scale": 4, "degradations": [{"blurr": 2}]}, "Closest: blur"),
        ({"images": ["a"], "scale": 4, "degradations": [{"blur": [0, 4]}]}, "is for training"),
        ({"images": ["a"], "scale": 0}, "greater than or equal to 1"),
        ({"images": ["a"], "scale": 4, "patches": {"sise": 3}}, "Extra inputs"),
        ({"imges": ["a"]}, "Extra inputs"),
        ({"images": ["a"], "scale": 4, "patches": {"per_image": 0}}, "greater than or equal to 1"),
    ],
)
def test_mistakes_are_told(corpus: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CorpusSpec(**corpus)
