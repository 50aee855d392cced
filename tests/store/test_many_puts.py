"""Objects that are put several at once are all there at the end, or an error says why not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xlli_ray.errors import EnvironmentFailure
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.objects.many_puts import AT_ONCE, WAITING, ManyPuts


def test_all_of_them_are_there_at_the_end(tmp_path: Path) -> None:
    objects = open_objects(str(tmp_path))
    with ManyPuts(objects) as puts:
        for i in range(100):
            puts.put(f"data/{i}.js", str(i).encode() * i)
    assert {key: objects.get(key) for key in objects.list("data")} == {f"data/{i}.js": str(i).encode() * i for i in range(100)}


class Gate:
    """Objects whose puts begin, and end when they are told to."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.begun: list[str] = []
        self.most = self._now = 0
        self.open, self._lock = threading.Event(), threading.Lock()
        self.full = threading.Event()

    def put(self, key: str, data: Any) -> None:
        with self._lock:
            self.begun.append(key)
            self._now += 1
            self.most = max(self.most, self._now)
            if self._now == AT_ONCE:
                self.full.set()
        if not self.open.wait(30):
            raise TimeoutError("the gate was never opened")
        with self._lock:
            self._now -= 1
        if key == self.fails:
            raise EnvironmentFailure(28, f"{key}: no space left")


def test_a_bucket_that_answers_slowly_has_several_at_once_and_memory_few() -> None:
    gate, given = Gate(), list[int]()

    def give() -> None:
        with ManyPuts(gate) as puts:  # type: ignore[arg-type]
            for i in range(WAITING + 20):
                puts.put(str(i), b"")
                given.append(i)

    thread = threading.Thread(target=give)
    thread.start()
    assert gate.full.wait(30), "they do not wait for each other"
    thread.join(0.3)
    assert len(given) <= WAITING, "more are held than were promised"
    gate.open.set()
    thread.join(30)
    assert gate.most == AT_ONCE
    assert sorted(map(int, gate.begun)) == list(range(WAITING + 20))


def given_to(gate: Gate, count: int, then: Callable[[], None] = lambda: None) -> None:
    with ManyPuts(gate) as puts:  # type: ignore[arg-type]
        for i in range(count):
            puts.put(str(i), b"")
        then()


@pytest.mark.parametrize(("fails", "count"), [(0, 10_000), (3, 4)], ids=["the first of many", "the last"])
def test_an_error_of_one_is_raised_and_those_that_have_not_begun_are_not_written(fails: int, count: int) -> None:
    gate = Gate(fails=str(fails))
    gate.open.set()
    with pytest.raises(EnvironmentFailure, match=f"{fails}: no space left"):
        given_to(gate, count)
    assert len(gate.begun) <= 2 * WAITING


def test_an_error_is_raised_by_the_next_call_whichever_was_given_first() -> None:
    gate = Gate(fails="3")

    def more() -> None:
        with ManyPuts(gate) as puts:  # type: ignore[arg-type]
            for i in range(4):
                puts.put(str(i), b"")
            gate.open.set()
            with pytest.raises(EnvironmentFailure, match="3: no space left"):
                puts.wait()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        more()
    assert sorted(gate.begun) == ["0", "1", "2", "3"]


def test_what_is_stopped_writes_no_more_than_is_on_its_way() -> None:
    gate = Gate()

    def stopped() -> None:
        assert gate.full.wait(30)
        threading.Timer(0.5, gate.open.set).start()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        given_to(gate, WAITING, stopped)
    assert len(gate.begun) == AT_ONCE
