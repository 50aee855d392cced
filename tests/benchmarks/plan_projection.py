"""What `xlli plan` promises for LAM against what the run takes: CPU seconds of one worker, network by network and setting by setting.

Promised is the line "timed here"; taken is the CPU time of the units alone, in this process (no Ray, no planning). Networks: those of
the fixtures and of the package. Settings: windows that share forwards and windows with crops of their own, the paper's 50 steps, a grid,
averaged gates, a tolerance. Busy cores matter little, since CPU time is taken on both sides; each row stands by itself.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import common
import yaml

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures"
NETWORKS: dict[str, dict[str, Any]] = {
    "srresnet": {"weights": "builtin:srresnet-gr-clean", "network": "srresnet"},
    "rlfn": {"weights": "models/rlfn/rlfn_x4.pth", "network": "rlfn"},
    "imdn": {"weights": "models/imdn/imdn_x4.pth", "network": "imdn"},
    "carn_m": {"weights": "models/carn_m/carn_m.pth", "network": "carn_m", "scale": 4},
    "craft": {"weights": "models/craft/craft_x4.pth"},
}
SETTINGS: dict[str, tuple[int, dict[str, Any]]] = {
    "texture, 8 nodes": (48, {"nodes": 8, "windows": {"size": 16, "per_sample": 3}}),
    "paper, one window": (32, {"mode": "paper", "windows": [{"top": 40, "left": 40, "size": 16}]}),
    "grid, averaged": (40, {"gates": "averaged", "nodes": 4, "windows": {"size": 48, "choose": "grid"}}),
    "tolerance": (40, {"tolerance": 0.2, "max_nodes": 30, "windows": {"size": 16, "per_sample": 1}}),
    "large, crops": (96, {"nodes": 3, "windows": {"size": 16, "per_sample": 1}}),
}
"""Name → (side of the input, fields of the stage)."""


def recipe(folder: Path, name: str, side: int, stage: dict[str, Any], samples: int) -> Any:
    from xlli_ray.recipe import load_recipe

    entry = dict(NETWORKS[name])
    if not entry["weights"].startswith("builtin:"):
        entry["weights"] = str(FIXTURES / entry["weights"])
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({
        "name": "projection", "corpus": {"images": ["skimage://astronaut", "skimage://coffee", "skimage://chelsea"], "scale": 4,
                                         "patches": {"size": side * 4, "per_image": None, "count": samples}},
        "models": [{"id": name, **entry}], "stages": [{"lam": stage}],
    }))  # fmt: skip
    return load_recipe(path)


def measured(name: str, side: int, stage: dict[str, Any], samples: int) -> tuple[float, float]:
    """(promised, taken), CPU seconds."""
    from xlli_ray.engine.options import Options
    from xlli_ray.engine.run import driver

    quiet, taken = Options(workers=0, quiet=True), []

    def run_units(archive: Any, jobs: deque[Any], *rest: Any) -> int:
        start = time.process_time()
        lost = real(archive, jobs, *rest)
        taken.append(time.process_time() - start)
        return lost

    real = driver.run_units
    with tempfile.TemporaryDirectory() as folder:
        asked, out = recipe(Path(folder), name, side, stage, samples), f"{folder}/study"
        _, plan = driver.plan_study(asked, out, quiet)
        driver.run_units = run_units
        try:
            summary = driver.run_study(asked, out, quiet)
        finally:
            driver.run_units = real
    if summary.failed or plan.timed is None:
        raise RuntimeError(f"{name}: {summary.failed} failed, {plan.timed} promised")
    return plan.timed, sum(taken)


def main() -> int:
    parser = common.arguments(__doc__)
    parser.add_argument("--networks", default="srresnet,rlfn,imdn,carn_m")
    parser.add_argument("--settings", default=",".join(str(i) for i in range(len(SETTINGS))), help="numbers of the settings")
    parser.add_argument("--samples", type=int, default=2)
    args = parser.parse_args()
    names = list(SETTINGS)
    rows = []
    for name in args.networks.split(","):
        for setting in (names[int(i)] for i in args.settings.split(",")):
            promised, taken = measured(name, *SETTINGS[setting], args.samples)
            rows.append([name, setting, promised, taken, promised / taken])
            print(f"{name:10} {setting:20} promised {promised:7.2f} s, taken {taken:7.2f} s, ratio {promised / taken:.2f}", flush=True)
    common.show("LAM: promised by `xlli plan` against taken, CPU s", rows, ["network", "setting", "promised", "taken", "ratio"])
    return 0 if all(0.5 <= row[-1] <= 2 for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
