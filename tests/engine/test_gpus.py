"""Which GPUs a process may use: what the driver's library says, and CUDA_VISIBLE_DEVICES as CUDA reads it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from xlli_ray.engine.pools import gpus
from xlli_ray.engine.pools.gpus import Gpus, gpus_here, torch_computes_on_gpus, visible

TWO = ("NVIDIA H100", "NVIDIA H200")
UUID = "GPU-8f6d4a2c-0000-1111-2222-333344445555"


@pytest.mark.parametrize(
    ("setting", "names", "ids"),
    [
        (None, TWO, ("0", "1")),
        ("", (), ()),
        ("NoDevFiles", (), ()),
        ("-1", (), ()),
        ("1", TWO[1:], ("1",)),
        ("1, 0", TWO[::-1], ("1", "0")),
        ("0,7,1", TWO[:1], ("0",)),  # CUDA hides what follows an entry that names nothing
        ("7,0", (), ()),
        (UUID, (UUID[:12],), (UUID,)),
    ],
)
def test_hidden_gpus_do_not_count_and_the_others_keep_their_order(
    setting: str | None, names: tuple[str, ...], ids: tuple[str, ...]
) -> None:
    assert visible(TWO, setting) == Gpus(names, ids)


def test_a_gpu_named_by_its_id_has_the_model_that_all_have() -> None:
    assert visible(("NVIDIA H200",) * 2, UUID) == Gpus(("NVIDIA H200",), (UUID,))


def test_gpus_are_told_with_their_models() -> None:
    assert [str(Gpus()), str(Gpus(TWO[:1])), str(Gpus(TWO)), str(Gpus(TWO[:1] * 4))] == [
        "no GPU", "1 GPU (NVIDIA H100)", "2 GPUs (NVIDIA H100, NVIDIA H200)", "4 GPUs (NVIDIA H100)",
    ]  # fmt: skip


def test_without_the_management_library_the_device_files_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.setattr(gpus, "DEVICES", tmp_path)
    monkeypatch.setattr(gpus, "_nvidia", tuple)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setattr(gpus.ctypes, "CDLL", lambda _name: None)
    assert gpus_here() == Gpus(("NVIDIA",), ("1",))

    def missing(_name: str) -> None:
        raise OSError

    monkeypatch.setattr(gpus.ctypes, "CDLL", missing)
    assert gpus_here() == Gpus()  # files of a driver that this container cannot load


def test_the_build_of_torch_is_known_without_importing_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    assert torch_computes_on_gpus() == (torch.version.cuda is not None or torch.version.hip is not None)
    for text, answer in (("cuda: Optional[str] = '13.0'", True), ("cuda: Optional[str] = None\nhip: Optional[str] = '7.0'", True),
                         ("cuda: Optional[str] = None\nhip: Optional[str] = None\nrocm = None", False)):  # fmt: skip
        (tmp_path / "version.py").write_text(text)
        spec = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
        monkeypatch.setattr(gpus.importlib.util, "find_spec", lambda _name, spec=spec: spec)
        assert torch_computes_on_gpus() == answer


def test_looking_for_gpus_imports_neither_torch_nor_ray() -> None:
    code = (
        "import sys; from xlli_ray.engine.options import Options; from xlli_ray.engine.pools.placement import place;"
        "place(Options()); print([name for name in ('torch', 'ray') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
