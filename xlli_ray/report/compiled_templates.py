"""Templates compiled once per process: every page has an environment of its own, with filters that count."""

from __future__ import annotations

from jinja2 import BytecodeCache
from jinja2.bccache import Bucket


class CompiledTemplates(BytecodeCache):
    """Code of templates in memory, by name and source."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if (code := self._code.get(f"{bucket.key}-{bucket.checksum}")) is not None:
            bucket.bytecode_from_string(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._code[f"{bucket.key}-{bucket.checksum}"] = bucket.bytecode_to_string()


COMPILED = CompiledTemplates()
