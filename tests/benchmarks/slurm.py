"""Both SLURM templates on a real SLURM: two nodes on this machine, started by this script in a folder of their own and ended by pid.

    python tests/benchmarks/slurm.py [--folder DIR] [--only ray array …] [--minutes 1]

Debian: apt-get install slurmctld slurmd slurm-client munge. Each scenario goes through `xlli submit` and is compared with an
undisturbed local run (`same_study.py`: arrays and tables byte for byte) and followed by `xlli verify`:

ray     slurm.sbatch on two nodes with a token; SIGTERM once a unit is recorded; the job is queued again and ends
plain   slurm.sbatch on one node with RAY_AUTH_MODE=disabled
limit   slurm.sbatch with a time limit shorter than the study: SLURM's own signal, the job goes on in its next tries
node    slurm.sbatch on two nodes, one of which is lost once a unit is recorded
stop    slurm.sbatch, `xlli stop`: it does not come back, the study is free, and a second submit ends it
array   slurm-array.sbatch: one task is cancelled for good, one gets SIGTERM and is queued again, the concluding job does the rest

Prints one JSON object a line. Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent))
from same_study import compare

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
SYSTEM = ("/usr/sbin", "/sbin", "/usr/local/sbin")
NODES, CPUS, MEMORY = 2, 2, 6000
RECIPE = """
name: slurm
seed: 0
corpus:
  images: ["skimage://*"]
  patches: {size: 48, per_image: %d, min_std: 5.0}
  scale: 4
  degradations: [clean, {noise: 20}]
models:
  - {id: srresnet, weights: "builtin:srresnet-gr-clean"}
stages:
  - restore: {}
  - features: {layers: ["head"]}
  - lam: {nodes: 10, windows: {size: 16, per_sample: 2, choose: texture}}
batch: {restore: 8, features: 8, lam: 4}
"""
CONF = """
ClusterName=xlli
SlurmctldHost={host}
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.sock
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
SlurmdTimeout=20
ReturnToService=2
MailProg=/bin/true
NodeName=n1 NodeHostname={host} Port={ports[1]} CPUs={cpus} RealMemory=8000
NodeName=n2 NodeHostname={host} Port={ports[2]} CPUs={cpus} RealMemory=8000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def found(program: str) -> str | None:
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *SYSTEM]))


def missing() -> str | None:
    """Why there can be no SLURM here, or None."""
    without = [program for program in PROGRAMS if found(program) is None]
    return f"SLURM is not installed: no {', '.join(without)} (Debian: slurmctld slurmd slurm-client munge)" if without else None


def free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


class Slurm:
    """A controller and two nodes on this machine, with a munge of their own, below `folder`."""

    def __init__(self, folder: Path, minutes: int = 1) -> None:
        self.folder, self.minutes = folder, minutes
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        here = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), *SYSTEM])
        self.env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": here, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        for name in [name for name in self.env if name.startswith(("RAY_", "SBATCH_", "SLURM_JOB"))]:
            del self.env[name]

    def __enter__(self) -> Slurm:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        (self.folder / "state").mkdir(exist_ok=True)
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(256))
        key.chmod(0o600)
        host = socket.gethostname().partition(".")[0]
        user = psutil.Process().username()
        conf = CONF.format(host=host, user=user, ports=free_ports(3), folder=self.folder, cpus=CPUS)
        (self.folder / "slurm.conf").write_text(conf)
        where = {name: f"--{name}-file={self.folder}/munge.{name}" for name in ("pid", "log", "seed")}
        try:
            self._start("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={self.folder}/munge.sock", *where.values())
            self._until("munge", lambda: (self.folder / "munge.sock").exists())
            self._start("slurmctld", "-D")
            for node in ("n1", "n2"):
                self.start_node(node)
            self._until("nodes", lambda: self.ask("sinfo", "--noheader", "--Node", "--format=%T").split() == ["idle"] * NODES)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the jobs, then what this object started and what came from it, by pid."""
        with suppress(Exception):
            self.ask("scancel", "--user", psutil.Process().username())
            time.sleep(3)
        for name in reversed(list(self.daemons)):
            self.kill(name, signal.SIGTERM)

    def _start(self, program: str, *arguments: str, name: str = "") -> None:
        path = found(program)
        assert path is not None
        log = (self.folder / f"{name or program}.out").open("ab")
        self.daemons[name or program] = subprocess.Popen([path, *arguments], env=self.env, stdout=log, stderr=log, start_new_session=True)
        log.close()

    def start_node(self, node: str) -> None:
        self._start("slurmd", "-D", "-N", node, name=node)

    def kill(self, name: str, number: int) -> None:
        """A daemon and all that it has started: of a node, its jobs' steps."""
        daemon = self.daemons.pop(name)
        with suppress(psutil.NoSuchProcess):
            mine = [psutil.Process(daemon.pid), *psutil.Process(daemon.pid).children(recursive=True), *self.steps(name)]
            daemon.send_signal(number)
            _, left = psutil.wait_procs(mine[:1], timeout=10 if number == signal.SIGTERM else 1)
            for one in {*left, *mine[1:]}:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
        daemon.wait()

    def steps(self, node: str) -> list[psutil.Process]:
        """slurmstepd processes of a node of ours, and theirs: they outlive their slurmd."""
        out = []
        for one in psutil.process_iter(["name", "environ", "cmdline"]):
            said = " ".join(one.info["cmdline"] or ())
            if (one.info["environ"] or {}).get("SLURM_CONF") == self.env["SLURM_CONF"] and "slurmstepd" in said:
                tree = [one, *one.children(recursive=True)]
                if any((self._env(child)).get("SLURMD_NODENAME") == node for child in tree):
                    out += tree
        return out

    @staticmethod
    def _env(process: psutil.Process) -> dict[str, str]:
        try:
            return process.environ()
        except psutil.Error:
            return {}

    def ask(self, *command: str) -> str:
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60, check=True).stdout

    def _until(self, what: str, true: Callable[[], bool], seconds: float = 120) -> None:
        until = time.monotonic() + seconds
        while not true():
            if time.monotonic() > until:
                raise TimeoutError(f"no {what} after {seconds:.0f} s; see {self.folder}")
            time.sleep(0.5)

    def xlli(self, *arguments: str, **more: str) -> str:
        command = [sys.executable, "-m", "xlli_ray", *arguments]
        done = subprocess.run(command, env={**self.env, **more}, cwd=self.folder, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            raise RuntimeError(f"xlli {arguments[0]}: exit code {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def submit(self, *arguments: str, **more: str) -> str:
        """Number of the job."""
        sized = [f"--sbatch=--cpus-per-task={CPUS}", f"--sbatch=--mem={MEMORY}"] if "slurm" in arguments else []
        return self.xlli("submit", *arguments, *sized, **more).split("job slurm:")[1].split(":")[0]

    def states(self, job: str) -> dict[str, str]:
        """Number → state, of a job or of each task."""
        lines = self.ask("squeue", "--noheader", "--array", "--states=all", f"--jobs={job}", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def restarts(self, job: str) -> int:
        return int(self.ask("scontrol", "show", "job", job).split("Restarts=")[1].split()[0])

    def finish(self, job: str, seconds: float = 900) -> dict[str, str]:
        """States once none is on its way. What is queued again would wait two minutes: it starts after some seconds, for a job that starts
        in the second of its end has a credential that was revoked."""
        until, since = time.monotonic() + seconds, dict[str, float]()
        while True:
            states = self.states(job)
            moving = {number for number, state in states.items() if state in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING")}
            if not moving:
                return states
            if time.monotonic() > until:
                raise TimeoutError(f"job {job} after {seconds:.0f} s: {states}; see {self.folder}")
            since = {number: since.get(number, time.monotonic()) for number in moving if states[number] == "PENDING"}
            for number in [number for number, begun in since.items() if time.monotonic() - begun > 5]:
                with suppress(subprocess.CalledProcessError):
                    self.ask("scontrol", "update", f"jobid={number}", "starttime=now")
            time.sleep(1)


def units(study: Path) -> int:
    """Recorded units, those of the scan left out."""
    return sum("scan-" not in str(path) for path in study.glob("records/**/*.arrow"))


def wait_for_units(slurm: Slurm, study: Path, job: str, count: int = 1, seconds: float = 600) -> int:
    """Wait until some units are recorded; their number."""
    until = time.monotonic() + seconds
    while (done := units(study)) < count:
        if time.monotonic() > until or not {"PENDING", "RUNNING", "COMPLETING"} & set(slurm.states(job).values()):
            raise TimeoutError(f"no unit of job {job}: {slurm.states(job)}; see {slurm.folder}")
        time.sleep(0.2)
    return done


def left_over(job: str) -> list[str]:
    """Folders and processes of a job's Rays that are still there."""
    mark = f"{tempfile.gettempdir()}/xlli-{job}-"
    processes = [f"pid {one.pid}" for one in psutil.process_iter(["cmdline"]) if mark in " ".join(one.info["cmdline"] or ())]
    return [*processes, *(str(path) for path in Path(tempfile.gettempdir()).glob(f"xlli-{job}-*"))]


def wait_left_over(job: str, seconds: float = 40) -> list[str]:
    until = time.monotonic() + seconds
    while (left := left_over(job)) and time.monotonic() < until:
        time.sleep(1)
    return left


def ray(slurm: Slurm, recipe: Path, study: Path) -> dict[str, Any]:
    job = slurm.submit(str(recipe), "--kind", "slurm", "--nodes", "2", "--out", str(study))
    done = wait_for_units(slurm, study, job)
    slurm.ask("scancel", "--signal=TERM", "--batch", job)
    slurm._until("requeue", lambda: slurm.restarts(job) > 0)
    states = slurm.finish(job)
    log = (slurm.folder / f"xlli-{job}.log").read_text()
    return {"units_before": done, "restarts": slurm.restarts(job), "states": states, "left_over": wait_left_over(job),
            "as_said": "run the same command again" in log and list(states.values()) == ["COMPLETED"]}  # fmt: skip


def plain(slurm: Slurm, recipe: Path, study: Path) -> dict[str, Any]:
    job = slurm.submit(str(recipe), "--kind", "slurm", "--nodes", "1", "--out", str(study), RAY_AUTH_MODE="disabled")
    states = slurm.finish(job)
    return {"states": states, "left_over": wait_left_over(job), "as_said": list(states.values()) == ["COMPLETED"]}


def limit(slurm: Slurm, recipe: Path, study: Path) -> dict[str, Any]:
    said = ("--sbatch=--signal=B:TERM@15", "--time", str(slurm.minutes))
    job = slurm.submit(str(recipe), "--kind", "slurm", "--nodes", "1", "--out", str(study), *said)
    states = slurm.finish(job, 900)
    return {"restarts": slurm.restarts(job), "states": states, "left_over": wait_left_over(job),
            "as_said": list(states.values()) == ["COMPLETED"] and slurm.restarts(job) > 0}  # fmt: skip


def node(slurm: Slurm, recipe: Path, study: Path) -> dict[str, Any]:
    job = slurm.submit(str(recipe), "--kind", "slurm", "--nodes", "2", "--out", str(study))
    wait_for_units(slurm, study, job)
    slurm.kill("n2", signal.SIGKILL)
    states = slurm.finish(job)
    out = {"states": states, "restarts": slurm.restarts(job), "as_said": list(states.values()) == ["COMPLETED"]}
    for path in Path(tempfile.gettempdir()).glob(f"xlli-{job}-*"):
        shutil.rmtree(path, ignore_errors=True)  # a lost node does not clean up
    slurm.start_node("n2")
    slurm._until("node", lambda: slurm.ask("sinfo", "--noheader", "--Node", "--format=%T").split() == ["idle"] * NODES)
    return out


def stop(slurm: Slurm, recipe: Path, study: Path) -> dict[str, Any]:
    job = slurm.submit(str(recipe), "--kind", "slurm", "--nodes", "2", "--out", str(study))
    done = wait_for_units(slurm, study, job)
    said = slurm.xlli("stop", f"slurm:{job}").strip()
    states = slurm.finish(job)
    released = sorted(study.glob("lease/*.end"))[-1:] == [Path(study / f"lease/{len(list(study.glob('lease/*.json'))):06d}.end")]
    second = slurm.submit(str(recipe), "--kind", "slurm", "--nodes", "1", "--out", str(study))
    after = slurm.finish(second)
    return {"units_before": done, "said": said, "states": states, "released": released, "second": after,
            "left_over": wait_left_over(job) + wait_left_over(second),
            "as_said": released and list(states.values()) == ["FAILED"] and list(after.values()) == ["COMPLETED"]}  # fmt: skip


def array(slurm: Slurm, recipe: Path, study: Path) -> dict[str, Any]:
    sized = ("--sbatch=--cpus-per-task=1", f"--sbatch=--mem={MEMORY // 2}")
    job = slurm.submit(str(recipe), "--kind", "slurm-array", "--parts", "4", "--out", str(study), *sized)
    done = wait_for_units(slurm, study, job)
    slurm.ask("scancel", f"{job}_2")
    slurm.ask("scancel", "--signal=TERM", "--batch", f"{job}_3")
    states = slurm.finish(job)
    end = slurm.ask("squeue", "--noheader", "--array", "--states=all", f"--name=xlli-{job}-end", "--format=%F").split()
    concluded = slurm.finish(end[0]) if end else {}
    log = (slurm.folder / f"xlli-{job}_3.log").read_text()
    return {"units_before": done, "states": states, "concluding": concluded, "third_was_told": "run the same command again" in log,
            "as_said": states.get(f"{job}_2") == "CANCELLED" and list(concluded.values()) == ["COMPLETED"]}  # fmt: skip


SCENARIOS = {"ray": ray, "plain": plain, "limit": limit, "node": node, "stop": stop, "array": array}
SIZES = {"limit": 24}
"""Patches of each photograph, where the usual 4 are too few."""


def measure(folder: Path, names: Sequence[str], say: Callable[[dict[str, Any]], None], minutes: int = 1) -> bool:
    """Run the scenarios and say each; whether all are as they should be."""
    good = True
    with Slurm(folder / "slurm", minutes) as slurm:
        for name in names:
            size = SIZES.get(name, 4)
            recipe, local, study = folder / f"recipe-{size}.yaml", folder / f"local-{size}", folder / name
            if not local.exists():
                recipe.write_text(RECIPE % size)
                slurm.xlli("run", str(recipe), "--out", str(local), "--workers", "0", "--quiet")
            begun = time.monotonic()
            try:
                out = SCENARIOS[name](slurm, recipe, study)
                differences, added = compare(local, study)
                whole = slurm.xlli("verify", str(study)).strip().splitlines()[-1]
                out |= {"differences": differences + added, "verify": whole}
                fine = out["as_said"] and not differences and not added and not out.get("left_over")
            except (RuntimeError, TimeoutError, subprocess.SubprocessError) as error:
                out, fine = {"error": str(error)}, False
            say({"scenario": name, "good": bool(fine), "seconds": round(time.monotonic() - begun), **out})
            good &= bool(fine)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="for daemons and studies [default: a temporary one, removed at the end]")
    parser.add_argument("--only", nargs="+", choices=[*SCENARIOS], default=[*SCENARIOS])
    parser.add_argument("--minutes", type=int, default=1, help="of a try in `limit`: shorter than the study, longer than a start")
    arguments = parser.parse_args()
    if why := missing():
        print(why, file=sys.stderr)
        return 2
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="xlli-slurm-"))
    try:
        return 0 if measure(folder, arguments.only, lambda line: print(json.dumps(line), flush=True), arguments.minutes) else 1
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
