"""The table of means at the end of a run: of finite values only, and it says how many were left out."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

from xlli_ray.engine.driver import run_study
from xlli_ray.engine.options import Options
from xlli_ray.recipe import load_recipe
from xlli_ray.report.means import mean_tables
from xlli_ray.report.text import result_table
from xlli_ray.study import open_study


def test_an_exact_copy_and_a_tiny_image_poison_no_mean(tmp_path: Path) -> None:
    """D4: a network that copies scores inf on a picture that nothing was done to; one of two pixels had inf, too."""
    rng = np.random.default_rng(0)
    for name, small, large in (
        ("exact", np.full((8, 8, 3), 90), np.full((16, 16, 3), 90)),
        ("off", np.full((8, 8, 3), 90), np.full((16, 16, 3), 95)),
        ("tiny", rng.integers(0, 255, (2, 8, 3)), rng.integers(0, 255, (4, 16, 3))),
    ):
        Image.fromarray(small.astype(np.uint8)).save(tmp_path / f"{name}_LR.png")
        Image.fromarray(large.astype(np.uint8)).save(tmp_path / f"{name}_HR.png")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({
        "name": "s", "corpus": {"pairs": {"input": "*_LR.png", "target": "*_HR.png"}},
        "models": [{"id": "copy", "network": "toy:copying"}], "stages": [{"restore": {}}],
    }))  # fmt: skip
    out = str(tmp_path / "study")
    run_study(load_recipe(path), out, Options(workers=0, quiet=True))
    study = open_study(out)
    failures = study.sql("select reason from failures").to_pylist()
    assert [row["reason"] for row in failures if row["reason"].startswith("too small to score: the target is 16×4 pixels")] != []
    ((table, lines),) = mean_tables(study)
    (row,) = [row for row in table.to_pylist() if row["model"] == "copy"]
    assert row["n"] == 2
    assert row["psnr_rgb"] == 20 * np.log10(255 / 5)
    assert any(line.startswith("left out of the means as infinite (exact copies): ") and "of psnr_y" in line for line in lines)
    assert "inf" not in result_table(out).replace("infinite", "")
