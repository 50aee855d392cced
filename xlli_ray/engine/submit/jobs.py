"""Submitted jobs by their names: http://HEAD:8265#JOB, slurm:JOB, kuberay:NAMESPACE/NAME."""

from __future__ import annotations

FORMS = ("http://", "https://", "slurm:", "kuberay:")


def is_job(name: str) -> bool:
    """Whether it names a job rather than a study."""
    return name.startswith(FORMS)


def job_status(name: str) -> str:
    """`RUNNING: more`. Raises EnvironmentFailure, RecipeError."""
    if name.startswith("slurm:"):
        from xlli_ray.engine.submit.slurm import batch_status

        return batch_status(name)
    if name.startswith("kuberay:"):
        from xlli_ray.engine.submit.kuberay import rayjob_status

        return rayjob_status(name)
    from xlli_ray.engine.submit import ray_jobs

    return ray_jobs.job_status(name)


def stop_job(name: str) -> str:
    """Stop it; finished work is kept. Raises EnvironmentFailure, RecipeError."""
    if name.startswith("slurm:"):
        from xlli_ray.engine.submit.slurm import stop_batch

        return stop_batch(name)
    if name.startswith("kuberay:"):
        from xlli_ray.engine.submit.kuberay import stop_rayjob

        return stop_rayjob(name)
    from xlli_ray.engine.submit import ray_jobs

    return ray_jobs.stop_job(name)
