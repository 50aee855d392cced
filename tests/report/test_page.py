from __future__ import annotations

import html.parser
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Recipe, Stage

from xlli_ray.errors import StudyError
from xlli_ray.report.page import write_report
