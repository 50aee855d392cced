"""What was trained before the corpus of trainings became that of studies keeps its identity, its card and its crops, to the bit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toy_pictures import textured

from xlli_ray.training.corpus import TrainCorpus
from xlli_ray.training.data import Crops, read_images
from xlli_ray.training.identity import identity_of
from xlli_ray.training.images import scan_here
from xlli_ray.training.recipe import Job, Train

BEFORE = {
    "images": ("c6b634a99721ecca", "d109debf54916de4", "1608cca0125e6af7"),
    "some": ("fe86762598fd04ad", "8c072c11ef59a9e2", "befc53512a3a9ee1"),
    "same size": ("8df9572b58c2259e", "09bcd610de92bead", "56bb9ad39a8512b8"),
    "pairs": ("50fca5e97f6c36e9", "c9d5233c73e0b7a5", "4330be7b87446441"),
    "inputs": ("51254cb542c6fe28", "97e0ca47c6b948b1", "0e1d73c590bc722e"),
}
"""Of each corpus: recipe's hash, identity, crops; as the version before gave them."""


def corpora(folder: Path) -> dict[str, dict[str, Any]]:
    """PPM files, whose bytes no library decides; one image twice."""
    for index in range(3):
        image = textured(96, 130, index)
        Image.fromarray(image).save(folder / f"{index}.ppm")
        Image.fromarray(image[:96:2, :130:2]).save(folder / f"{index}_half.ppm")
    Image.fromarray(textured(96, 130, 1)).save(folder / "again.ppm")
    draws = ["clean", {"blur": [0, 4]}, {"noise": [5, 20]}]
    pairs = {"input": f"{folder}/?_half.ppm", "target": f"{folder}/?.ppm"}
    return {
        "images": {"images": [f"{folder}/?.ppm", f"{folder}/again.ppm"], "degradations": draws},
        "some": {"images": f"{folder}/?.ppm", "scale": 2, "count": 2, "max_pixels": 10**6},
        "same size": {"images": [f"{folder}/?.ppm"], "scale": 1, "degradations": [{"noise": 20}]},
        "pairs": {"pairs": pairs},
        "inputs": {"inputs": [f"{folder}/?.ppm"], "degradations": ["clean"]},
    }


@pytest.mark.parametrize("name", ["images", "some", "same size", "pairs", "inputs"])
def test_hashes_and_crops_are_those_of_before(name: str, tmp_path: Path) -> None:
    corpus = TrainCorpus(**corpora(tmp_path)[name])
    job = Job(id="x", seed=3, corpus=corpus, train=Train(network="srresnet", args={"width": 4}, iterations=7))
    images, scale = read_images(corpus, scan_here(corpus.scanned()), seed=3)
    crops = Crops(images, scale, crop=32, batch=4, degradations=corpus.draws, seed=3, min_gradient=2.0)
    digest = hashlib.sha256()
    for iteration in range(3):
        batch = crops.batch(iteration)
        for array in (batch.input, batch.target, batch.content):
            digest.update(np.ascontiguousarray(array).tobytes())
    assert (job.recipe_hash()[:16], identity_of(job, crops.images, None).sha256[:16], digest.hexdigest()[:16]) == BEFORE[name]
