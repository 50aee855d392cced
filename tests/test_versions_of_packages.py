"""Versions of installed packages, as results record them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest

import xlli_ray
from xlli_ray.registry import version_of


def test_the_version_of_this_package_is_known_without_an_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a source folder on the import path, as on a machine to which it was copied."""

    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("xlli_ray.registry.version", absent)
    assert version_of("xlli_ray") == xlli_ray.__version__
    with pytest.raises(PackageNotFoundError):
        version_of("zarr")
