"""The promise, as tests: a metric and a network are one file of one's own; and an installed package adds entries of every kind by name.

The metric is the one of docs/extending.md, the degradation too, each as it stands there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import xlli_ray
from xlli_ray import registry, user_code
from xlli_ray.report.page import write_report

DOCS = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
METRIC, STREAKS = (
    re.search(rf"## {title}.*?```python\n(.*?)```", DOCS, re.DOTALL)[1]  # type: ignore[index]
    for title in ("A metric", "A degradation")
)
NET = '''
import torch
from torch import nn
from torch.nn import functional as F
from xlli_ray.models.networks import Built


class Own(nn.Module):
    """Nearest neighbour ×2 plus what two layers add; takes multiples of 4 only, from 12 pixels on."""

    def __init__(self, gain):
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, padding=1)
        self.body = nn.Sequential(nn.ReLU(), nn.Conv2d(5, 3, 3, padding=1))
        self.gain = gain

    def forward(self, x):
        if x.shape[2] % 4 or x.shape[3] % 4 or min(x.shape[2:]) < 12:
            raise ValueError(f"{tuple(x.shape)}")
        return F.interpolate(x + self.gain * self.body(self.first(x)), scale_factor=2)


def make(gain=0.0, seed=0):
    torch.manual_seed(seed)
    return Built(Own(gain), scale=2, multiple=4, minimum=12)
'''
KIND = '''
from pathlib import Path
from xlli_ray.corpus.kinds import CorpusKind, Source


class Numbered(CorpusKind):
    """Photographs of a folder whose number is even."""

    Given, MADE = str, True

    def sources(self, given, corpus, base):
        return [Source("images", str(path)) for path in Path(given).glob("*.png") if int(path.stem) % 2 == 0]
'''
PROBE = '''
"""Contrast: how far apart the values of an output are."""
from xlli_ray.probes.probe import Probe
from xlli_ray.probes.measurement import Column, Measurement


class Contrast(Probe):
    KIND, NEEDS_OUTPUT = "contrast", True
    COLUMNS = (Column("contrast", "float64", "standard deviation of the output", unit="of 1", better="higher", limits=(0.0, None)),)

    def measure(self, model, batch, forward):
        return Measurement({}, {"contrast": forward.output.double().flatten(1).std(1).tolist()})
'''
FILES = {"metric": METRIC, "streaks": STREAKS, "net": NET, "kind": KIND, "probe": PROBE}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Photographs, one of them small, and somebody's files. What recipes allow, and what is installed, is forgotten afterwards."""
    (tmp_path / "photos").mkdir()
    for i, (height, width) in enumerate(((36, 44), (36, 44), (36, 44), (20, 40))):
        values = np.random.default_rng(i).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
        Image.fromarray(values.repeat(4, 0).repeat(4, 1)).save(tmp_path / "photos" / f"{i}.png")
    for name, code in FILES.items():
        (tmp_path / f"someones_{name}.py").write_text(code)
    monkeypatch.setattr(user_code, "_allowed", set())
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if "someones" in name:
            del sys.modules[name]
    for table in tables():
        table.__dict__.pop("_installed", None)


def tables() -> list[registry.Registry]:
    return [registry.PROBES, registry.METRICS, registry.DEGRADATIONS, registry.CORPORA]


def run(folder: Path, stages: list[Any], models: list[dict[str, Any]], corpus: dict[str, Any]) -> xlli_ray.Study:
    data = {"name": "added", "baseline": False, "corpus": corpus, "models": models, "stages": stages}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return xlli_ray.run(str(folder / "recipe.yaml"), str(folder / "study"))


def test_a_metric_has_its_column_with_unit_and_direction_on_the_page_and_in_means_of_groups(folder: Path) -> None:
    args = [{"gain": gain, "seed": seed} for gain in (0.0, 0.1) for seed in (0, 1)]
    models = [{"id": f"net{one['gain']}{one['seed']}", "network": "someones_net.py:make", "args": one, "tags": one} for one in args]
    stages = [
        {"restore": {"metrics": ["someones_metric.py:MeanError"]}},
        {"group_means": {"of": "restore", "columns": ["mean_error"], "by": ["gain"], "replicate": "seed"}},
    ]
    study = run(folder, stages, models, {"images": "photos/[02].png", "scale": 2})
    for row in study.sql("select mean_error, psnr_rgb from restore").to_pylist():
        assert 0 < row["mean_error"] < 255 * 10 ** (-row["psnr_rgb"] / 20), "a mean of sizes is below the root of the mean square"
    means = study.sql('select "group", column_name, mean, networks from group_means order by all').to_pylist()
    assert [(row["column_name"], row["networks"]) for row in means] == [("mean_error", 2)] * 2
    expected = study.sql("select avg(mean_error) as m from restore where model like 'net0.0%'").to_pylist()[0]["m"]
    assert means[0]["mean"] == pytest.approx(expected)
    page = Path(write_report(str(folder / "study"))).read_text()
    assert "mean absolute error, grey levels, lower is better" in page
    assert "grey levels ↓" in page


def test_a_network_of_ones_own_has_its_layers_its_scale_and_its_rule_of_sizes(folder: Path) -> None:
    stages = [{"restore": {"save": True}}, {"features": {"layers": ["first", "body.*"]}}]
    models = [{"id": "net", "network": "someones_net.py:make"}]
    study = run(folder, stages, models, {"images": "photos/*.png", "scale": 2})
    taps = [f"features/net/{layer}.out" for layer in ("body.0", "body.1", "first")]
    assert sorted(cell.id for cell in study.manifest.cells) == [*taps, "restore/net/restore"]
    assert study.array(taps[2]).rows(study.sql("select sample_id from samples where height = 18")["sample_id"].to_pylist()).shape[1:] == (
        5, 18, 22,
    )  # fmt: skip
    (model,) = study.manifest.models
    assert (model.scale, model.network) == (2, "someones_net.py:make")
    found = study.sql("select sample_id, s.height, s.width, status from restore join samples s using (sample_id)").to_pylist()
    assert {(row["height"], row["width"], row["status"]) for row in found} == {(18, 22, "ok"), (10, 20, "ok")}, "both are padded"
    for row in found:
        (output,) = study.array("restore/net/restore").rows([row["sample_id"]])
        given = study.sample(row["sample_id"]).input
        assert np.array_equal(output, np.round(given.repeat(2, 1).repeat(2, 2) * 255).astype(np.uint8))


def test_an_installed_package_adds_a_probe_a_metric_a_degradation_and_a_kind_of_corpus_by_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = folder / "someones-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: someones\nVersion: 1.0\n")
    entries = {"probes": "contrast = someones_probe:Contrast", "metrics": "mean_error = someones_metric:MeanError",
               "degradations": "streaks = someones_streaks:Streaks", "corpora": "numbered = someones_kind:Numbered"}  # fmt: skip
    (about / "entry_points.txt").write_text("".join(f"[xlli_ray.{group}]\n{entry}\n" for group, entry in entries.items()))
    monkeypatch.syspath_prepend(folder)
    for table in tables():
        table.__dict__.pop("_installed", None)
    wet = {"streaks": {"amount": 0.05, "length": 3}, "label": "wet"}
    corpus = {"numbered": str(folder / "photos"), "scale": 2, "degradations": ["clean", wet]}
    models = [{"id": "net", "network": "someones_net.py:make"}]
    study = run(folder, [{"contrast": {}}, {"restore": {"metrics": ["mean_error"]}}], models, corpus)
    query = (
        "select label, streaks, count(*) as n, min(contrast) > 0 as some, min(mean_error) > 0 as wrong "
        "from contrast join restore using (row) join samples using (row) group by all order by label"
    )
    assert study.sql(query).to_pylist() == [
        {"label": "clean", "streaks": None, "n": 2, "some": True, "wrong": True},
        {"label": "wet", "streaks": 0.05, "n": 2, "some": True, "wrong": True},
    ]
    assert not user_code._allowed - {"someones_net.py:make"}, "what is installed needs no leave of a recipe"
    assert study.status()["complete"]
