"""xlli_ray: why do super-resolution and restoration networks work, and why do they fail?

    corpus ──► models ──► probes ──► store ──► analyses ──► report
    images     checkpoint  features   Zarr       numbers      one page
    patches    that keeps  restore    Parquet    with their   you can
    degraded   gradients   …          records    error        read
    └───────────────────── engine moves the work ─────────────────────┘

Importing this imports neither torch nor ray.
"""

from __future__ import annotations

import os
import sys


def leave_current_folder() -> None:
    """Remove the current folder, and empty and relative entries, from the import path of a command and its child processes.

    `cd STUDY; xlli verify .` must not run STUDY/numpy.py. Called before anything else is imported (`os` and `sys` are always loaded).
    A current folder that is in PYTHONPATH by its full path stays, and so does the one that holds this package.
    """
    listed = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [path for path in listed if os.path.isabs(path)]
    if kept != listed:
        os.environ["PYTHONPATH"] = os.pathsep.join(kept)
        if not kept:
            del os.environ["PYTHONPATH"]
    wanted = {*kept, os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}
    current = {os.getcwd(), os.path.realpath(os.curdir)} - wanted
    sys.path[:] = [path for path in sys.path if os.path.isabs(path) and path not in current]


def _is_command() -> bool:
    """Whether this process is `xlli`, or `python -m xlli_ray`, which imports the package while `sys.argv[0]` is -m."""
    if not sys.argv:
        return False
    return os.path.basename(sys.argv[0]) in ("xlli", "xlli.exe") or (sys.argv[0] == "-m" and "xlli_ray" in sys.orig_argv)


if _is_command():
    leave_current_folder()

from importlib import import_module  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

if TYPE_CHECKING:
    from xlli_ray.api import CemResult, FaithfulnessResult, LamResult, cem, faithfulness, lam
    from xlli_ray.errors import XlliError
    from xlli_ray.recipe import load_recipe
    from xlli_ray.stats.srga import SrgaResult, srga
    from xlli_ray.study import Study, open_study

__version__ = "0.1.0"
__all__ = [
    "CemResult", "FaithfulnessResult", "LamResult", "SrgaResult", "Study", "XlliError", "__version__", "cem", "faithfulness", "lam",
    "load_recipe", "open_study", "run", "srga",
]  # fmt: skip

_PUBLIC = {
    "SrgaResult": "xlli_ray.stats.srga",
    "Study": "xlli_ray.study",
    "XlliError": "xlli_ray.errors",
    "CemResult": "xlli_ray.api",
    "FaithfulnessResult": "xlli_ray.api",
    "LamResult": "xlli_ray.api",
    "cem": "xlli_ray.api",
    "faithfulness": "xlli_ray.api",
    "lam": "xlli_ray.api",
    "load_recipe": "xlli_ray.recipe",
    "open_study": "xlli_ray.study",
    "srga": "xlli_ray.stats.srga",
}


def run(recipe: str, out: str, *, workers: int = 0, device: str = "auto", overrides: tuple[str, ...] = ()) -> Any:
    """Run the recipe at path `recipe` into the study folder `out`, and open it. `workers=0`: in this process, without Ray. `device`: auto
    (a GPU if there is one, else the CPU), cpu, cuda, cuda:1, … or mps.

    Raises AnalysisError if an analysis failed; everything else is then done and kept.
    """
    from xlli_ray.engine.worker.environment import one_arena

    one_arena()
    from xlli_ray.engine.options import Options
    from xlli_ray.engine.run.driver import run_study
    from xlli_ray.errors import AnalysisError
    from xlli_ray.recipe import load_recipe as load
    from xlli_ray.study import open_study as opened

    options = Options(workers=workers, device=device, quiet=True, command="xlli_ray.run")
    summary = run_study(load(recipe, overrides=overrides), out, options)
    if summary.analyses_failed:
        raise AnalysisError("; ".join(f"{name}: {reason}" for name, reason in summary.analyses_failed))
    return opened(out)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'xlli_ray' has no attribute {name!r}")
