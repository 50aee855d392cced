"""The session of a run: its folder or bucket, lease, events and worker spec, released in any case."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from xlli_ray.engine.events import Events
from xlli_ray.engine.options import Options
from xlli_ray.engine.pools.slots import check_here, check_options
from xlli_ray.engine.worker.tasks import WorkerSpec
from xlli_ray.store.objects.client import LocalObjects, Objects, fenced, open_objects, probe_create_only
from xlli_ray.store.records.fence import Fence
from xlli_ray.store.records.lease import Lease
from xlli_ray.store.zarr.layout import ROOT
from xlli_ray.user_code import allowed


def import_path() -> tuple[str, ...]:
    """This process's import path, absolute; '' means the current folder."""
    return tuple(dict.fromkeys(os.path.abspath(path) for path in sys.path))


@contextmanager
def session(out: str, options: Options, threads: int) -> Iterator[tuple[Objects, Lease, Events, WorkerSpec]]:
    """Objects, lease, events and worker spec of one run; always released."""
    check_options(options)
    check_here(options)
    objects = open_objects(out)
    probe_create_only(objects)
    lease = Lease.acquire(objects, takeover=options.takeover)
    events = Events(objects, lease.epoch, quiet=options.quiet)  # its file names are unique to this run, even after it lost the study
    objects = fenced(objects, Fence(lease))
    device = options.device or ("cuda" if options.gpus_per_worker else "cpu")
    try:
        if lease.after_crash:
            sweep(objects, ROOT, "records", "tables", "results", "samples", "weights", "events")
        yield objects, lease, events, WorkerSpec(objects.url, lease.epoch, device, threads, import_path(), allowed=allowed())
    finally:
        try:
            events.close()
        finally:
            lease.release()


def sweep(objects: Objects, *parts: str) -> None:
    """Remove partial files of killed writers. Never while units run: their shards are written under such names."""
    if isinstance(objects, LocalObjects):
        for part in parts:
            objects.sweep(part)
