"""What is asked of a cluster: a recipe, where its study is, and the options of the run. The same for every kind of cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xlli_ray.engine.options import Options
from xlli_ray.engine.pools.slots import check_options
from xlli_ray.errors import PlanError, RecipeError
from xlli_ray.recipe import Recipe
from xlli_ray.store.objects.client import is_url, refuse_secrets
from xlli_ray.training.recipe import TrainRecipe

CLUSTER_DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Job:
    """A recipe to run elsewhere."""

    recipe: Recipe | TrainRecipe
    out: str
    """Absolute, or a URL: the job runs in another folder."""
    workers: int | None = None
    device: str = "auto"
    gpus_per_worker: float = 0.0

    @property
    def verb(self) -> str:
        return "train" if isinstance(self.recipe, TrainRecipe) else "run"

    @property
    def threads(self) -> int:
        """CPUs that a worker holds."""
        return max(one.train.threads for one in self.recipe.jobs()) if isinstance(self.recipe, TrainRecipe) else self.recipe.threads

    def check(self) -> None:
        """Raises PlanError, RecipeError, or StudyError for credentials in `out`: it is in the job's command line, which others can read."""
        check_options(Options(workers=self.workers, device=self.device, gpus_per_worker=self.gpus_per_worker))
        if self.device not in CLUSTER_DEVICES:
            raise PlanError(f"--device {self.device}: a cluster assigns its GPUs; use {', '.join(CLUSTER_DEVICES)}")
        if is_url(self.out):
            refuse_secrets(self.out)
        elif not Path(self.out).is_absolute():
            raise RecipeError(f"--out {self.out}: give an absolute path that all nodes share, or s3://…: the job runs in another folder")

    def options(self) -> list[str]:
        """Of `xlli run` or `xlli train`, besides recipe, address and study."""
        said = []
        if self.workers is not None:
            said += ["--workers", str(self.workers)]
        if self.device != "auto":
            said += ["--device", self.device]
        if self.gpus_per_worker:
            said += ["--gpus-per-worker", str(self.gpus_per_worker)]
        return said

    def command(self, recipe: str, address: str = "auto") -> list[str]:
        """On a node of a Ray cluster, where the recipe has the path `recipe`."""
        return ["xlli", self.verb, recipe, "--address", address, "--out", self.out, *self.options()]
