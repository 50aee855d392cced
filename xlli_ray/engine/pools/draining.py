"""Workers on nodes that the cluster is about to take away: after a spot notice, by the autoscaler, or because `ray start` was told to end.

Ray gives such a node (`ray drain-node`, the DrainNode call of its GCS) no new actor, and leaves the actors that it has until the node is
idle or gone. So its workers get no more units, and each moves to another node when those that it has are done; units that the node takes
with it are lost without blame. A worker that finds no other node waits for one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

Notice = Callable[..., None]
"""Told (kind, text, **fields): an event of the run, and the same for people."""
WITHOUT_PLACE_SECONDS = 60.0
"""Until a run is told to wait for nodes because none of its workers has one."""


def silent(kind: str, text: str, **fields: Any) -> None:
    """Nobody wants to know."""


class Places:
    """The node of each worker, and which of them are leaving. `draining`: id of each draining node → deadline, milliseconds since 1970, 0
    for none; nodes stay in it when they are gone."""

    def __init__(self, draining: Mapping[str, int], notice: Notice) -> None:
        self._draining, self._notice = draining, notice
        self._nodes: dict[int, str] = {}
        self._told: set[str] = set()
        self._idle_since: float | None = None

    def found(self, worker: int, node: str) -> None:
        """The worker responds from this node."""
        self._nodes[worker] = node

    def left(self, worker: int) -> None:
        """The worker is no longer where it was."""
        self._nodes.pop(worker, None)

    def leaving(self) -> Collection[int]:
        """Workers that get no more units where they are. Tells of nodes that it has not told of."""
        if not self._draining:
            return ()
        out = {worker for worker, node in self._nodes.items() if node in self._draining}
        for node, deadline in list(self._draining.items()):
            here = sum(self._nodes.get(worker) == node for worker in out)
            if here and node not in self._told:
                self._told.add(node)
                left = f" within {max(0.0, deadline / 1000 - time.time()):.0f} s" if deadline else ""
                moves = f"its {here} workers finish what they have and move" if here > 1 else "its worker finishes what it has and moves"
                text = f"node {node[:12]} will be taken away{left}: {moves}"
                self._notice("draining", text, node=node, workers=here, deadline=deadline / 1000 or None)
        return out

    def working(self, places: int, text: Callable[[], str]) -> None:
        """`places`: workers that have a node. Tells once per time that none has, after a while. `text`: what the nodes have."""
        if places:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = time.monotonic()
        elif 0 < time.monotonic() - self._idle_since > WITHOUT_PLACE_SECONDS:
            self._idle_since = float("inf")
            self._notice("waiting", f"no worker has a place in the cluster; waiting for nodes with room. They have {text()}")
