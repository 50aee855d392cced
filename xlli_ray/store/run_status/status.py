"""`events/<epoch>.status.json`: what a run tells about itself while it goes on, in one small object that it replaces every few seconds.

It is a summary, so that whoever watches a run of a week reads kilobytes and not its log. It is a note: nothing is computed from it, and a
run that is killed leaves it as it was. Times are those of the writer's clock, and must not be compared with another machine's: a reader
sees whether the writer lives by whether `count` grows (`look`). Parts of a run (`xlli run --part`) share an epoch, and each has its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from statistics import median
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from xlli_ray.errors import StudyError
from xlli_ray.store.objects.client import Missing, Objects
from xlli_ray.store.records.lease import Holder
from xlli_ray.store.records.seal import is_sealed, read_json, sealed_json

FORMAT = 1
MOST_NODES = 200
"""Nodes that are listed, the slowest ones first."""
MOST_GROUPS = 100
LARGEST = 1e15
"""Number in a status, larger than any of a run: of bytes or samples."""
LOOSE = ConfigDict(extra="ignore")
"""Later versions may add fields."""
_KEY = re.compile(r"events/(\d{6})(?:-part(\d{6})-(\d+))?\.status\.json")


def status_key(epoch: int, writer: str = "") -> str:
    """`writer`: of a part, `part<number>-<start>`."""
    return f"events/{epoch:06d}{f'-{writer}' if writer else ''}.status.json"


@dataclass(frozen=True)
class Name:
    """Whose status an object is. `part`: 0 for a driver's; `start`: when a part began, so that the last of several attempts is known."""

    key: str
    epoch: int
    part: int
    start: int


def parse_key(key: str) -> Name | None:
    """None for other objects."""
    match = _KEY.fullmatch(key)
    return Name(key, int(match[1]), int(match[2] or 0), int(match[3] or 0)) if match else None


@dataclass(frozen=True)
class NodeStatus:
    """One node of a run, by the units that its workers have finished."""

    __pydantic_config__ = LOOSE

    host: str
    node: str = ""
    """Ray's id of the node, shortened; "" without Ray."""
    device: str = ""
    workers: int = 0
    """Processes that have finished a unit in the last minutes (`RunStatus.window`)."""
    units: int = 0
    samples: int = 0
    failed: int = 0
    units_per_minute: float = 0.0
    """In the last minutes."""
    samples_per_second: float = 0.0
    """In the last minutes."""
    slowness: float = 1.0
    """Time of its last units for the same samples and networks, divided by that of the median node."""
    slowest_worker: int = 0
    """Process id of the slowest of its workers of the last minutes; 0 if it has one only."""
    slowest_worker_time: float = 0.0
    """As `slowness`."""


def slowest_first(nodes: Sequence[NodeStatus]) -> list[NodeStatus]:
    """The nodes with their `slowness`, and that of their slowest workers, made relative to the median."""
    middle = (median([node.slowness for node in nodes]) if nodes else 0.0) or 1.0
    relative = [
        replace(node, slowness=round(node.slowness / middle, 3), slowest_worker_time=round(node.slowest_worker_time / middle, 3))
        for node in nodes
    ]  # fmt: skip
    return sorted(relative, key=lambda node: (-node.slowness, node.host, node.node))


@dataclass(frozen=True)
class Kind:
    """One kind of output (`sample`, `map`): number made, seconds of the run for each, and whether what is left of it is known by itself."""

    __pydantic_config__ = LOOSE

    noun: str
    made: int
    seconds_each: float | None = None
    guessed: bool = False
    """None has been made, so that its time is taken from the others', by multiply-adds."""


@dataclass(frozen=True)
class Remark:
    """What was last said of a failure, a loss, or nodes: `time` by the writer's clock."""

    __pydantic_config__ = LOOSE

    time: float
    text: str


@dataclass(frozen=True)
class Ended:
    """How a run ended. `code`: exit code of its program as far as it is known here; 75: run the same command again."""

    __pydantic_config__ = LOOSE

    how: str
    """finished | failed | stopped"""
    code: Annotated[int, Field(ge=0, le=255)] = 0
    reason: str = ""


@dataclass(frozen=True)
class RunStatus:
    """See the module. Seconds are of the writer's clock since 1970 (`began`, `now`) or durations."""

    __pydantic_config__ = LOOSE

    epoch: int
    holder: Holder
    what: str = "run"
    """run | part | train | scan | plan"""
    part: str = ""
    """`3/8`: of a run in parts."""
    count: int = 0
    """Of times that this object was written."""
    began: float = 0.0
    now: float = 0.0
    phase: str = "starting"
    """starting, scan, planning, run, concluding, analysis, train, ended"""
    about: str = ""
    """Of an analysis: its id."""
    noun: str = "sample"
    done: int = 0
    """Samples (files of a scan, networks of a training) of this run."""
    total: int = 0
    failed: int = 0
    units: int = 0
    """Finished by this run."""
    units_missing: int = 0
    """That this run had to compute when it began."""
    units_planned: int = 0
    """Of the whole study, for this recipe."""
    units_share: int = 0
    """Of those, that belong to this part; without parts all."""
    again: int = 0
    """Units finished that were lost, or failed, before."""
    bytes: int = 0
    left: float | None = None
    """Estimated seconds until all units are done, by their work; None if that is not known."""
    window: float = 0.0
    """Length of `the last minutes`, seconds."""
    recent: float = 0.0
    """`done` per second in the last minutes."""
    kinds: tuple[Kind, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Workers' time by activity."""
    nodes: tuple[NodeStatus, ...] = ()
    groups: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    """Group of cells → samples and seconds of its units, of those that took longest: parts are compared by them (`together`)."""
    nodes_more: int = 0
    """That are not listed."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Failed samples by reason."""
    lost: Mapping[str, int] = field(default_factory=dict)
    """Lost workers by reason, counted for each unit that they had."""
    last_error: Remark | None = None
    note: Remark | None = None
    """That no worker has a node, until one has; or the last announcement that a node leaves."""
    analyses: Mapping[str, str] = field(default_factory=dict)
    """Id → begin, end, failed."""
    networks: Mapping[str, str] = field(default_factory=dict)
    """Of a training: id → finished or failed, as far as this run has seen to them."""
    ended: Ended | None = None
    format: int = FORMAT

    @property
    def parts(self) -> int:
        """How many parts there are to be; 0 without parts."""
        match = re.fullmatch(r"\d{1,6}/(\d{1,6})", self.part)
        return int(match[1]) if match else 0


@cache
def _adapter() -> TypeAdapter[RunStatus]:
    return TypeAdapter(RunStatus)


def to_bytes(status: RunStatus) -> bytes:
    """Sealed JSON."""
    return sealed_json(asdict(status), allow_nan=False)


def parse(data: bytes, where: str) -> RunStatus:
    """Raises StudyError for anything but a status of this format."""
    way_out = "it is a note: remove it, or wait for the run to write it again"
    members = read_json(data, where, way_out)
    if members.get("format") != FORMAT:
        raise StudyError(f"{where}: format {members.get('format')!r}, this version reads {FORMAT}")
    if not is_sealed(data):
        raise StudyError(f"{where}: damaged, its seal is gone; {way_out}")
    if not _sensible(members):
        raise StudyError(f"{where}: not as the store format says (a number that no run has); {way_out}")
    try:
        return _adapter().validate_python(members)
    except (ValidationError, OverflowError, RecursionError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        place = ".".join(map(str, first["loc"]))
        raise StudyError(f"{where}: not as the store format says ({place}: {first['msg']}); {way_out}") from error


def _sensible(value: object, depth: int = 6) -> bool:
    """Whether all numbers are finite and below LARGEST."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return depth > 0 and all(_sensible(item, depth - 1) for item in value)
    return not isinstance(value, int | float) or abs(value) <= LARGEST  # false for NaN


def read_status(objects: Objects, key: str) -> RunStatus | None:
    """The status with this key; None if there is none. Raises StudyError for a damaged one."""
    try:
        return parse(objects.get(key), f"{objects.url}/{key}")
    except Missing:
        return None
