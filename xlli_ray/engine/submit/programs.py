"""The programs of a cluster that are asked here: sbatch, squeue, kubectl. Each failure is one message with the way out."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from xlli_ray.errors import EnvironmentFailure

ANSWER_SECONDS = 60.0


def ask(command: Sequence[str], where: str, *, text: str = "", env: Mapping[str, str] | None = None) -> str:
    """Standard output of `command`, which gets `text` as input; `where` says what to do without it. Raises EnvironmentFailure."""
    program = command[0]
    try:
        done = subprocess.run(
            command, input=text, env=None if env is None else dict(env), capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise EnvironmentFailure(2, f"{program} was not found. {where}") from error
    except OSError as error:
        raise EnvironmentFailure(error.errno or 5, f"{program} cannot be run ({error.strerror}). {where}") from error
    except subprocess.TimeoutExpired as error:
        raise EnvironmentFailure(110, f"{program} has not answered within {ANSWER_SECONDS:.0f} s. Is the cluster up?") from error
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise EnvironmentFailure(done.returncode, f"{program}: {' · '.join(lines[-3:]) or f'exit code {done.returncode}'}")
    return done.stdout
