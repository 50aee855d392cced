"""Options that several commands of `xlli` have in common, as cyclopts reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

OFF: Any = {"negative": (), "show_default": False}
"""For flags and repeatable options: no --no-… variant, and no default in the help."""
Out = Annotated[str | None, Parameter(help="study folder or s3://, gs://, az:// prefix [default: studies/NAME]")]
Set = Annotated[tuple[str, ...], Parameter(name="--set", help="override a recipe field: key.path=value", **OFF)]
Workers = Annotated[int | None, Parameter(help="worker processes; 0 runs in this process without Ray [default: one per CPU slot]")]
Here = Annotated[int | None, Parameter(help="worker processes; 0 runs in this process without Ray")]
Against = Annotated[
    str | None, Parameter(help="model that all others are compared with [default: every pair for up to six, else the first]")
]
Device = Annotated[str, Parameter(help="auto (all GPUs that are there, else the CPU), cpu, cuda, cuda:1, mps")]
Share = Annotated[
    float, Parameter(help="GPUs per worker, a fraction to share one [default: a whole one, or equal shares]", show_default=False)
]
Metrics = Annotated[str | None, Parameter(help="keep the run's numbers in this local file, as Prometheus text (FILE.prom)")]
Address = Annotated[str | None, Parameter(help="a running Ray cluster: auto or ray://host:port [default: a private local one]")]


def builtin_recipe(recipe: Path) -> Path:
    """`quickstart` is the recipe that comes with the package."""
    if str(recipe) == "quickstart" and not recipe.exists():
        return Path(__file__).parent / "quickstart.yaml"
    return recipe
