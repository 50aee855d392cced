"""The stage `infidelity` over signed maps of the same study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xlli_ray.engine.run.driver import Summary
from xlli_ray.recipe import Recipe
from xlli_ray.store.verify.check_study import verify
from xlli_ray.study import open_study

Make, Go = Callable[..., Recipe], Callable[..., Summary]


def test_maps_of_several_paths_are_tried_on_the_same_windows(recipe: Make, run: Go, tmp_path: Path) -> None:
    maps = {"nodes": 4, "windows": {"size": 8, "per_sample": 2}, "signed": True, "max_rows": 2}
    images = recipe().dump()["corpus"]["images"]
    stages = [{"lam": maps}, {"lam": {"id": "black", "path": "linear_black", **maps}},
              {"infidelity": {"of": ["lam", "black"], "squares": 8, "noise": 4, "max_rows": 2}}]  # fmt: skip
    made = recipe(corpus={"images": images, "scale": 2, "degradations": ["clean"]}, stages=stages)
    assert run(made).failed == 0
    study = open_study(tmp_path / "study")
    rows = study.sql(
        'select i.*, l.di from infidelity i join lam l on l.stage = i."of" and l.row = i.row and l."window" = i."window" order by all'
    ).to_pylist()
    assert len(rows) == 2 * 2 * 2
    for row in rows:
        assert row["sparseness"] == pytest.approx(1 - row["di"] / 100, abs=1e-6)
        assert 0 <= row["share"] <= min(1, row["relative"])
    assert list(verify(study.archive)) == []
