"""The table of means at the end of a run: of finite values only, and it says how many were left out."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

from xlli_ray.analyses.shared.scalar_means import mean_tables
from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import run_study
from xlli_ray.recipe import load_recipe
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
    ((table, lines),) = mean_tables(study.manifest, study.sql, [])
    (row,) = [row for row in table.to_pylist() if row["model"] == "copy"]
    assert row["n"] == 2
    assert row["psnr_rgb"] == 20 * np.log10(255 / 5)
    assert any(line.startswith("left out of the means as infinite (exact copies): ") and "of psnr_y" in line for line in lines)
    assert "inf" not in result_table(out).replace("infinite", "")


def test_a_photograph_with_many_patches_weighs_no_more_than_one_with_few(tmp_path: Path) -> None:
    """The table at the end of a run, the flags below it and the page say one number."""
    rng = np.random.default_rng(0)
    for name, side in (("small", 16), ("large", 48)):  # one patch, and nine of another difficulty
        noise = rng.normal(0, 60 if name == "small" else 15, (side, side, 3))
        Image.fromarray(np.clip(128 + noise, 0, 255).astype(np.uint8)).save(tmp_path / f"{name}.png")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({
        "name": "s", "corpus": {"images": "*.png", "scale": 2, "patches": {"size": 16, "per_image": None}},
        "models": [{"id": "net", "network": "toy:small"}], "stages": [{"restore": {}}],
    }))  # fmt: skip
    out = str(tmp_path / "study")
    run_study(load_recipe(path), out, Options(workers=0, quiet=True))
    study = open_study(out)
    each = study.sql("select source, avg(psnr_y) as psnr, count(*) as n from restore join samples using (sample_id) where model = 'net' "
                     "group by all order by n").to_pylist()  # fmt: skip
    assert [row["n"] for row in each] == [1, 9]
    ((table, lines),) = mean_tables(study.manifest, study.sql, [])
    (row,) = [row for row in table.to_pylist() if row["model"] == "net"]
    rows = study.sql("select avg(psnr_y) as psnr from restore where model = 'net'").to_pylist()[0]["psnr"]
    assert row["n"] == 10
    assert row["psnr_y"] == pytest.approx((each[0]["psnr"] + each[1]["psnr"]) / 2, rel=1e-12)
    assert abs(row["psnr_y"] - rows) > 0.1, "the mean of rows is another number here"
    assert "means over photographs, each weighing the same; n counts values" in lines
    ours = study.sql(documented()).to_pylist()
    assert [(row["model"], row["photographs"]) for row in ours] == [("bicubic", 2), ("net", 2)]
    assert ours[1]["psnr"] == pytest.approx(row["psnr_y"], rel=1e-12)


def test_a_clean_image_under_two_inputs_is_one_photograph(tmp_path: Path) -> None:
    """Rain100 has nine backgrounds twice: its hundred pairs are 91 photographs."""
    rng = np.random.default_rng(0)
    for name, spread in (("rare", 5), ("often", 60)):
        clean = np.clip(128 + rng.normal(0, 40, (16, 16, 3)), 0, 255)
        for number in range(1 if name == "rare" else 4):
            Image.fromarray(clean.astype(np.uint8)).save(tmp_path / f"{name}{number}_clean.png")
            rainy = np.clip(clean + rng.normal(0, spread, clean.shape), 0, 255)
            Image.fromarray(rainy.astype(np.uint8)).save(tmp_path / f"{name}{number}_rainy.png")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({
        "name": "s", "corpus": {"pairs": {"input": "*_rainy.png", "target": "*_clean.png"}},
        "models": [{"id": "net", "network": "toy:denoiser"}], "stages": [{"restore": {}}],
    }))  # fmt: skip
    out = str(tmp_path / "study")
    run_study(load_recipe(path), out, Options(workers=0, quiet=True))
    study = open_study(out)
    each = study.sql("select target_sha, avg(psnr_y) as psnr from restore join samples using (sample_id) where model = 'net' group by 1")
    ((table, _),) = mean_tables(study.manifest, study.sql, [])
    (row,) = [row for row in table.to_pylist() if row["model"] == "net"]
    assert row["n"] == 5
    assert row["psnr_y"] == pytest.approx(np.mean(each["psnr"].to_numpy()), rel=1e-12)
    assert each.num_rows == 2


def documented() -> str:
    """The statement of docs/recipes.md."""
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
    return page.split("```sql\n")[1].split("```")[0] + " order by all"
