"""The session of a run: its folder or bucket, lease, events and worker spec, released in any case."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from xlli_ray.engine.events import Events
from xlli_ray.engine.options import Options
from xlli_ray.engine.pools.placement import place
from xlli_ray.engine.pools.run_pool import leave_cluster
from xlli_ray.engine.process_end import owed
from xlli_ray.engine.worker.tasks import WorkerSpec
from xlli_ray.store.objects.client import LocalObjects, Objects, fenced, open_objects, probe_create_only
from xlli_ray.store.records.fence import Fence
from xlli_ray.store.records.lease import Lease
from xlli_ray.store.zarr.layout import ROOT
from xlli_ray.user_code import allowed

PAGE_SECONDS = 3600.0
"""Age of a half-written file of the page that nobody is writing any more. The lease does not tell: a page is also written without it."""


def import_path() -> tuple[str, ...]:
    """This process's import path, absolute; '' means the current folder."""
    return tuple(dict.fromkeys(os.path.abspath(path) for path in sys.path))


@contextmanager
def session(
    out: str, options: Options, threads: int, *, begun: Callable[[Objects], str] | None = None, cpu_workers: int | None = None,
    samples_alone: bool = False,
) -> Iterator[tuple[Objects, Lease, Events, WorkerSpec, Options]]:  # fmt: skip
    """Objects, lease, events, worker spec of one run, always released; and its options with device and workers decided. `begun`: the device
    in the plan of a study that has cells; `cpu_workers`, `samples_alone`: see `place`."""
    objects = open_objects(out)
    with ExitStack() as stack:
        stack.callback(leave_cluster)  # it may have been joined to see its GPUs
        placed = place(
            options, threads=threads, begun=(lambda: begun(objects)) if begun else str, cpu_workers=cpu_workers, samples_alone=samples_alone
        )
        probe_create_only(objects)
        lease = Lease.acquire(objects, takeover=options.takeover)
        stack.callback(lease.release)
        events = Events(objects, lease.epoch, quiet=options.quiet)  # its file names are unique to this run, even after it lost the study
        stack.enter_context(owed(events.stopped))
        stack.enter_context(owed(lease.release))  # what is owed last is done first
        stack.push(events)
        events.export(options.metrics)
        objects = fenced(objects, Fence(lease))
        if placed.said:
            events.tell(placed.said)
        if lease.after_crash:
            sweep(objects, ROOT, "records", "tables", "results", "samples", "weights", "events", "study", "")
        sweep(objects, "report", older=PAGE_SECONDS)
        spec = WorkerSpec(
            objects.url, lease.epoch, placed.worker_device, threads, import_path(), allowed=allowed(), gpu_share=placed.share,
            only_gpu=placed.only,
        )  # fmt: skip
        yield objects, lease, events, spec, placed.settled(options)


def sweep(objects: Objects, *parts: str, older: float = 0.0) -> None:
    """Remove partial files of killed writers. Never while units run: their shards are written under such names."""
    if isinstance(objects, LocalObjects):
        for part in parts:
            objects.sweep(part, older=older)
