"""Odd command lines: every command with values that people mistype and programs produce ends in an answer or in one message of ours.

    python tests/fuzz/fuzz_arguments.py --trials 3000 --seed 0

A trial takes a command line that works (over a small study, a training study, recipes and weights made for it) and replaces, doubles,
drops or adds words; then it is run as the program `xlli` would run it, in this process. Findings: an exception, a traceback in what is
printed, an exit code that docs/recipes.md does not know, an exit code other than 0 without a message, control characters, and more than ten
seconds of work. Prints one JSON object; the exit code is 1 when something was found.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from limits import Hang, less_memory, limited
from small_study import small_study, small_training

SECONDS = 10
MEMORY = 12 * 2**30
CODES = (0, 1, 2, 3, 4, 75)
ODD = (
    "", " ", "-", "--", "---", "-1", "0", "1", "2", "00", "1e9", "1.5", "nan", "inf", "-inf", "99999999999999999999", "9" * 5000, "é",
    "\x1b[31m", "\udcff",
    "a" * 5000, "x=y", "=", "a=", "=b", "a.b.c=1", "[", "]", "{}", "[1", "'", '"', "*", "**", "?", "..", ".", "/", "/dev/null",
    "/dev/zero", "/proc/self/mem",
    "/nothing/here", "~", "~nobody", "$HOME", "`id`", "; id", "%s", "{0}", "file:///", "://", "http://", "http://[", "https://x y/",
    "s3://",
    "s3:///", "gs://", "az://", "s3://?", "zip://a::b", "memory://x", "ray://", "auto", "none", "null", "true", "True", "cpu", "cuda",
    "cuda:99",
    "cuda:-1", "mps", "tpu", "1/0", "0/1", "2/1", "1/2", "1/1", "-1/-1", "1//2", "1/2/3", "a/b", "table", "csv", "json", "xml", "all",
    "restore", "small", "lam",
    "select", "from restore", "select * from nothing", "drop table samples", "copy samples to 'x.csv'", "from read_csv('/etc/passwd')",
    "attach '/tmp/x'", "select 1; select 2", "install httpfs", "pragma version", "select 'a' || chr(27)", "select repeat('a', 100000)",
    "from range(100000)", "select psnr_y from restore limit -1", "select unnest(range(10))", "--help", "--version", "-h", "builtin:",
    "builtin:srresnet-gr-clean",
    "os:system", "toy:small", "a.py:b", "seed=x", "corpus.scale=0", "models=", "stages.0=1", "corpus.images=nothing/*.png",
    "limits.bytes=1", "name=../x",
    "name=" + "n" * 300, "seed=[", "batch.restore=-1", "train.iterations=0", "grid=3", "train.batch=1e9",
)  # fmt: skip
OPTIONS = (
    "--out", "--workers", "--address", "--device", "--gpus-per-worker", "--limit", "--set", "--takeover", "--retry-failed", "--replace",
    "--any-device",
    "--part", "--quiet", "--json", "--repair", "--format", "--unsafe", "--network", "--args", "--key", "--size", "--scale", "--against",
    "--port", "--no-browser",
    "--follow", "--nothing", "-q", "--no-quiet", "--watch", "--kind",
)  # fmt: skip


THERE = ("recipe.yaml", "study", "trained", "images/0.png", "images", "fifo", "link", "empty", "weights.safetensors")


def lines(folder: Path) -> list[list[str]]:
    """Command lines that work, over what is in the folder."""
    recipe, study, trained, training = (str(folder / name) for name in ("recipe.yaml", "study", "trained", "training.yaml"))
    weights = str(folder / "weights.safetensors")
    return [
        ["run", recipe, "--out", study, "--workers", "0", "--quiet"], ["run", recipe, "--out", study, "--part", "1/2", "--quiet"],
        ["run", recipe, "--out", study, "--workers", "0", "--replace", "lam", "--retry-failed", "--takeover"],
        ["run", recipe, "--workers", "0", "--limit", "2", "--set", "seed=0", "--device", "cpu"],
        ["scan", recipe, "--out", study, "--workers", "0"], ["plan", recipe, "--out", study, "--workers", "0"], ["status", study],
        ["status", study, "--json"], ["status", trained], ["verify", study], ["verify", study, "--repair"], ["verify", trained],
        ["query", study, "select model, avg(psnr_y) from restore group by model"], ["query", study, "from samples", "--format", "json"],
        ["layers", weights], ["layers", weights, "head", "--network", "toy:small", "--size", "32"],
        ["layers", "builtin:srresnet-gr-clean", "*"], ["report", study], ["report", study, study, "--out", str(folder / "both")],
        ["report", trained], ["report", study, "--against", "small"],
        ["view", study, "--no-browser"], ["view", trained, "--no-browser", "--port", "45123"],
        ["train", training, "--out", trained, "--workers", "0", "--quiet"], ["submit", recipe, "--address", "http://127.0.0.1:9"],
        ["stop", "http://127.0.0.1:9#job"], ["status", "http://127.0.0.1:9#job"], ["doctor", study], ["doctor"], [], ["--help"],
        ["--version"],
    ]  # fmt: skip


def changed(line: Sequence[str], folder: Path, rng: random.Random) -> list[str]:
    """One to three changes of words."""
    out = list(line)
    there = [str(folder / name) for name in THERE]
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(out) + 1)
        what, odd = rng.randrange(6), rng.choice(there) if rng.random() < 0.25 else rng.choice(ODD)
        if what <= 1 and at < len(out):
            out[at] = odd
        elif what == 2 and at < len(out):
            del out[at]
        elif what == 3:
            out[at:at] = [rng.choice(OPTIONS), *([odd] if rng.random() < 0.8 else [])]
        elif what == 4 and at < len(out):
            out.insert(at, out[rng.randrange(len(out))])
        else:
            out.insert(at, odd)
    numbered = [i for i, word in enumerate(out[:-1]) if word == "--workers" and re.fullmatch(r"0*[1-9]\d{0,3}", out[i + 1])]
    for i in numbered:
        out[i + 1] = "0"  # a private Ray takes ten seconds to start, and is not what is tried here
    return [word for word in out if "\0" not in word]


def attempt(line: Sequence[str]) -> tuple[int, str, str]:
    """Exit code, standard output and error of `xlli` with these words."""
    from xlli_ray.__main__ import main
    from xlli_ray.engine.process_end import SIGNALS

    before = {number: signal.getsignal(number) for number in SIGNALS}
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict", write_through=True) for _ in range(2))
    code: Any = None
    try:
        with patch.object(sys, "argv", ["xlli", *line]), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8", "replace"))  # type: ignore[attr-defined]
    return code if isinstance(code, int) else 1, texts[0], texts[1]


def problem(code: int, out: str, err: str) -> str:
    """What is wrong with how a command ended, "" if nothing."""
    if "Traceback" in out + err:
        return "a traceback was printed"
    if code not in CODES:
        return f"exit code {code}"
    if code and not (out + err).strip():
        return f"exit code {code} without a word"
    if re.search("[\x00-\x08\x0b-\x1f\x7f]", err):
        return "control characters on standard error"
    if len(err) > 20_000:
        return f"{len(err)} characters on standard error"
    return ""


def prepare(folder: Path, made: Path | None) -> None:
    """What the command lines are about: made here, or a copy of `made`."""
    if made is None:
        folder.mkdir()
        small_study(folder)
        small_training(folder)
    else:
        shutil.copytree(made, folder)
    (folder / "empty").mkdir()
    (folder / "link").symlink_to(folder / "link")
    os.mkfifo(folder / "fifo")
    shutil.copyfile(min((folder / "study/weights").iterdir()), folder / "weights.safetensors")


def main(arguments: Sequence[str] | None = None, *, made: Path | None = None) -> dict[str, Any]:
    """Run the trials; returns the summary. `made`: a folder with a small study that is there already."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--trials", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    options = parser.parse_args(arguments)
    begun, slowest = time.monotonic(), 0.0
    outcomes: Counter[str] = Counter()
    findings: list[dict[str, Any]] = []
    # a server would serve until it is told not to
    interrupted = patch("xlli_ray.report.view_server.server.ViewServer.serve_forever", side_effect=KeyboardInterrupt)
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as where, less_memory(MEMORY), interrupted, patch.dict(os.environ, {"HOME": where}):
        folder = Path(where)
        whole, trial = folder / "whole", folder / "trial"
        try:
            prepare(whole, made)
            shutil.copytree(whole, trial, symlinks=True, ignore=shutil.ignore_patterns("fifo"))
            for number in range(options.first, options.first + options.trials):
                rng = random.Random(f"{options.seed}/{number}")
                if number % 25 == 0 or not (trial / "study/study.json").exists():  # what a command has made is there for some of the next
                    os.chdir(here)
                    shutil.rmtree(trial)
                    shutil.copytree(whole, trial, symlinks=True, ignore=shutil.ignore_patterns("fifo"))
                    os.mkfifo(trial / "fifo")
                (trial / "here").mkdir(exist_ok=True)
                os.chdir(trial / "here")
                known = lines(trial)
                line = known[number % len(known)]
                words = list(line) if number < len(known) else changed(line, trial, rng)
                start, wrong, code = time.process_time(), "", -1
                try:
                    with limited(SECONDS):
                        code, out, err = attempt(words)
                    wrong = problem(code, out, err)
                    wrong += f": {(out + err)[-600:]}" if wrong else ""
                    outcomes[f"{next((word for word in words if word.isalpha()), '-')[:12] if words else '-'}: {code}"] += 1
                except (Exception, Hang, KeyboardInterrupt):
                    wrong = traceback.format_exc(limit=-6)[-2000:]
                slowest = max(slowest, time.process_time() - start)
                if wrong:
                    findings.append({"trial": number, "words": [word[:200] for word in words], "problem": wrong})
                    sys.stderr.write(json.dumps(findings[-1]) + "\n")
        finally:
            os.chdir(here)
    commands = {line[0] for line in lines(folder) if line}
    told = Counter[str]()
    for name, count in outcomes.items():
        told[name if name.split(":")[0] in commands else f"no command: {name.split(': ')[1]}"] += count
    return {
        "trials": options.trials, "seed": options.seed, "outcomes": dict(sorted(told.items())), "findings": findings,
        "slowest_cpu_seconds": round(slowest, 2), "seconds": round(time.monotonic() - begun, 1),
    }  # fmt: skip


if __name__ == "__main__":
    summary = main()
    print(json.dumps(summary, indent=1))
    sys.exit(1 if summary["findings"] else 0)
