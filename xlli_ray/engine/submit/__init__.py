"""Running a recipe elsewhere: Ray's Jobs API, KubeRay, SLURM. A job has a name that `xlli status` and `xlli stop` take."""
