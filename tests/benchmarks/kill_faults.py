"""What befalls a run beside kills: its disk is full, its mount turns read-only, its driver is stopped and taken over and goes on.

Full and read-only are real: a tmpfs of kilobytes to megabytes, mounted for the study, which needs the right to mount. Without it these two
are left out, and the campaign says so.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from kill_runs import Told, marked
from kill_worlds import World, compare

if TYPE_CHECKING:
    from kills import Campaign

ROOM = 64
"""MB that are enough for each study."""
FIRST_MB, LAST_MB = 0.05, 5.0
AWAY = "elsewhere"
"""Name of a machine that this one is not: its drivers' lives are told by their beats alone."""


def fault(campaign: Campaign, number: int) -> None:
    """One study with one fault, drawn; then it is whole, and compared."""
    world = campaign.worlds[campaign.drawn.choice(list(campaign.worlds))]
    kind = campaign.drawn.choice(["full", "read-only", "paused", "paused"])
    name = f"{campaign.seed}-{number:03d}-{world.name}-{kind}"
    if kind == "paused":
        paused(campaign, world, name)
        return
    with mounted(campaign.place.folder / f"m{campaign.seed}-{number}") as place:
        if place is None:
            print("no right to mount: neither full disks nor read-only mounts", flush=True)
            return
        (full if kind == "full" else read_only)(campaign, world, name, place)


@contextlib.contextmanager
def mounted(place: Path) -> Iterator[Path | None]:
    """A tmpfs of ROOM; None where nothing can be mounted."""
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}m", "tmpfs", str(place)], capture_output=True, check=False)
    try:
        yield place if done.returncode == 0 else None
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


def _remount(place: Path, how: str) -> bool:
    return subprocess.run(["mount", "-o", f"remount,{how}", str(place)], capture_output=True, check=False).returncode == 0


def full(campaign: Campaign, world: World, name: str, place: Path) -> None:
    """Room for a part of the study, twice for a larger part; then for all."""
    out = str(place / "study")
    size = FIRST_MB
    for _ in range(2):
        size = size * (LAST_MB / size) ** campaign.drawn.random()
        _remount(place, f"size={int(size * 1024)}k")
        told = campaign.begin(world, out, campaign.drawn.choice(["pool", "here", "part"]), name).told(also=(0, 3))
        _stopped(campaign, name, told, "full")
    _remount(place, f"size={ROOM}m")
    campaign.conclude(world, out, name)


def read_only(campaign: Campaign, world: World, name: str, place: Path) -> None:
    """At a random moment; the kernel refuses while a file is open for writing, so it is tried until it does not."""
    out = str(place / "study")
    run = campaign.begin(world, out, campaign.drawn.choice(["pool", "here", "part"]), name)
    over = run.over(0.8 * (campaign.spans["pool"] / 0.8) ** campaign.drawn.random())
    while not over and not _remount(place, "ro"):
        over = run.over(0.003)
    _stopped(campaign, name, run.told(also=(0, 3)), "read-only")
    _remount(place, "rw")
    campaign.conclude(world, out, name)


def _stopped(campaign: Campaign, name: str, told: Told, said: str) -> None:
    """A run that met it ends with 3 and says what it was."""
    campaign.note(name, told)
    campaign.counts["faults"][f"{said}, rc {told.code}"] += 1
    if told.code == 3 and said not in told.said:
        campaign.find(name, [f"it does not say that the disk is {said}: {told.said}"])


def paused(campaign: Campaign, world: World, name: str) -> None:
    """SIGSTOP of the driver or of all its processes; another takes over and concludes; SIGCONT, and nothing may change any more."""
    out = campaign.place.study(name)
    mode = campaign.drawn.choice(["pool", "here", "ray"])
    away = campaign.drawn.random() < 0.3 and campaign.place.kind == "local"
    sleeper = campaign.begin(world, out, mode, name)
    if sleeper.over(0.8 * (campaign.spans[mode] / 0.8) ** campaign.drawn.random()):
        campaign.note(name, sleeper.told(also=(0,)))
        return
    whole = campaign.drawn.random() < 0.5
    asleep = [psutil.Process(sleeper.process.pid), *(marked(sleeper.mark) if whole else [])]
    for process in asleep:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGSTOP)
    phase, before = campaign.place.last(out, sleeper.began), time.monotonic()
    held = campaign.place.kind == "local" and _holds(Path(out))  # else it has ended its lease, or takes one later, and goes on
    options = ("--takeover",)
    if away:
        _elsewhere(Path(out))
        options = ()
    told = campaign.begin(world, out, "here", name, *options).told()
    campaign.note(name, told)
    found = compare(world, out)
    contents = _contents(out) if held else {}
    for process in asleep:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGCONT)
    woken = sleeper.told(also=(4,) if held else (0,))
    campaign.note(name, woken)
    campaign.counts["faults"][f"paused {'with its workers' if whole else 'driver'}, rc {woken.code}"] += 1
    campaign.write(study=name, paused=phase_and(phase), seconds=time.monotonic() - before, code=woken.code, said=woken.said)
    if held and (changed := _changed(contents, _contents(out))):
        found += [f"the driver that came back changed {key}" for key in changed]
    if woken.code == 4 and "taken over" not in woken.said and "another run holds" not in woken.said:
        found.append(f"exit code 4 without the lease's message: {woken.said}")
    campaign.find(name, found)
    campaign.conclude(world, out, name)
    campaign.place.remove(out)


def phase_and(key: str) -> str:
    from kill_runs import phase_of

    return f"{phase_of(key)} ({key})"


def _holds(out: Path) -> bool:
    """Whether a run of a new study has taken the lease and not given it back."""
    return (out / "lease" / "000001.json").exists() and not (out / "lease" / "000001.end").exists()


def _elsewhere(out: Path) -> None:
    """Its lease says another host: the next run watches the beat, and takes the study over when it stands still."""
    import json

    from xlli_ray.store.records.seal import sealed_json

    leases = sorted((out / "lease").glob("[0-9]*.json")) if (out / "lease").exists() else []
    if leases:
        holder = json.loads(leases[-1].read_text())
        holder.pop("seal", None)
        leases[-1].write_bytes(sealed_json({**holder, "host": AWAY, "machine": AWAY}))


def _contents(out: str) -> dict[str, bytes]:
    """Every object but leases, events, and what is half written."""
    paths = [path for path in Path(out).rglob("*") if path.is_file() and not path.name.endswith(".partial")]
    names = {path.relative_to(out).as_posix(): path for path in paths}
    return {name: path.read_bytes() for name, path in names.items() if not name.startswith(("lease/", "events/"))}


def _changed(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


