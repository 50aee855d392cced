"""What `xlli status` is asked for, as options of the command line; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from xlli_ray.errors import StudyError


@dataclass(frozen=True)
class Asked:
    """Options of `xlli status`."""

    watch: Annotated[bool, Parameter(help="show the run that goes on there until it ends", negative=(), show_default=False)] = False
    every: Annotated[float, Parameter(help="with --watch: seconds between two looks", validator=Number(gte=0.5))] = 5.0
    prometheus: Annotated[bool, Parameter(help="the numbers of the last run as Prometheus text", negative=(), show_default=False)] = False
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False

    def check_job(self, job: str) -> None:
        """Raises StudyError for what only a study can be asked for."""
        if self != AS_IT_IS:
            what = "--watch" if self.watch else "--prometheus" if self.prometheus else "--json" if self.json else "--every"
            raise StudyError(f"{what} is for a study: give the folder or bucket that {job} writes to")


AS_IT_IS = Asked()
