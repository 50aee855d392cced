"""Fixtures of the engine's tests; the helpers beside them are importable by name."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # toy networks and helpers, here and (through the import path) in workers

from helpers import corpus, head, ray_session, recipe, run  # noqa: F401
from ray_head import jobs_head  # noqa: F401
