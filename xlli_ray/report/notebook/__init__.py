"""The explorer in a notebook, Jupyter or marimo (extra `notebook`): `view()` of studies, of results, and of what `xlli_ray.lam` and
`xlli_ray.cem` return."""
