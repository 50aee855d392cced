"""Networks that were never trained. They are what others are measured against: not counted among networks, not ranked with them."""

from __future__ import annotations

from xlli_ray.store.records.manifest import Manifest

_TAG = "trained_on"
_NOTHING = ("nothing", "none", None)


def untrained(manifest: Manifest) -> frozenset[str]:
    """Ids of the models made by a factory called `untrained`, or whose tag `trained_on` says nothing."""
    return frozenset(
        model.id for model in manifest.models
        if model.network.endswith(":untrained") or (_TAG in model.tags and model.tags[_TAG] in _NOTHING)
    )  # fmt: skip
