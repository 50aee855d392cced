"""A run watched in a bucket: requests that are counted at the server's door, through faults, until it ends."""

from __future__ import annotations

import io
import json
import uuid
from collections import Counter

from faulty import Faulty, Request
from server import STUDIES

from xlli_ray.engine.run_log import RunLog
from xlli_ray.report.run_watch.command import Watcher, watch
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.records.lease import Lease
from xlli_ray.store.run_status.status import Ended


def test_a_look_costs_four_requests_and_none_lists(proxy: Faulty) -> None:
    place = f"s3://{STUDIES}/watch-{uuid.uuid4().hex}"
    lease = Lease.acquire(open_objects(place))
    log = RunLog(open_objects(place), lease.epoch)
    try:
        log.event("start", {})
        log.event("begin", {"phase": "run", "total": 10})
        log._put_status()
        watcher = Watcher(place, open_objects(place))
        assert watcher.look().look.life.alive is True
        seen: Counter[str] = Counter()

        def count(request: Request) -> str:
            seen[request.method + (" list" if "list-type" in request.path else "")] += 1
            return ""

        lease._stop.set()  # its own heartbeat also asks
        lease._thread.join()
        log._stop.set()
        assert log._thread is not None
        log._thread.join()
        proxy.rule = count
        assert watcher.look().status is not None
        assert dict(seen) == {"GET": 4}
    finally:
        log.close(Ended("stopped", 75, "it was told to end"))
        lease.release()
    out, place_objects = io.StringIO(), open_objects(place)
    proxy.rule = lambda request: "503" if request.number % 3 == 0 else ""
    assert watch(place, place_objects, every=0.1, json_lines=True, stream=out) == 75
    assert json.loads(out.getvalue())["verdict"].startswith("the run stopped: it was told to end; what is done is kept")
