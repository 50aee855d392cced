"""What the server shows of a study: its page, made in memory, and the explorer's parts, each made when asked for. Nothing is written.

One snapshot of the study at a time, made when the page is asked for and the study is not as it was: the page of a running study can be
loaded again. A snapshot has one database connection and readers that are not for several threads: a lock serves one request at a time.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import Any

from xlli_ray.errors import StudyError, XlliError
from xlli_ray.report.explorer.encoding import failed_script, script
from xlli_ray.report.explorer.source import MissingPart, PartSource
from xlli_ray.report.page import render
from xlli_ray.report.snapshot import open_parts
from xlli_ray.report.training_page import training_page
from xlli_ray.store.objects.client import Objects, exists, open_objects
from xlli_ray.store.tables.results import read_results
from xlli_ray.store.tables.study_tables import fingerprint
from xlli_ray.store.tables.trainings import DOCUMENT
from xlli_ray.study import Study, open_study


class ShownStudy:
    """The study at `place`, a folder or URL. For several threads at once."""

    def __init__(self, place: str) -> None:
        """Raises StudyError if there is no study."""
        self.place = place
        self._lock = threading.Lock()
        self._open = ExitStack()
        self._page = b""
        self._parts: PartSource | None = None
        self._mark: Any = None
        self.objects: Objects = open_objects(place)
        self._training = exists(self.objects, DOCUMENT)
        if not self._training:
            open_study(place)

    def page(self) -> bytes:
        """The page as the study is now. Raises StudyError, EnvironmentFailure."""
        with self._lock:
            if self._training:  # its networks may still be training
                return training_page(self.objects)[1]
            self._renew()
            return self._page

    def part(self, name: str) -> bytes:
        """The script of one part of the explorer, `study` among them; of one that cannot be made, a script that says why.

        Raises MissingPart if there is none of this name; StudyError.
        """
        with self._lock:
            if self._parts is None and not self._training:
                self._renew()
            if self._parts is None:
                raise MissingPart(f"{self.place}: this study has no explorer")
            try:
                return script(name, {**self._parts.study([]), "served": True} if name == "study" else self._parts.part(name))
            except MissingPart:
                raise
            except (XlliError, OSError, MemoryError) as error:
                return failed_script(name, str(error) or type(error).__name__)

    def close(self) -> None:
        """Give up the snapshot; a later request makes a new one."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        self._open.close()
        self._parts, self._mark = None, None

    def _renew(self) -> None:
        study = open_study(self.place).as_it_is()
        mark = _mark(study)
        if self._mark == mark:
            return
        self._close()
        page, self._parts = self._open.enter_context(open_parts(study, self.place))
        self._page = render(page).encode()
        self._mark = mark


def _mark(study: Study) -> tuple[Any, ...]:
    """Equal for two snapshots of the same content."""
    try:
        results: Any = read_results(study.objects)
    except StudyError as error:
        results = str(error)
    return study.manifest, fingerprint(study.archive), results, study.analyses
