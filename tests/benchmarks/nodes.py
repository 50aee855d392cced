"""Bad weather on a cluster: raylets in network namespaces of their own, and a run over them.

    python tests/benchmarks/nodes.py --raylets 2 4 --json nodes.jsonl        (as root; touches no network of the host)

Each node has its own address, host name, /tmp and /dev/shm, so that it alone can vanish, be cut off, hang, not see the study, or run
out of shared memory. The head has no CPU slot and runs the driver. Bars: the run ends with the bytes of an undisturbed one, or says why
and the same command then does so; a worker that is lost costs at most two units. A pass of the network sleeps as long as its node says
(`toy:slow`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "engine"))
from helpers import digest  # noqa: E402

PORT = 6399
PATIENCE = 600.0
SHM_MIB = 120
PASS_SECONDS = 0.5


def sh(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def environment(seconds: float = 0.0) -> dict[str, str]:
    return {
        **os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "XLLI_TOY_SECONDS": str(seconds), "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'engine'}", "RAY_worker_niceness": "0",
    }  # fmt: skip


def until(holds: Callable[[], Any], what: str, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {seconds:.0f} s until {what}")
        time.sleep(0.1)


@dataclass
class Node:
    """A machine, as far as Ray and the run can tell. `space`: its network namespace."""

    space: str
    name: str
    address: str
    log: Path
    ray: subprocess.Popen[bytes] | None = None

    def start(self, head: Node, *, slots: int, setup: str = "true", seconds: float = PASS_SECONDS) -> None:
        """`ray start --block`, after `setup` in a shell there. `seconds`: of a pass of the network."""
        place = ["--head", f"--port={PORT}", "--include-dashboard=false"] if head is self else [f"--address={head.address}:{PORT}"]
        words = [
            str(Path(sys.executable).with_name("ray")), "start", "--block", *place, f"--node-ip-address={self.address}",
            f"--num-cpus={slots}", "--object-store-memory=80000000", "--disable-usage-stats",
        ]  # fmt: skip
        own = f"hostname {self.name}; mount -t tmpfs -o size=300m none /tmp; mount -t tmpfs -o size={SHM_MIB}m none /dev/shm; {setup}"
        command = ["ip", "netns", "exec", self.space, "unshare", "-m", "-u", "--propagation", "private", "bash", "-c"]
        with self.log.open("wb") as log:
            self.ray = subprocess.Popen(
                [*command, f'{own}; exec "$@"', "-", *words], env=environment(seconds), stdout=log, stderr=log, start_new_session=True
            )

    def begun(self) -> bool:
        assert self.ray is not None
        if self.ray.poll() is not None:
            raise RuntimeError(f"{self.name} did not start: {self.log.read_text()[-800:]}")
        return "Ray runtime started" in self.log.read_text()

    def inside(self, *words: str) -> list[str]:
        """`words` on this machine."""
        assert self.ray is not None
        return ["nsenter", "-t", str(self.ray.pid), "-m", "-n", "-u", *words]

    def pids(self, name: str = "") -> list[int]:
        """Processes on it, with `name` in their command."""
        found = []
        for word in sh("ip", "netns", "pids", self.space).split():
            with suppress(OSError):
                if name in Path(f"/proc/{word}/cmdline").read_bytes().decode(errors="replace"):
                    found.append(int(word))
        return found

    def signal(self, number: int) -> None:
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def link(self, state: str) -> None:
        sh("ip", "-n", self.space, "link", "set", "eth", state)

    def vanish(self) -> None:
        """As when the power fails: nobody is told."""
        self.link("down")
        self.signal(signal.SIGKILL)


class Cluster:
    """A head without slots, and nodes of one slot each. The switch between them is a namespace of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mark = folder, f"xn{uuid.uuid4().hex[:5]}"
        self.machines: list[Node] = []
        self.switch = f"{self.mark}-switch"

    def __enter__(self) -> Cluster:
        sh("ip", "netns", "add", self.switch)
        sh("ip", "-n", self.switch, "link", "add", "name", "lan", "type", "bridge")
        sh("ip", "-n", self.switch, "link", "set", "lan", "up")
        self.head = self.machine("head")
        try:
            self.head.start(self.head, slots=0)
            until(self.head.begun, "the head has started")
        except BaseException:
            self.__exit__()
            raise
        return self

    def machine(self, name: str) -> Node:
        number = len(self.machines) + 1
        node = Node(f"{self.mark}-{name}", name, f"10.213.0.{number}", self.folder / f"{self.mark}-{name}.log")
        self.machines.append(node)
        sh("ip", "netns", "add", node.space)
        sh("ip", "-n", node.space, "link", "set", "lo", "up")
        sh("ip", "-n", node.space, "link", "add", "name", "eth", "type", "veth", "peer", "name", f"p{number}", "netns", self.switch)
        sh("ip", "-n", node.space, "addr", "add", f"{node.address}/24", "dev", "eth")
        node.link("up")
        sh("ip", "-n", self.switch, "link", "set", f"p{number}", "master", "lan", "up")
        return node

    def nodes(self, count: int, **first: Any) -> list[Node]:
        """So many, with what is special about the first one."""
        made = [self.machine(f"node{len(self.machines)}") for _ in range(count)]
        for number, node in enumerate(made):
            node.start(self.head, slots=1, **({} if number else first))
        for node in made:
            until(node.begun, f"{node.name} has started")
        return made

    def run(self, recipe: Path, study: Path, workers: int) -> subprocess.Popen[str]:
        """`xlli run` on the head."""
        words = [sys.executable, "-m", "xlli_ray", "run", str(recipe), "--out", str(study), "--workers", str(workers)]
        return subprocess.Popen(
            self.head.inside(*words, "--address", f"{self.head.address}:{PORT}"), env=environment(), stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __exit__(self, *_: object) -> None:
        for node in self.machines:
            node.signal(signal.SIGKILL)
            if node.ray is not None:
                node.ray.wait()
        for space in [*(node.space for node in self.machines), self.switch]:
            sh("ip", "netns", "del", space)


def records(study: Path) -> int:
    return sum("scan-" not in str(path) for path in (study / "records").rglob("[!.]*.arrow"))


def events(study: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(study.glob("events/*.jsonl")) for line in path.read_text().splitlines()]


def make_recipe(folder: Path, images: int) -> Path:
    """Images of 32 × 32 under two degradations; a unit is one of them."""
    (folder / "images").mkdir()
    for number in range(images):
        values = np.random.default_rng(number).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / "images" / f"{number:03d}.png")
    data = {
        "name": "weather", "baseline": False,
        "corpus": {"images": [f"{folder}/images/*.png"], "scale": 2, "degradations": ["clean", {"noise": 20}]},
        "models": [{"id": "slow", "network": "toy:slow"}],
        "stages": [{"features": {"layers": ["net.head"]}}, {"restore": {"save": True}}],
        "batch": {"features": 1, "restore": 1},
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


Scene = Callable[[Cluster, int, Path, Path], tuple[int, str]]
"""(cluster, raylets, recipe, study) → exit code and messages of the run."""


def ended(run: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        _, said = run.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        run.kill()
        return 124, f"it hangs: {run.communicate()[1]}"
    return run.returncode, said


def disturbed(act: Callable[[Node], None], **first: Any) -> Scene:
    """A run in which `act` happens to the first node once all of them work."""

    def scene(cluster: Cluster, raylets: int, recipe: Path, study: Path) -> tuple[int, str]:
        nodes = cluster.nodes(raylets, **first)
        run = cluster.run(recipe, study, raylets)
        ready = lambda: run.poll() is not None or (records(study) >= 3 * raylets and all(node.pids("ray::_Actor") for node in nodes))  # noqa: E731
        until(ready, "all nodes work")
        if run.poll() is None:
            act(nodes[0])
        return ended(run)

    return scene


def cut(seconds: float) -> Callable[[Node], None]:
    def act(node: Node) -> None:
        node.link("down")
        time.sleep(seconds)
        node.link("up")

    return act


def hang(node: Node) -> None:
    node.signal(signal.SIGSTOP)
    time.sleep(8)
    node.signal(signal.SIGCONT)


def fill(node: Node) -> None:
    subprocess.run(node.inside("dd", "if=/dev/zero", "of=/dev/shm/full", "bs=1M"), capture_output=True, check=False)


def end_node(node: Node) -> None:
    """As a spot machine or a pod is told to end: `ray start --block` drains it for up to half a minute."""
    assert node.ray is not None
    node.ray.send_signal(signal.SIGTERM)


def unseen(cluster: Cluster, raylets: int, recipe: Path, study: Path) -> tuple[int, str]:
    """A node that has an empty folder where the study is."""
    study.mkdir(exist_ok=True)
    cluster.nodes(raylets, setup=f"mount -t tmpfs none {study}")
    return ended(cluster.run(recipe, study, raylets))


def unseen_late(cluster: Cluster, raylets: int, recipe: Path, study: Path) -> tuple[int, str]:
    """The same, but it joins a run that has a worker too many."""
    study.mkdir(exist_ok=True)
    cluster.nodes(raylets - 1, seconds=8 * PASS_SECONDS)  # it takes a while to join
    run = cluster.run(recipe, study, raylets)
    until(lambda: run.poll() is not None or records(study) >= 3, "units are done")
    cluster.nodes(1, setup=f"mount -t tmpfs none {study}")
    return ended(run)


SCENES: dict[str, tuple[Scene, str]] = {
    "killed": (disturbed(Node.vanish), "a node loses power"),
    "worker": (disturbed(lambda node: os.kill(node.pids("ray::_Actor")[0], signal.SIGKILL)), "a worker is killed"),
    "unseen": (unseen, "a node does not see the study"),
    "unseen late": (unseen_late, "a node that joins does not see the study"),
    "slow": (disturbed(lambda node: None, seconds=8 * PASS_SECONDS), "a node is eight times slower"),
    "hangs": (disturbed(hang), "a node stands still for 8 s"),
    "shm full": (disturbed(fill), "/dev/shm of a node runs full"),
    "shm full before": (
        disturbed(lambda node: None, setup="dd if=/dev/zero of=/dev/shm/full bs=1M 2>/dev/null"), "/dev/shm of a node is full as it starts"
    ),
    "cut short": (disturbed(cut(8)), "a node is cut off for 8 s"),
    "cut": (disturbed(cut(40)), "a node is cut off for 40 s"),
    "told to end": (disturbed(end_node), "a node is told to end"),
}  # fmt: skip


def play(name: str, raylets: int, folder: Path, recipe: Path, calm: dict[str, str]) -> dict[str, Any]:
    """One scene, and the same command on the head's own machine if it stopped."""
    study, began = folder / f"study-{raylets}-{name.replace(' ', '-')}", time.monotonic()
    with Cluster(folder) as cluster:
        code, said = SCENES[name][0](cluster, raylets, recipe, study)
    seconds, heard, again = time.monotonic() - began, events(study), None
    if code:
        words = [sys.executable, "-m", "xlli_ray", "run", str(recipe), "--out", str(study), "--workers", "0", "--quiet"]
        again = subprocess.run(words, env=environment(), capture_output=True, check=False).returncode
    lost = [event for event in heard if event["event"] == "lost"]
    return {
        "scene": name, "what": SCENES[name][1], "raylets": raylets, "exit": code, "seconds": round(seconds), "lost": len(lost),
        "taken": sum(bool(event.get("taken")) for event in lost),
        "told": [event["text"] for event in heard if event["event"] in ("draining", "waiting")],
        "said": [] if not code else said.strip().splitlines()[-2:], "again": again, "same bytes": digest(study) == calm,
        "left": [str(path) for path in study.rglob("*.partial")],
    }  # fmt: skip


def good(row: dict[str, Any]) -> bool:
    """Whether the bars hold. Where a node is cut off or vanishes, only its worker is lost."""
    right = row["exit"] == 0 or (row["exit"] in (3, 75) and row["again"] == 0 and bool(row["said"]))
    return bool(right and row["same bytes"] and row["lost"] <= 2 and not row["left"])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--raylets", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--scenes", nargs="+", default=list(SCENES), choices=list(SCENES))
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="xlli-nodes-", dir="/var/tmp") as place:  # nodes have their own /tmp
        folder = Path(place)
        recipe = make_recipe(folder, args.images)
        words = [sys.executable, "-m", "xlli_ray", "run", str(recipe), "--out", str(folder / "calm"), "--workers", "0", "--quiet"]
        subprocess.run(words, env=environment(), check=True, capture_output=True)
        calm = digest(folder / "calm")
        bad = 0
        for raylets in args.raylets:
            for name in args.scenes:
                row = play(name, raylets, folder, recipe, calm)
                bad += not good(row)
                line = json.dumps({"good": good(row), **row})
                print(line, flush=True)
                if args.json:
                    with args.json.open("a") as out:
                        out.write(line + "\n")
        sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
