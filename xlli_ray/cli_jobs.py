"""`xlli submit` and `xlli stop`: runs on a Ray cluster, on Kubernetes or under SLURM."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from xlli_ray.cli_options import OFF, Device, Out, Set, Share, Workers, builtin_recipe
from xlli_ray.errors import PlanError
from xlli_ray.terminal import say

if TYPE_CHECKING:
    from xlli_ray.engine.submit.job import Job

Kind = Literal["ray", "kuberay", "slurm", "slurm-array"]
ONE = Number(gte=1)
RAY, KUBE = Group("Options of --kind ray"), Group("Options of --kind kuberay")
BATCH = Group("Options of --kind slurm and slurm-array")
FIT = {
    "--address": ("ray",), "--follow": ("ray",), "--nodes": ("slurm",), "--time": ("slurm", "slurm-array"), "--parts": ("slurm-array",),
    "--sbatch": ("slurm", "slurm-array"), "--image": ("kuberay",), "--workers-max": ("kuberay",), "--namespace": ("kuberay",),
    "--template": ("kuberay", "slurm", "slurm-array"),
}  # fmt: skip
"""Option → the kinds that have it."""


def is_job(name: str) -> bool:
    """Whether `xlli status` is asked for a job rather than a study."""
    from xlli_ray.engine.submit import jobs

    return jobs.is_job(name)


def submit(
    recipe: Path,
    /,
    *,
    kind: Annotated[Kind, Parameter(help="ray: the Jobs API of a cluster; slurm: Ray on several nodes; slurm-array: without Ray")] = "ray",
    out: Out = None,
    workers: Workers = None,
    device: Device = "auto",
    gpus_per_worker: Share = 0.0,
    set_: Set = (),
    template: Annotated[Path | None, Parameter(help="your copy of the file in docs/clusters that is submitted", show_default=False)] = None,
    dry_run: Annotated[bool, Parameter(help="print what would be submitted", **OFF)] = False,
    address: Annotated[str | None, Parameter(help="the cluster's Jobs API, http://head:8265", group=RAY)] = None,
    follow: Annotated[bool, Parameter(help="print the job's log until it ends", group=RAY, **OFF)] = False,
    nodes: Annotated[int | None, Parameter(help="nodes of the job", validator=ONE, group=BATCH)] = None,
    time: Annotated[str | None, Parameter(help="limit of each try, as 04:00:00; the next goes on", group=BATCH)] = None,
    parts: Annotated[int | None, Parameter(help="tasks of the array", validator=ONE, group=BATCH)] = None,
    sbatch: Annotated[tuple[str, ...], Parameter(help="an option of sbatch: --sbatch=--partition=gpu", group=BATCH, **OFF)] = (),
    image: Annotated[str | None, Parameter(help="container with xlli_ray and Ray", group=KUBE)] = None,
    workers_max: Annotated[int | None, Parameter(help="worker pods at most", validator=ONE, group=KUBE)] = None,
    namespace: Annotated[str | None, Parameter(help="[default: default]", group=KUBE)] = None,
) -> int:
    """Run a recipe, of a study or of trainings, on a cluster. Prints the job's name, for `xlli status` and `xlli stop`."""
    given = {
        "--address": address, "--follow": follow, "--nodes": nodes, "--time": time, "--parts": parts, "--sbatch": sbatch, "--image": image,
        "--workers-max": workers_max, "--namespace": namespace, "--template": template,
    }  # fmt: skip
    for name, kinds in FIT.items():
        if given[name] and kind not in kinds:
            raise PlanError(f"{name} does not go with --kind {kind}, but with --kind {' or '.join(kinds)}")
    from xlli_ray.engine.submit.job import Job
    from xlli_ray.engine.submit.sent_recipe import read_recipe
    from xlli_ray.store.objects.client import is_url

    parsed = read_recipe(builtin_recipe(recipe), set_)
    place = out or f"studies/{parsed.name}"
    if kind == "ray":
        return _to_ray(Job(parsed, place, workers, device, gpus_per_worker), address, follow=follow, dry=dry_run)
    # the folder of this moment is the job's, or is none of it
    job = Job(parsed, place if is_url(place) or kind == "kuberay" else str(Path(place).absolute()), workers, device, gpus_per_worker)
    if kind == "kuberay":
        from xlli_ray.engine.submit.kuberay import Kube, submit_rayjob

        name = submit_rayjob(job, Kube(image, workers_max, namespace or "default", template), dry=dry_run)
    else:
        from xlli_ray.engine.submit.slurm import Batch, submit_batch

        batch = Batch(kind == "slurm-array", nodes, time, parts, sbatch, template)
        name = submit_batch(job, str(builtin_recipe(recipe).absolute()), set_, batch, dry=dry_run)
    say(name if dry_run else f"job {name}: xlli status {name} · xlli stop {name}", raw=dry_run)
    return 0


def _to_ray(job: Job, address: str | None, *, follow: bool, dry: bool) -> int:
    import shlex

    from xlli_ray.engine.submit import ray_jobs
    from xlli_ray.engine.submit.sent_recipe import files_of

    if dry:
        job.check()
        files = files_of(job.recipe)
        say(f"# {shlex.join(job.command('recipe.yaml'))}\n# with {', '.join(files)}\n\n{files['recipe.yaml'].decode()}", raw=True)
        return 0
    if address is None:
        raise PlanError("--kind ray needs --address, the cluster's Jobs API: http://head:8265. Other kinds: kuberay, slurm, slurm-array")
    name = ray_jobs.submit_job(job, address)
    say(f"job {name}: xlli status {address}#{name} · xlli stop {address}#{name}")
    return ray_jobs.follow_job(address, name, say) if follow else 0


def stop(job: str, /) -> int:
    """Stop a submitted job: http://head:8265#JOB, slurm:JOB, kuberay:NAMESPACE/NAME. Finished work is kept; submit again to continue."""
    from xlli_ray.engine.submit.jobs import stop_job

    say(stop_job(job))
    return 0
