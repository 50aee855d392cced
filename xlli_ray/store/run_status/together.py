"""The statuses of several parts of a run as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from xlli_ray.store.run_status.reasons import fewest
from xlli_ray.store.run_status.status import MOST_NODES, Ended, Kind, NodeStatus, RunStatus, slowest_first


def together(statuses: Sequence[RunStatus]) -> RunStatus:
    """Sums over parts, at least one; the time that is left is that of the slowest part whose time is known, if each that runs knows it."""
    running = [one for one in statuses if one.ended is None]
    last = max(statuses, key=lambda one: (one.ended is None, one.now))
    left = [one.left for one in running]
    remarks = [one.last_error for one in statuses if one.last_error is not None]
    nodes = _nodes(statuses)
    return replace(
        last, part="", began=min(one.began for one in statuses), now=max(one.now for one in statuses),
        count=sum(one.count for one in statuses), done=sum(one.done for one in statuses), total=sum(one.total for one in statuses),
        failed=sum(one.failed for one in statuses), units=sum(one.units for one in statuses),
        units_missing=sum(one.units_missing for one in statuses), units_planned=max(one.units_planned for one in statuses),
        units_share=sum(one.units_share for one in statuses), again=sum(one.again for one in statuses),
        bytes=sum(one.bytes for one in statuses), left=max(filter(None, left), default=None) if None not in left else None,
        window=max((one.window for one in running), default=0.0), recent=sum(one.recent for one in running), kinds=_kinds(statuses),
        groups={}, seconds=dict(sum((Counter(one.seconds) for one in statuses), Counter[str]())), nodes=nodes[:MOST_NODES],
        nodes_more=max(0, len(nodes) - MOST_NODES) + sum(one.nodes_more for one in statuses),
        reasons=fewest(sum((Counter(one.reasons) for one in statuses), Counter[str]())),
        lost=fewest(sum((Counter(one.lost) for one in statuses), Counter[str]())),
        last_error=max(remarks, key=lambda one: one.time, default=None), ended=None if running else _worst(statuses),
    )  # fmt: skip


def _kinds(statuses: Sequence[RunStatus]) -> tuple[Kind, ...]:
    """Each kind, with the mean over parts of the seconds that a part needs for one."""
    by: dict[str, list[Kind]] = {}
    for one in statuses:
        for kind in one.kinds:
            by.setdefault(kind.noun, []).append(kind)
    out = []
    for noun, kinds in by.items():
        known = [(kind.made, kind.seconds_each) for kind in kinds if kind.seconds_each is not None]
        made = sum(number for number, _ in known)
        mean = sum(number * each for number, each in known) / made if made else None
        out.append(Kind(noun, made, mean, any(one.guessed for one in kinds)))
    return tuple(out)


def _nodes(statuses: Sequence[RunStatus]) -> tuple[NodeStatus, ...]:
    """Nodes of the same host as one, the slowest first. A part compares its units with its own only; here with those of all parts."""
    made, took = dict[str, int](), dict[str, float]()
    for one in statuses:
        for group, (samples, seconds) in one.groups.items():
            made[group] = made.get(group, 0) + samples
            took[group] = took.get(group, 0.0) + seconds
    by: dict[tuple[str, str, str], list[tuple[NodeStatus, RunStatus]]] = {}
    for one in statuses:
        for node in one.nodes:
            by.setdefault((node.host, node.node, node.device), []).append((node, one))
    out = []
    for key, pairs in by.items():
        nodes = [node for node, _ in pairs]
        spent = sum(seconds for _, one in pairs for _, seconds in one.groups.values())
        usual = sum(samples * took[group] / made[group] for _, one in pairs for group, (samples, _) in one.groups.items() if made[group])
        out.append(NodeStatus(
            *key, sum(node.workers for node in nodes), sum(node.units for node in nodes), sum(node.samples for node in nodes),
            sum(node.failed for node in nodes), round(sum(node.units_per_minute for node in nodes), 3),
            round(sum(node.samples_per_second for node in nodes), 3), spent / usual if usual > 0 else 1.0,
        ))  # fmt: skip
    return tuple(slowest_first(out))


def _worst(statuses: Sequence[RunStatus]) -> Ended | None:
    """The end with the highest exit code; of several the first."""
    return max((one.ended for one in statuses if one.ended is not None), key=lambda one: one.code, default=None)
