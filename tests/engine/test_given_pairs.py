"""Rain100L and Rain100H as they lie on disk, with a label, a mask and a column of a list: from files to tables, arrays and an index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

import xlli_ray
from xlli_ray import user_code
from xlli_ray.report.page import write_report

SCENES = {"001": "people", "002": "nature", "007": "people", "009": "nature"}
THRESHOLD = 20  # of 255, on the largest difference of the channels
MASKED = '''
"""Errors where it rains, and elsewhere."""
import numpy as np
from xlli_ray.probes.probe import Probe
from xlli_ray.probes.measurement import Column, Measurement


class Masked(Probe):
    KIND, NEEDS_OUTPUT = "masked", True
    COLUMNS = tuple(Column(name, "float64", "mean squared error", better="lower") for name in ("in_rain", "elsewhere"))

    def measure(self, model, batch, forward):
        found = []
        for output, target, extras in zip(forward.output.cpu().numpy(), batch.targets, batch.extras):
            error, mask = ((output - target) ** 2).mean(0).astype(np.float64), extras["mask"]
            found.append([float(error[part].mean()) if part.any() else float("nan") for part in (mask, ~mask)])
        return Measurement({}, {name: [pair[i] for pair in found] for i, name in enumerate(("in_rain", "elsewhere"))})
'''
NET = """
import torch
from torch import nn


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 3, 3, padding=1))
"""


@pytest.fixture
def folder(tmp_path: Path, fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe with a list of crops: each scene clean, in light and in heavy rain; of one scene nobody noted what it shows."""
    rain = fixtures / "rain"
    rows = []
    for number, shows in SCENES.items():
        crop = (slice(100, 196), slice(100, 196))
        clean = pixels(rain / "R100L" / "clean" / f"{number}.png")[crop]
        rows.append({"input": save(tmp_path, f"B{number}", clean), "label": "clean", "mask": None})
        for name in "LH":
            rainy = pixels(rain / f"R100{name}" / "rainy" / f"{number}.png")[crop]
            mask = np.abs(rainy.astype(int) - clean).max(axis=2) > THRESHOLD
            rows.append({
                "input": save(tmp_path, f"O{name}{number}", rainy), "label": f"rain100{name.lower()}",
                "mask": save(tmp_path, f"M{name}{number}", mask.astype(np.uint8) * 255),
            })  # fmt: skip
        for row in rows[-3:]:
            row |= {"target": f"B{number}.png", "shows": None if number == "009" else shows}
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "list.parquet")
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "masked.py").write_text(MASKED)
    stages = [
        {"restore": {}}, {"masked.py:Masked": {}}, {"inputs": {"save": ["mask"]}}, {"features": {"layers": ["0"], "dtype": "float32"}},
        {"srga": {"of": "features", "layer": "0", "resamples": 2}},
    ]  # fmt: skip
    data = {
        "name": "rain", "baseline": False, "corpus": {"list": "list.parquet", "patches": {"size": 32, "per_image": 6, "min_std": 0}},
        "models": [{"id": "net", "network": "net.py:make", "scale": 1}], "stages": stages,
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    monkeypatch.setattr(user_code, "_allowed", set())
    return tmp_path


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def save(folder: Path, name: str, values: np.ndarray) -> str:
    Image.fromarray(values).save(folder / f"{name}.png")
    return f"{name}.png"


def test_rain_from_disk_is_grouped_by_its_label_and_by_a_column_of_its_list_and_its_mask_is_stored_and_measured(folder: Path) -> None:
    place = folder / "study"
    study = xlli_ray.run(str(folder / "recipe.yaml"), str(place))
    assert study.failures.num_rows == 0
    by_label = "select label, type, count(*) as n from restore join samples using (sample_id) group by all order by label"
    rows = study.sql(by_label).to_pylist()
    assert [(row["label"], row["type"], row["n"]) for row in rows] == [
        (label, label, 24) for label in ("clean", "rain100h", "rain100l")
    ]
    by_column = "select shows, count(*) as n from restore join samples using (sample_id) where label = 'rain100l' group by 1 order by 1"
    assert study.sql(by_column).to_pylist() == [{"shows": "nature", "n": 6}, {"shows": "people", "n": 12}, {"shows": None, "n": 6}]

    mask = study.array("inputs/-/inputs", "mask")
    cover = {}
    for label in ("clean", "rain100l", "rain100h"):
        ids = study.sql(f"select sample_id from samples where label = '{label}' order by row").column("sample_id").to_pylist()
        stored = mask.rows(ids)
        assert (stored.shape, stored.dtype) == ((24, 32, 32), bool)
        cover[label] = float(stored.mean())
        for one, kept in zip(ids[:3], stored):
            sample = study.sample(one)
            differs = np.abs(sample.input - sample.target).max(axis=0)
            assert np.array_equal(kept, np.round(255 * differs) > THRESHOLD)
    assert cover["clean"] == 0 < cover["rain100l"] < cover["rain100h"]
    errors = "select label, count(*) as n from masked join samples using (sample_id) where isfinite(in_rain) group by label"
    assert {row["label"] for row in study.sql(errors).to_pylist()} == {"rain100l", "rain100h"}

    index = {row["label"]: (row["family"], row["state"]) for row in study.sql("select label, family, state from srga").to_pylist()}
    assert index == {"clean": ("reference", "reference"), "rain100l": ("rain100l", "ok"), "rain100h": ("rain100h", "ok")}, (
        "labels are sets of the same contents"
    )
    assert "rain100l" in Path(write_report(str(place))).read_text()

    records = sorted((place / "records").rglob("*"))
    xlli_ray.run(str(folder / "recipe.yaml"), str(place))
    assert sorted((place / "records").rglob("*")) == records, "nothing was computed again"
