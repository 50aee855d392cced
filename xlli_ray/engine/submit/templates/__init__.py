"""The jobs as files: run them as they stand, or a copy that was adapted to a cluster. The same files are in docs/clusters."""

from __future__ import annotations

from pathlib import Path

from xlli_ray.errors import RecipeError


def template(name: str, own: Path | None = None) -> Path:
    """The file `name` of this folder, or the user's `own`. Raises RecipeError if there is none."""
    path = Path(__file__).parent / name if own is None else own
    if not path.is_file():
        raise RecipeError(f"--template {path}: there is no such file; {name} in docs/clusters is one to start from")
    return path
