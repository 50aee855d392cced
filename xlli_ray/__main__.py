"""The program `xlli`, also `python -m xlli_ray`: runs one command of `cli`, and turns errors and signals into messages and exit codes."""

from __future__ import annotations

import sys

import xlli_ray
from xlli_ray.cli import app
from xlli_ray.errors import ClusterLost, EnvironmentFailure, LeaseError, PlanError, XlliError
from xlli_ray.terminal import forgive, say

EXIT = {PlanError: 2, ClusterLost: 75, EnvironmentFailure: 3, LeaseError: 4}
"""Exit codes, the first that fits. 75 (EX_TEMPFAIL of <sysexits.h>): run the same command again to continue."""


def program() -> None:
    """Entry point of the installed program: `main`, then the end of this process (`engine.process_end`). Does not return."""
    from xlli_ray.engine.process_end import end, end_in_time

    code = 1
    try:
        end_in_time()
        main()
    except SystemExit as asked:
        code = asked.code if isinstance(asked.code, int) else int(asked.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    end(code)


def main() -> None:
    """One command: our own errors are one message on stderr, never a traceback. Raises SystemExit with the exit code."""
    from xlli_ray.engine.process_end import STOPPED_TEXT, heed_signals, stopped_code, was_asked
    from xlli_ray.engine.worker.environment import one_arena

    forgive()
    one_arena()
    xlli_ray.leave_current_folder()
    try:
        heed_signals()
        code = app(result_action="return_value")
    except XlliError as error:
        text = error.strerror if isinstance(error, EnvironmentFailure) and error.strerror else str(error)
        say(f"{type(error).__name__}: {text}", sys.stderr)
        code = next((code for kind, code in EXIT.items() if isinstance(error, kind)), 1)
    except BrokenPipeError:
        code = 0
    except BaseException as error:
        # an interrupted import or call may have turned the interrupt into another error
        if not isinstance(error, KeyboardInterrupt) and (isinstance(error, SystemExit) or not was_asked()):
            raise
        say(STOPPED_TEXT, sys.stderr)
        code = stopped_code()
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    program()
