"""The promise, as a test: a kind of corpus is one file of one's own, and nothing in the package changes. The one that decodes is taken from
docs/extending.md as it stands."""

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
from xlli_ray import user_code
from xlli_ray.corpus.sample import Loader, sample_from_row
from xlli_ray.corpus.scan import expand, list_sources, scan_source
from xlli_ray.corpus.spec import CorpusSpec
from xlli_ray.errors import RecipeError, SampleError
from xlli_ray.recipe import parse_recipe

DOCS = Path(__file__).parents[2] / "docs" / "extending.md"
ARRAY_KIND = re.search(r"## A kind of corpus.*?```python\n(.*?)```", DOCS.read_text(), re.DOTALL)[1]  # type: ignore[index]
NUMBERED_KIND = '''
from pydantic import BaseModel, ConfigDict


class NumberedSpec(BaseModel):
    model_config = ConfigDict(extra="forbid")
    folder: str
    first: int = 0


class Numbered(CorpusKind):
    """Photographs from a number on: found in its own way, scanned and loaded as images are."""

    Given = NumberedSpec
    MADE = True

    def fixed(self, given):
        return {"first": given["first"]}

    def sources(self, given, corpus, base):
        return [Source("images", str(path)) for path in Path(given.folder).glob("*.png") if int(path.stem) >= given.first]
'''
ARRAYS, NUMBERED = "someones_kinds:Arrays", "someones_kinds:Numbered"
REST: dict[str, Any] = {
    "name": "own", "baseline": False, "models": [{"id": "net", "network": "net.py:make", "scale": 2}], "stages": [{"restore": {}}],
}  # fmt: skip


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the one file of somebody's package, importable; what the recipe allows is forgotten afterwards."""
    (tmp_path / "someones_kinds.py").write_text(ARRAY_KIND + NUMBERED_KIND)
    (tmp_path / "net.py").write_text("from torch import nn\n\n\ndef make():\n    return nn.Upsample(scale_factor=2)\n")
    (tmp_path / "photos").mkdir()
    for i in range(3):
        values = np.random.default_rng(i).integers(0, 256, (16, 20, 3), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / "photos" / f"{i}.png")
        np.save(tmp_path / "photos" / f"{i}.npy", values / 255)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(user_code, "_allowed", set())
    yield tmp_path
    sys.modules.pop("someones_kinds", None)


def rows(corpus: dict[str, Any], base: Path) -> list[dict[str, Any]]:
    spec = parse_recipe({**REST, "corpus": corpus}, base=base).corpus
    batches = expand([scan_source(source, spec, 0) for source in list_sources(spec, "/")], spec, 0)
    return [row for batch in batches for row in batch.to_pylist()]


def test_a_kind_that_finds_files_in_its_own_way_is_the_corpus_of_images_that_it_lists(package: Path) -> None:
    found = rows({NUMBERED: {"folder": "photos", "first": 1}, "scale": 2, "degradations": ["clean", {"noise": 20}]}, package)
    assert found == rows({"images": "photos/[12].png", "scale": 2, "degradations": ["clean", {"noise": 20}]}, package)
    assert len(found) == 4


def test_a_study_of_a_kind_of_ones_own_runs_continues_and_keeps_what_the_kind_says_is_fixed(package: Path) -> None:
    corpus = {NUMBERED: {"folder": "photos", "first": 1}, "scale": 2}
    recipe = package / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**REST, "corpus": corpus}))
    place = package / "study"
    xlli_ray.run(str(recipe), str(place))
    assert xlli_ray.open_study(place).sql("select count(*) as n from restore").to_pylist() == [{"n": 2}]
    records = sorted((place / "records").rglob("*"))
    xlli_ray.run(str(recipe), str(place))
    assert sorted((place / "records").rglob("*")) == records, "nothing was computed again"
    recipe.write_text(yaml.safe_dump({**REST, "corpus": {**corpus, NUMBERED: {"folder": "photos", "first": 0}}}))
    with pytest.raises(xlli_ray.XlliError, match=r"Numbered was \{'first': 1\}, is now \{'first': 0\}"):
        xlli_ray.run(str(recipe), str(place))


def test_a_kind_that_decodes_in_its_own_way_is_scanned_and_loaded_with_it_and_its_bad_files_are_rows(package: Path) -> None:
    (package / "photos" / "broken.npy").write_bytes(b"nothing of the kind")
    user_code.allow([ARRAYS])
    spec = CorpusSpec(**{ARRAYS: str(package / "photos")})
    scanned = [scan_source(source, spec, 0) for source in list_sources(spec, "/")]
    assert [row["reason"][:8] for row in scanned if row["status"] == "failed"] == ["no array"]
    made = [sample_from_row(row) for batch in expand(scanned, spec, 0) for row in batch.to_pylist()]
    assert {(sample.kind, sample.label, sample.size.bucket) for sample in made} == {(ARRAYS, "given", "h0016w0020")}
    for sample in made:
        wanted = np.load(sample.source).astype(np.float32).transpose(2, 0, 1)
        assert np.array_equal(Loader().load(sample).input, wanted)
    user_code._allowed.clear()
    with pytest.raises(SampleError, match="code that none of your recipes names"):
        Loader().load(made[0])


def test_mistakes_below_a_kind_of_ones_own_are_told_with_their_place(package: Path) -> None:
    with pytest.raises(RecipeError, match=r"corpus.someones_kinds:Numbered.fist: there is no key 'fist': did you mean 'first'"):
        rows({NUMBERED: {"folder": "photos", "fist": 1}, "scale": 2}, package)
    with pytest.raises(RecipeError, match="cannot be loaded"):
        rows({"someones_kinds:Gone": "x"}, package)
    with pytest.raises(RecipeError, match="expected a subclass of CorpusKind"):
        rows({"someones_kinds:NumberedSpec": "x"}, package)
    with pytest.raises(RecipeError, match=r"there is no key 'imags': did you mean 'images'\? Valid here: images, inputs, pairs, list"):
        rows({"imags": "x", "scale": 2}, package)
