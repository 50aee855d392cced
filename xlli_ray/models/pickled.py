"""PyTorch pickles, read as data: the program in a pickle is interpreted, and nothing that it names is ever imported or called.

A pickle is a program for a small stack machine. This one implements the operations that build lists, mappings and tuples; where the
program calls something, a few names are known here (a tensor over a storage, a parameter, an ordered mapping), and every other call
returns a `Foreign` that only records its name. So a checkpoint may hold a namespace with its options next to its weights, the weights can
be read, and no class needs to exist, let alone run.

Numbers are not read: a tensor is a `Stored`, a description of a view of a storage, and storages are only named. Each operation is at least
one byte of the file, none multiplies memory, and no container is hashed as a key: the work is linear in the size of the file.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

import torch

MOST_OPERATIONS = 4_000_000
"""A checkpoint of 10,000 tensors takes about 300,000."""
DIMENSIONS = 16

_KINDS = {
    "Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16, "Long": torch.int64,
    "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8, "Bool": torch.bool,
    "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128, "Untyped": torch.uint8,
}  # fmt: skip

# Modules whose functions run commands, open files or fetch more code: their presence in a checkpoint is malicious.
_HARMFUL = {
    "os", "posix", "nt", "subprocess", "sys", "runpy", "code", "codeop", "importlib", "pkgutil", "imp", "ctypes", "_ctypes", "cffi",
    "socket", "_socket", "ssl", "asyncio", "multiprocessing", "threading", "_thread", "signal", "shutil", "io", "_io", "pickle", "_pickle",
    "dill", "cloudpickle", "joblib", "marshal", "shelve", "tempfile", "webbrowser", "urllib", "http", "ftplib", "smtplib", "requests",
    "httpx", "pip", "ensurepip", "venv", "pty", "commands", "timeit", "pdb", "bdb", "cProfile", "profile", "operator", "_operator", "types",
    "zipimport", "site", "sqlite3",
}  # fmt: skip
_PLAIN = {"types.SimpleNamespace", "types.NoneType", "io.BytesIO", "_io.BytesIO"}
_PLAIN_BUILTINS = {
    "set", "frozenset", "list", "dict", "tuple", "int", "float", "str", "bytes", "bool", "complex", "slice", "range", "bytearray", "object",
    "long", "unicode", "NoneType",
}  # fmt: skip
_MAPPINGS = {"collections.OrderedDict", "collections.defaultdict", "collections.Counter", "builtins.dict"}
_BROKEN = "the pickle is damaged"


class Damaged(ValueError):
    """The bytes are not a pickle, or an inconsistent one; `str` says why."""


@dataclass(frozen=True, eq=False)
class Global:
    """A name that the pickle mentions: never imported."""

    name: str


@dataclass(frozen=True, eq=False)
class Foreign:
    """An object of a class, or the result of a function, unknown here. It was not created."""

    name: str


@dataclass(frozen=True, eq=False)
class Storage:
    """A flat array stored elsewhere in the file under `key`: `numel` elements of `dtype`, from element `start`. `dtype` None: unknown."""

    key: str
    dtype: torch.dtype | None
    numel: int
    start: int = 0


@dataclass(frozen=True, eq=False)
class Stored:
    """A tensor: a view of a storage, sizes and strides in elements of `dtype`. Not yet checked against the file."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype | None


@dataclass(frozen=True, eq=False)
class Unusable:
    """A tensor of an unsupported kind: `why` as in "'x' is sparse"."""

    why: str


@dataclass
class Machine:
    """Interprets pickles; the keys of `foreign` and `harmful` are, in order, the names of objects that were not created."""

    foreign: dict[str, None] = field(default_factory=dict)
    harmful: dict[str, None] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)
    _stack: list[Any] = field(default_factory=list)
    _marks: list[int] = field(default_factory=list)
    _memo: dict[int, Any] = field(default_factory=dict)

    def load(self, stream: BinaryIO) -> Any:
        """The value of the pickle at the stream's position, which is left after its end. Raises Damaged."""
        self._stack, self._marks, self._memo = [], [], {}
        count = 0
        try:
            for operation, argument, _ in pickletools.genops(stream):
                count += 1
                if count > MOST_OPERATIONS:
                    raise Damaged(f"the pickle takes more than {MOST_OPERATIONS:,} operations to describe its content")
                if operation.name == "STOP":
                    return self._stack.pop()
                step = _STEPS.get(operation.name)
                if step is None:
                    raise Damaged(f"the pickle uses the operation {operation.name}, which no checkpoint needs")
                step(self, argument)
        except Damaged:
            raise
        except Exception as error:  # pickletools raises ValueError and others depending on the bytes; an empty stack, IndexError
            raise Damaged(f"{_BROKEN} ({type(error).__name__} at operation {count})") from None
        raise Damaged(f"{_BROKEN}: it has no end")

    # -- the stack ----------------------------------------------------------------------------------------------

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop(self) -> Any:
        if self._marks and len(self._stack) <= self._marks[-1]:
            raise Damaged(f"{_BROKEN}: the stack is empty")
        return self._stack.pop()

    def to_mark(self) -> list[Any]:
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def keep(self, index: Any) -> None:
        self._memo[len(self._memo) if index is None else int(index)] = self._stack[-1]

    def recall(self, index: Any) -> None:
        self._stack.append(self._memo[int(index)])

    def gather(self, count: int) -> None:
        values = tuple(self.pop() for _ in range(count))
        self.push(values[::-1])

    # -- lists and mappings -------------------------------------------------------------------------------------

    def extend(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Foreign):
            raise Damaged(f"{_BROKEN}: it appends to something that is not a list")

    def update(self, flat: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, dict):
            if len(flat) % 2:
                raise Damaged(f"{_BROKEN}: a key without a value")
            target.update(_pairs(zip(flat[::2], flat[1::2])))
        elif not isinstance(target, Foreign):
            raise Damaged(f"{_BROKEN}: it sets items of something that is not a mapping")

    # -- what has a meaning -------------------------------------------------------------------------------------

    def named(self, text: str) -> None:
        """A global, as "module name"."""
        module, _, name = text.partition(" ")
        module = "builtins" if module == "__builtin__" else module  # as Python 2 called it
        full = f"{module}.{name}"
        top = module.partition(".")[0]
        plain = full in _PLAIN or (top == "builtins" and name in _PLAIN_BUILTINS)
        if (top in _HARMFUL or top == "builtins") and not plain:
            self.harmful[full] = None
        self.push(Global(full))

    def storage(self) -> None:
        """The storage that a persistent id names: ("storage", type, key, place, numbers[, part])."""
        pid = self.pop()
        if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module" and isinstance(pid[1], Global):
            self.push(pid[1])  # a class with its source text, in files of whole networks before 1.6
            return
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] not in ("storage", b"storage"):
            raise Damaged(f"{_BROKEN}: it refers to something that is not a storage")
        kind, key, numel = pid[1], pid[2], _whole(pid[4])
        name = kind.name if isinstance(kind, Global) else ""
        dtype = _KINDS.get(name.rpartition(".")[2].removesuffix("Storage")) if name.startswith("torch.") else None
        storage = Storage(str(key) if isinstance(key, str | int) else "", dtype, numel)
        known = self.storages.setdefault(storage.key, storage)
        if (known.dtype, known.numel) != (storage.dtype, storage.numel):
            raise Damaged(f"{_BROKEN}: it describes storage {storage.key!r} in two ways")
        if len(pid) == 6 and pid[5] is not None:  # a storage that is part of another, in files before 2018
            _, start, length = pid[5]
            if _whole(start) + _whole(length) > numel:
                raise Damaged(f"{_BROKEN}: a part of storage {storage.key!r} is outside of it")
            storage = Storage(storage.key, dtype, length, start)
        self.push(storage)

    def call(self, function: Any, args: Any) -> None:
        """The result of calling `function` if it is known; else a Foreign."""
        name = function.name if isinstance(function, Global) else "an object"
        if not isinstance(args, tuple):
            args = ()
        if name in _MAPPINGS:
            first = args[0] if args and isinstance(args[0], list | dict) else []
            given = list(first.items()) if isinstance(first, dict) else first
            self.push(dict(_pairs((p[0], p[1]) for p in given if isinstance(p, list | tuple) and len(p) == 2)))
        elif name == "torch.Size" and args and isinstance(args[0], tuple | list):
            self.push(tuple(args[0]))
        elif (made := _tensor(name, args)) is not None:
            self.push(made)
        else:
            self.foreign[name] = None
            self.push(Foreign(name))


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 62:
        raise Damaged(f"{_BROKEN}: a size that is not an integer ≥ 0")
    return value


def _sizes(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple | list) or len(values) > DIMENSIONS:
        raise Damaged(f"{_BROKEN}: a shape that is not a list of sizes")
    return tuple(_whole(value) for value in values)


def _pairs(pairs: Iterable[tuple[Any, Any]]) -> Iterable[tuple[Any, Any]]:
    """Pairs with a plain key: a tuple can be made to take forever to hash, and large integers can all have the same hash."""
    return ((key, value) for key, value in pairs if key is None or isinstance(key, str | bytes | float) or _is_small(key))


def _is_small(key: Any) -> bool:
    """Whether a key is an integer of 64 bits; beyond them Python hashes modulo 2**61 - 1."""
    return isinstance(key, int) and -(1 << 63) <= key < 1 << 63


def _tensor(name: str, args: tuple[Any, ...]) -> Any:
    """The tensor that a call of PyTorch's own builders describes, None for any other call."""
    module, _, function = name.rpartition(".")
    if module == "torch._utils" and function in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
        return args[0] if isinstance(args[0], Stored | Unusable) else None
    if module == "torch._tensor" and function in ("_rebuild_from_type", "_rebuild_from_type_v2"):
        inner, given = args[0], args[2]
        return _tensor(inner.name, given) if isinstance(inner, Global) and isinstance(given, tuple) and inner.name != name else None
    if module != "torch._utils" or not function.startswith("_rebuild_"):
        return None
    if function in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"):
        storage = args[0]
        if not isinstance(storage, Storage):
            raise Damaged(f"{_BROKEN}: a tensor without a storage")
        dtype = storage.dtype
        bits = args[6] if function == "_rebuild_tensor_v2" and len(args) > 6 else None
        if function == "_rebuild_tensor_v3":
            kind = args[6]
            dtype = getattr(torch, kind.name.removeprefix("torch."), None) if isinstance(kind, Global) else None
            dtype, bits = dtype if isinstance(dtype, torch.dtype) else None, args[7] if len(args) > 7 else None
        size, stride = _sizes(args[2]), _sizes(args[3])
        if len(size) != len(stride):
            raise Damaged(f"{_BROKEN}: a shape and strides of different length")
        if isinstance(bits, dict) and any(bits.values()):
            return Unusable(f"a view that {' and '.join(sorted(map(str, bits)))}s its numbers")
        return Stored(storage, _whole(args[1]), size, stride, dtype)
    kinds = {"sparse": "sparse", "qtensor": "quantised", "meta": "without numbers (on the meta device)", "nested": "nested"}
    return Unusable(next((why for part, why in kinds.items() if part in function), "of an unsupported kind"))


def _step(action: Callable[[Machine], None]) -> Callable[[Machine, Any], None]:
    return lambda machine, _: action(machine)


def _value(machine: Machine, argument: Any) -> None:
    machine.push(argument)


def _join(machine: Machine, argument: Any) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise Damaged(f"{_BROKEN}: a name that is not a string")
    machine.named(f"{module} {name}")


def _reduce(machine: Machine) -> None:
    args, function = machine.pop(), machine.pop()
    machine.call(function, args)


def _build(machine: Machine) -> None:
    machine.pop()  # attributes of an object: of a mapping (`_metadata`) or of one that was not created


def _appended(machine: Machine) -> None:
    value = machine.pop()
    machine.extend([value])


def _set_item(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.update([key, value])


def _new_with_keywords(machine: Machine) -> None:
    machine.pop()
    _reduce(machine)


def _instance(machine: Machine, argument: Any) -> None:
    values = machine.to_mark()
    machine.named(cast(str, argument))
    machine.call(machine.pop(), tuple(values))


def _object(machine: Machine) -> None:
    function, *values = machine.to_mark()
    machine.call(function, tuple(values))


def _mapping(machine: Machine) -> None:
    values = machine.to_mark()
    machine.push({})
    machine.update(values)


def _again(machine: Machine) -> None:
    value = machine.pop()
    machine.push(value)
    machine.push(value)


def _forget(machine: Machine) -> None:
    if machine._marks and len(machine._stack) == machine._marks[-1]:
        machine._marks.pop()  # POP removes a mark like a value
    else:
        machine.pop()


def _nothing(_: Machine, __: Any) -> None:
    """A frame, or the number of the protocol."""


_STEPS: dict[str, Callable[[Machine, Any], object]] = {
    **dict.fromkeys(("PROTO", "FRAME"), _nothing),
    **dict.fromkeys(
        ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE",
         "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "FLOAT", "BINFLOAT"),
        _value,
    ),
    "NONE": _step(lambda m: m.push(None)), "NEWTRUE": _step(lambda m: m.push(True)), "NEWFALSE": _step(lambda m: m.push(False)),
    "EMPTY_LIST": _step(lambda m: m.push([])), "EMPTY_DICT": _step(lambda m: m.push({})), "EMPTY_TUPLE": _step(lambda m: m.push(())),
    "EMPTY_SET": _step(lambda m: m.push(Foreign("set"))), "FROZENSET": _step(lambda m: m.push(Foreign(f"set of {len(m.to_mark())}"))),
    "ADDITEMS": _step(lambda m: m.extend(m.to_mark())),
    "LIST": _step(lambda m: m.push(m.to_mark())), "TUPLE": _step(lambda m: m.push(tuple(m.to_mark()))), "DICT": _step(_mapping),
    "TUPLE1": _step(lambda m: m.gather(1)), "TUPLE2": _step(lambda m: m.gather(2)), "TUPLE3": _step(lambda m: m.gather(3)),
    "APPEND": _step(_appended), "APPENDS": _step(lambda m: m.extend(m.to_mark())),
    "SETITEM": _step(_set_item), "SETITEMS": _step(lambda m: m.update(m.to_mark())),
    "MARK": Machine.mark, "POP": _step(_forget), "POP_MARK": lambda m, _: m.to_mark() and None, "DUP": _step(_again),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), Machine.keep),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Machine.recall),
    "GLOBAL": lambda m, text: m.named(text), "STACK_GLOBAL": _join, "BINPERSID": _step(lambda m: m.storage()),
    "REDUCE": _step(_reduce), "NEWOBJ": _step(_reduce), "NEWOBJ_EX": _step(_new_with_keywords), "BUILD": _step(_build),
    "INST": _instance, "OBJ": _step(_object),
}  # fmt: skip
