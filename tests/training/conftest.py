"""Small textured images to train on, and short trainings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

if str(Path(__file__).parent) not in sys.path:
    sys.path.append(str(Path(__file__).parent))

from toy_pictures import textured

from xlli_ray.training.corpus import TrainCorpus
from xlli_ray.training.data import Crops, read_images
from xlli_ray.training.images import scan_here
from xlli_ray.training.loop import Trainer
from xlli_ray.training.recipe import Job, Train


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of four PNG files of 96x128 pixels."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(4):
        Image.fromarray(textured(96, 128, index)).save(folder / f"photo{index}.png")
    return folder


@pytest.fixture
def make_job(photos: Path) -> Callable[..., Job]:
    """`make_job(iterations=20, degradations=["clean"], seed=0, **train)`: a tiny srresnet, everything overridable."""

    def make(
        *, corpus: dict | None = None, degradations: list | None = None, seed: int = 0, id: str = "net", **train
    ) -> Job:
        settings = {
            "network": "srresnet", "args": {"width": 8, "blocks": 2}, "iterations": 20, "batch": 4, "crop": 48,
            "warmup": 5, **train,
        }  # fmt: skip
        source = corpus or {"images": [str(photos / "*.png")], "degradations": degradations or ["clean"]}
        return Job(id=id, seed=seed, corpus=TrainCorpus(**source), train=Train(**settings))

    return make


@pytest.fixture
def make_trainer() -> Callable[..., Trainer]:
    """`make_trainer(job, folder, init=None)`."""

    def make(job: Job, folder: Path, **more) -> Trainer:
        images, scale = read_images(job.corpus, scan_here(job.corpus.scanned()))
        crops = Crops(
            images, scale, crop=job.train.crop, batch=job.train.batch, degradations=job.corpus.draws,
            seed=job.seed, min_gradient=job.train.min_gradient,
        )  # fmt: skip
        return Trainer(job, crops, folder, **more)

    return make
