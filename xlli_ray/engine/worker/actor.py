"""What a worker process does with a job, whichever pool has started it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

from xlli_ray.engine.worker.tasks import WorkerSpec
from xlli_ray.engine.worker.warm import warm_ahead
from xlli_ray.errors import XlliError


class Actor:
    """Runs in a worker process. Errors are returned as values: a pool decides what they mean, and Ray would wrap them in its own text."""

    def __init__(self, spec: WorkerSpec) -> None:
        sys.path.extend(path for path in spec.paths if path not in sys.path)
        self._spec = spec
        self._functions: dict[str, Callable[[Any], Any]] = {}
        warm_ahead(spec.device)

    def run(self, task: str, job: Any) -> tuple[str, Any]:
        import traceback

        from xlli_ray.engine.worker.tasks import make_task

        lock = self.__dict__.setdefault("_lock", threading.Lock())
        try:
            with lock:
                if task not in self._functions:
                    self._functions[task] = make_task(self._spec, task)
            return "ok", self._functions[task](job)
        except XlliError as error:
            return "error", error if _travels(error) else type(error)(str(error))
        except Exception as error:
            return "bug", f"{type(error).__name__}: {error}\n{traceback.format_exc()}"


def _travels(error: BaseException) -> bool:
    import pickle

    try:
        return str(pickle.loads(pickle.dumps(error))) == str(error)
    except Exception:
        return False
