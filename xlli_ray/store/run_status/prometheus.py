"""The status of a run as Prometheus text (exposition format 0.0.4), for the node exporter's textfile collector or a pushgateway.

Names follow Prometheus' conventions: base units, `_total` for what only grows during a run (a run that is started again begins at 0, which
`rate()` expects), `_seconds` for times. Times of day are of the run's own clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from xlli_ray.store.run_status.status import RunStatus

Sample = tuple[dict[str, str], float]
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def metrics_text(status: RunStatus, study: str, *, running: bool | None = None) -> str:
    """`study`: the label of that name. `running`: as seen by the caller; None: until the status says that it ended."""
    lines: list[str] = []
    for name, kind, about, samples in _families(status, running):
        if samples := list(samples):
            lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{_labels({'study': study, **labels})} {value!r}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items()) + "}"


def _families(status: RunStatus, running: bool | None) -> Iterator[tuple[str, str, str, list[Sample]]]:
    """(name, type, help, samples)."""
    alive = running if running is not None else status.ended is None
    info = {"host": status.holder.host, "command": status.what or "run", "part": status.part, "phase": status.phase}
    yield "xlli_run_info", "gauge", "The run that last held the study, or computed a part of it.", [(info, 1)]
    yield "xlli_run_running", "gauge", "1 while the run goes on.", [({}, int(alive))]
    exit_code: list[Sample] = [] if status.ended is None else [({}, status.ended.code)]
    yield "xlli_run_exit_code", "gauge", "Exit code of the run, once it has ended; 75: run the same command again.", exit_code
    yield "xlli_run_start_timestamp_seconds", "gauge", "Start of the run.", [({}, round(status.began, 3))]
    yield "xlli_run_updated_timestamp_seconds", "gauge", "When these numbers were taken.", [({}, round(status.now, 3))]
    counted = {"file": "files", "network": "networks"}.get(status.noun, "samples")
    yield f"xlli_{counted}_planned", "gauge", f"The {counted} that the current phase has to do.", [({}, status.total)]
    yield f"xlli_{counted}_done_total", "counter", f"The {counted} done, failed ones included.", [({}, status.done)]
    yield f"xlli_{counted}_failed_total", "counter", f"The {counted} that failed.", [({}, status.failed)]
    reasons: list[Sample] = [({"reason": reason}, number) for reason, number in status.reasons.items()]
    yield "xlli_failures_total", "counter", "Failed samples by reason.", reasons
    yield "xlli_units_missing", "gauge", "Units without a record when the run began.", [({}, status.units_missing)]
    yield "xlli_units_planned", "gauge", "Units of the study, for this recipe.", [({}, status.units_planned)]
    yield "xlli_units_done_total", "counter", "Units that this run has finished.", [({}, status.units)]
    yield "xlli_units_repeated_total", "counter", "Finished units whose worker was lost before.", [({}, status.again)]
    yield "xlli_written_bytes_total", "counter", "Bytes of arrays written.", [({}, status.bytes)]
    lost: list[Sample] = [({"reason": reason}, number) for reason, number in status.lost.items()] or [({"reason": ""}, 0)]
    yield "xlli_units_lost_total", "counter", "Units in flight on workers that were lost, by reason.", lost
    activity: list[Sample] = [({"activity": name}, value) for name, value in sorted(status.seconds.items())]
    yield "xlli_worker_activity_seconds_total", "counter", "Time of the workers' threads by activity.", activity
    left: list[Sample] = [] if status.left is None or not alive else [({}, status.left)]
    yield "xlli_remaining_seconds", "gauge", "Estimated time until all units are done; absent while it is not known.", left
    end: list[Sample] = [({}, round(status.now + seconds, 3)) for _, seconds in left]
    yield "xlli_expected_end_timestamp_seconds", "gauge", "Estimated time of day at which all units are done.", end
    nodes = [({"node": node.host if not node.node else f"{node.host}/{node.node}"}, node) for node in status.nodes]
    yield "xlli_node_workers", "gauge", "Worker processes that finished a unit in the last minutes.", [(a, one.workers) for a, one in nodes]
    yield "xlli_node_units_done_total", "counter", "Units finished by the node.", [(a, one.units) for a, one in nodes]
    yield "xlli_node_samples_done_total", "counter", "Samples done by the node.", [(a, one.samples) for a, one in nodes]
    yield "xlli_node_slowness_ratio", "gauge", "Time of a node's last units, 1: as all nodes.", [(a, one.slowness) for a, one in nodes]
