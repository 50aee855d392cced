"""The baseline as a model of a restore stage: it is bicubic to the bit, and a network below it is flagged everywhere."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

from xlli_ray.analyses.shared.worse_than_baseline import NETWORK, below_baseline
from xlli_ray.corpus.resize import bicubic_up
from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import run_study
from xlli_ray.models.networks.bicubic import make
from xlli_ray.models.value_range_check import synthetic_image
from xlli_ray.recipe import load_recipe
from xlli_ray.report.page import write_report
from xlli_ray.report.text import result_table
from xlli_ray.study import open_study


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_the_network_is_the_operator_of_the_corpus(scale: int) -> None:
    image = synthetic_image(32, 0)[:24]
    found = make(scale).module(torch.from_numpy(image.transpose(2, 0, 1)[None].copy()))[0].numpy().transpose(1, 2, 0)
    assert found.shape == (24 * scale, 32 * scale, 3)
    assert np.abs(found - bicubic_up(image, scale)).max() <= (1e-6 if scale > 1 else 0)


def test_a_network_below_the_baseline_is_flagged_in_the_run_the_table_and_the_page(tmp_path: Path) -> None:
    """A7: a network that bicubic beats said nothing of it."""
    for seed in range(3):
        Image.fromarray(np.round(synthetic_image(64, seed) * 255).astype(np.uint8)).save(tmp_path / f"{seed}.png")
    path = tmp_path / "recipe.yaml"
    models = [
        {"id": "bicubic", "network": NETWORK, "args": {"scale": 2}}, {"id": "nearest", "network": "toy:copying"},
        {"id": "luma", "network": NETWORK, "args": {"scale": 2, "channels": 1}},
    ]  # fmt: skip
    path.write_text(yaml.safe_dump({
        "name": "s", "corpus": {"images": ["*.png"], "scale": 2}, "models": models, "stages": [{"restore": {}}],
    }))  # fmt: skip
    out = str(tmp_path / "study")
    summary = run_study(load_recipe(path), out, Options(workers=0, quiet=True))
    (flag,) = summary.flags
    assert flag.startswith("restore: nearest is ")
    assert " dB below bicubic (psnr_y, clean, mean over photographs, of the same 3 samples)" in flag
    rows = open_study(out).sql("select model, avg(psnr_y) as v from restore group by model order by v").to_pylist()
    assert {row["model"] for row in rows} == {"bicubic", "nearest", "luma"}
    assert "nearest is " in result_table(out)
    page = (Path(write_report(out)) if Path(write_report(out)).is_absolute() else Path(out, "report/index.html")).read_text()
    assert "Flag: nearest is " in page
    study = open_study(out)
    (below,) = below_baseline(study.manifest, study.sql, intervals=True)
    (loss,) = below.losses
    apart = study.sql("select b.psnr_y - a.psnr_y as by_db from restore a join restore b on a.row = b.row where a.model = 'nearest' "
                      "and b.model = 'bicubic'")["by_db"].to_numpy()  # fmt: skip
    reach = 4.302652729749464 * apart.std(ddof=1) / np.sqrt(3)  # Student's t, two degrees of freedom
    assert (loss.by, loss.low, loss.high) == pytest.approx((apart.mean(), apart.mean() - reach, apart.mean() + reach))
    assert "bicubic − nearest" not in page
    assert "nearest − bicubic" not in page


def test_a_network_below_the_baseline_in_thirty_degradations_is_one_flag_that_names_the_worst() -> None:
    """Two networks and thirty degradations filled the top of a page with sixty lines that said one thing."""
    rows = [
        {"stage": "restore", "model": model, "baseline": "bicubic", "label": f"blur{level}", "by_db": sign * level / 10, "n": 7}
        for model, sign in (("fine", -1.0), ("one", 1.0), ("two", 0.5)) for level in range(-1, 31)
    ]  # fmt: skip
    models = [SimpleNamespace(id=name, network=network, channels=3)
              for name, network in (("bicubic", NETWORK), ("one", "imdn"), ("two", "imdn"), ("fine", "imdn"))]  # fmt: skip
    manifest = SimpleNamespace(models=models, cells=[SimpleNamespace(kind="restore")])
    fine, one, two = (item.text for item in below_baseline(manifest, lambda _: pa.Table.from_pylist(rows)))  # type: ignore[arg-type]
    assert fine.startswith("fine is 0.10 dB below bicubic (psnr_y, blur-1,")
    assert one.startswith("one is below bicubic in 30 of 32 degradations, most in blur30: by 3.00 dB (psnr_y, mean over photographs")
    assert two.startswith("two is below bicubic in 30 of 32 degradations, most in blur30: by 1.50 dB")
