from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from toy_studies import Recipe, Stage

from xlli_ray.report import doctor
from xlli_ray.report.doctor import examine

Make = Callable[[Recipe], str]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks that import torch, Ray and spandrel or load weights cost seconds: once for all tests is enough."""
    names = ("_torch", "_spandrel", "_ray", "_weights", "_photographs")
    for name in names:
        monkeypatch.setattr(doctor, name, lambda: iter(()))


def text_of(study: str | None = None) -> tuple[str, bool]:
    lines, ill = examine(study)
    return "\n".join(lines), ill


def test_a_good_environment_is_not_ill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    text, ill = text_of()
    assert not ill, text
    for words in ("python 3.", "zarr ", "numcodecs ", "torch rounds as", "gpu:", "ray imports", "spandrel imports", "built-in weights load",
                  "astronaut", "disk here:", "ulimit -n"):  # fmt: skip
        assert words in text


def test_an_address_in_the_environment_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("RAY_ADDRESS", "ray://user:secret@head:10001")
    (line,) = [finding.text for finding in doctor._ray() if finding.state == "note"]
    assert "--address auto" in line
    assert "secret" not in line


def test_zfpy_that_breaks_zarr_is_named_with_the_command_that_removes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.version
    monkeypatch.setattr(doctor, "version", lambda name: "1.0.1.post0" if name == "zfpy" else real(name))
    text, ill = text_of()
    assert ill
    assert "pip uninstall zfpy" in text
    assert "'post0'" in text
    monkeypatch.setattr(doctor, "version", lambda name: "1.0.1" if name == "zfpy" else real(name))
    assert not text_of()[1]


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", ("numpy", "no-such-package"))
    text, ill = text_of()
    assert ill
    assert "not installed: no-such-package" in text


def test_a_check_that_falls_over_is_a_finding_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def _machine() -> None:
        raise OSError("no such limit")

    monkeypatch.setattr(doctor, "_machine", _machine)
    text, ill = text_of()
    assert ill
    assert "machine: OSError: no such limit" in text
    assert "zarr and numcodecs import" in text


def test_a_full_disk_is_ill_and_a_nearly_full_one_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "FULL_DISK", 10**18)
    assert text_of()[1]
    monkeypatch.setattr(doctor, "FULL_DISK", 0)
    monkeypatch.setattr(doctor, "LOW_DISK", 10**18)
    text, ill = text_of()
    assert "little" in text
    assert not ill


def test_a_study_is_opened_and_what_it_lacks_is_named(make_study: Make) -> None:
    text, ill = text_of(make_study(Recipe([Stage("restore")])))
    assert "study: toy, store format 2, 6 samples, 2 models" in text
    assert "an object cannot be created twice" in text
    assert ill  # a toy study keeps no weights
    assert "the weights of net0 are gone" in text


def test_looking_at_a_study_that_is_not_there_makes_no_folder(tmp_path: Path) -> None:
    text, ill = text_of(str(tmp_path / "a" / "b"))
    assert "does not exist" in text
    assert not ill
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_study_is_ill(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text("{")
    text, ill = text_of(str(tmp_path))
    assert ill
    assert "damaged" in text


def test_a_device_that_rounds_otherwise_is_said(make_study: Make) -> None:
    text, _ = text_of(make_study(Recipe([Stage("restore")])))
    assert "planned for cpu" in text
    assert "--any-device" in text
