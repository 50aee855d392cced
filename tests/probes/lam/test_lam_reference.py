"""Mode `paper` against arrays of the authors' code (`lam-reference` beside the fixtures)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from xlli_ray.models import open_model
from xlli_ray.probes.lam.attribution import Rule, attribute
from xlli_ray.probes.lam.diffusion_index import diffusion_index
from xlli_ray.probes.lam.path_points import BlurPath
from xlli_ray.probes.lam.receptive_field import proved_radius
from xlli_ray.probes.lam.window import Window

WEIGHTS = {"IMDN-64": ("imdn/imdn_x4.pth", "imdn"), "RFDN": ("rfdn/rfdn_x4.pth", "rfdn"), "CARN-M": ("carn_m/carn_m.pth", "carn_m")}
CASES = ("RFDN_4_w140_h180_ws16",)
"""The mode is the same code whatever the network, and `tests/models` compares networks with their authors'; the others take half a minute
each."""
MORE = ("CARN-M_7_w120_h95_ws16", "IMDN-64_7_w120_h95_ws16", "CARN-M_4_w140_h180_ws16", "IMDN-64_1_w120_h120_ws16", "RFDN_7_w120_h95_ws16")


@pytest.mark.parametrize("case", [*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in MORE)])
def test_paper_mode_gives_the_numbers_of_the_authors_code(case: str, fixtures: Path) -> None:
    reference = np.load(fixtures.parent / "lam-reference" / f"{case}.npz")
    weights, network = WEIGHTS[case.split("_")[0]]
    model = open_model(fixtures / "models" / weights, network=network, scale=4)
    window = Window(int(reference["h"]), int(reference["w"]), int(reference["window"]))
    image = torch.from_numpy(reference["lr"])
    (found,) = attribute(model, image, [window], BlurPath(), rule=Rule("paper"), radius=proved_radius(model))
    wanted = reference["map"]
    assert np.linalg.norm(found.map - wanted) <= 2e-3 * np.linalg.norm(wanted)
    assert diffusion_index(found.map) == pytest.approx(float(reference["DI"]), abs=0.005)
    assert found.objective_baseline == pytest.approx(float(reference["F_baseline"]), rel=1e-3)
    assert found.objective_input == pytest.approx(float(reference["F_input"]), rel=1e-3)
    # the reference's steps are derivatives: 50 times a share
    assert found.attribution.sum(dtype=np.float64) == pytest.approx(reference["per_step_sum"].sum() / 50, rel=1e-3)
    assert found.nonfinite == 0
