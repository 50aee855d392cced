"""For the tests of networks: `toy_networks` and `scoring` can be imported by name, as a user's own module would be."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

if str(Path(__file__).parent) not in sys.path:
    sys.path.append(str(Path(__file__).parent))

from xlli_ray.models import Model, ModelSpec, load_model, read_state_dict


@pytest.fixture(scope="session")
def load(fixtures: Path) -> Callable[..., Model]:
    """`load("imdn/imdn_x4.pth", network="imdn")` -> Model, from the folder of public checkpoints."""

    def load(file: str, **spec: object) -> Model:
        tensors = read_state_dict(fixtures / "models" / file).tensors
        return load_model(ModelSpec(Path(file).stem, weights=file, **spec), tensors)  # type: ignore[arg-type]

    return load
