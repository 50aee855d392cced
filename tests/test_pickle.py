"""A study and what is read from it travel: to a DataLoader's workers, a process pool, a Ray task."""

from __future__ import annotations

import pickle
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import xlli_ray
from xlli_ray.study import Study, StudyArray

ENGINE_TESTS = Path(__file__).parent / "engine"
if str(ENGINE_TESTS) not in sys.path:
    sys.path.insert(0, str(ENGINE_TESTS))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("pickle")
    for i in range(4):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    (folder / "recipe.yaml").write_text(yaml.safe_dump({
        "name": "x", "corpus": {"images": ["*.png"], "scale": 2}, "models": [{"id": "a", "network": "toy:small"}],
        "stages": [{"restore": {}}, {"features": {"layers": ["head"]}}],
    }))  # fmt: skip
    return xlli_ray.run(str(folder / "recipe.yaml"), str(folder / "study"))


@pytest.fixture
def array(study: Study) -> StudyArray:
    return study.array("features/a/head.out")


class Rows(Dataset[Any]):
    def __init__(self, array: StudyArray) -> None:
        self.array, self.ids = array, array.samples()["sample_id"].to_pylist()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: int) -> np.ndarray:
        return np.asarray(self.array.rows([self.ids[place]]))[0]


def test_a_study_its_arrays_and_readers_say_the_same_after_a_journey(study: Study, array: StudyArray) -> None:
    ids = array.samples()["sample_id"].to_pylist()
    before = np.asarray(array.rows(ids)).tobytes()  # caches are full now
    there = pickle.loads(pickle.dumps(study))
    assert there.sql("from restore order by row").equals(study.sql("from restore order by row"))
    assert there.sample_rows(0, 4).equals(study.sample_rows(0, 4))
    for other in (pickle.loads(pickle.dumps(array)), there.array(array.name)):
        assert np.asarray(other.rows(ids)).tobytes() == before
    reader = pickle.loads(pickle.dumps(array.reader()))
    assert reader.rows([2, 0]).tobytes() == array.reader().rows([2, 0]).tobytes()
    assert np.array_equal(pickle.loads(pickle.dumps(array.xarray())).values, array.xarray().values)
    assert pickle.loads(pickle.dumps(study.results)) == {}


def _rows(array: StudyArray) -> bytes:
    return np.asarray(array.reader().rows([1, 3])).tobytes()


def test_a_data_loader_reads_in_its_workers(array: StudyArray) -> None:
    rows = Rows(array)
    loader = DataLoader(rows, batch_size=2, num_workers=1, multiprocessing_context="fork")
    assert np.concatenate([batch.numpy() for batch in loader]).tobytes() == np.asarray(array.rows(rows.ids)).tobytes()


def test_a_process_pool_takes_an_array(array: StudyArray) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        assert pool.submit(_pickled, pickle.dumps(array)).result(timeout=100) == _rows(array)


def _pickled(data: bytes) -> bytes:
    return _rows(pickle.loads(data))
