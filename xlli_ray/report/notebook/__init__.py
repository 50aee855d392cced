"""The explorer in a notebook, Jupyter or marimo: `study.view()`, `result.view()`, `xlli_ray.lam(…).view()` (extra `notebook`)."""
