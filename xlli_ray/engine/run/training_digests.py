"""The digests of a training study's objects, from the bytes written by the workers, for `digests.json`.

Objects that no run touched keep the digest that the last run wrote, so that a bit flipped since is found; only objects without a known
digest (a folder older than digests, the checkpoint of a worker that died) are read back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from xlli_ray.errors import StudyError
from xlli_ray.store.objects.client import Missing, Objects
from xlli_ray.store.records.checksum_root import Digest, digest_of, read_root, write_root
from xlli_ray.store.tables.trainings import DOCUMENT, FILES, MODELS, RESERVED


class TrainingDigests:
    """The digests of one run. `networks`: the recipe's; `missing`: those trained by this run, whose earlier files no longer count."""

    def __init__(self, objects: Objects, networks: Collection[str], missing: Collection[str]) -> None:
        self._objects = objects
        try:
            root = read_root(objects)
        except StudyError:
            root = None
        known = {} if root is None else {key: digest for key, digest in root.objects.items() if key.split("/")[0] not in RESERVED}
        self._known: dict[str, Digest | None] = {key: one for key, one in known.items() if key.split("/")[0] not in missing}
        self._unread = [name for name in networks if f"{name}/card.json" not in self._known]

    def wrote(self, digests: Mapping[str, Digest | None]) -> None:
        """What a worker, or the driver, wrote and removed."""
        self._known |= digests

    def write(self, epoch: int) -> None:
        """Write `digests.json`. Only for the holder of the lease, after everything else."""
        for key in [DOCUMENT, MODELS, *(key for name in self._unread for key in self._objects.list(name))]:
            if key not in self._known and (key in (DOCUMENT, MODELS) or key.rsplit("/", 1)[-1] in FILES):
                try:
                    self._known[key] = digest_of(self._objects, key)
                except Missing:
                    continue
        write_root(self._objects, epoch, trained={key: digest for key, digest in sorted(self._known.items()) if digest is not None})
