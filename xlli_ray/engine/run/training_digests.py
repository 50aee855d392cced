"""The digests of a training study's objects, from the bytes as the workers wrote them; `digests.json` is made from these.

Objects that no run touched keep the digest that the last run wrote, so a bit that flipped since is found; only what nobody told of (a
folder of before there were digests, the checkpoint of a worker that died) is read back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from xlli_ray.errors import StudyError
from xlli_ray.store.objects.client import Missing, Objects
from xlli_ray.store.records.checksum_root import Digest, digest_of, read_root, write_root
from xlli_ray.store.tables.trainings import DOCUMENT, FILES, MODELS, RESERVED


class TrainingDigests:
    """Of one run. `networks`: the recipe's; `missing`: those that this run trains, whose files of before do not count any more."""

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
