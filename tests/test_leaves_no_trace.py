"""What a notebook owns stays as it is: its network, torch's settings, random states, environment, import path, signals, logging."""

from __future__ import annotations

import copy
import hashlib
import logging
import os
import pickle
import random
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

import xlli_ray

HERE = Path(__file__).parent / "engine"
PIXELS = np.random.default_rng(2).integers(0, 255, (20, 26, 3), dtype=np.uint8)


class Generator(nn.Module):
    """In training: some parts trained, some frozen, one in evaluation; statistics of batches, gradients and a hook of its owner's."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.tail = nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 12, 3, padding=1))
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shuffle(self.tail(self.drop(torch.relu(self.norm(self.head(x))))))


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(3)
    network = Generator().train()
    network.norm.eval()
    network.head.bias.requires_grad_(False)
    network(torch.rand(2, 3, 12, 12)).mean().backward()
    network.drop.register_forward_hook(lambda *_: None)
    return network


def of_network(network: nn.Module) -> dict[str, Any]:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")
    return {
        "training": {name: module.training for name, module in network.named_modules()},
        "grad": {name: (p.requires_grad, None if p.grad is None else p.grad.clone(), p.grad_fn)
                 for name, p in network.named_parameters()},
        "tensors": {name: (tensor.clone(), tensor.dtype, tensor.device, tensor.data_ptr())
                    for name, tensor in network.state_dict().items()},
        "hooks": {name: [len(getattr(module, hook)) for hook in hooks] for name, module in network.named_modules()},
        "fields": {name: sorted(vars(module)) for name, module in network.named_modules()},
    }


def of_process() -> dict[str, Any]:
    root = logging.getLogger()
    return {
        "deterministic": torch.are_deterministic_algorithms_enabled(), "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(), "grad": torch.is_grad_enabled(), "inference": torch.is_inference_mode_enabled(),
        "anomaly": torch.is_anomaly_enabled(), "precision": torch.get_float32_matmul_precision(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32),
        "tf32": torch.backends.cuda.matmul.allow_tf32, "torch random": torch.get_rng_state(), "print": str(torch.rand(0)),
        "random": random.getstate(), "numpy random": pickle.dumps(np.random.get_state()), "numpy errors": np.geterr(),
        "environment": dict(os.environ), "path": list(sys.path), "folder": os.getcwd(), "umask": _umask(),
        "signals": {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)},
        "hooks": (sys.excepthook, sys.displayhook, sys.stdout, sys.stderr),
        "logging": (root.level, list(root.handlers), logging.root.manager.disable), "warnings": list(warnings.filters),
        "matplotlib": (dict(matplotlib.rcParams), matplotlib.get_backend(auto_select=False)),
    }  # fmt: skip


def _umask() -> int:
    mask = os.umask(0o77)
    os.umask(mask)
    return mask


def same(before: Any, after: Any, where: str = "") -> None:
    if isinstance(before, dict):
        assert before.keys() == after.keys(), where
        for key in before:
            same(before[key], after[key], f"{where}/{key}")
    elif isinstance(before, tuple | list):
        assert len(before) == len(after), where
        for i, (one, other) in enumerate(zip(before, after)):
            same(one, other, f"{where}/{i}")
    elif isinstance(before, torch.Tensor):
        assert torch.equal(before, after), where
    else:
        assert before == after, where


@pytest.fixture
def odd_settings() -> Any:
    """Settings that nobody here would choose."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.backends.cudnn.benchmark = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.set_num_threads(before)
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(False)


def unchanged(work: Callable[[], Any], network: nn.Module | None = None) -> Any:
    work()  # what the first call imports is no change of the second's
    own, process = None if network is None else of_network(network), of_process()
    result = work()
    same(process, of_process(), "process")
    if network is not None:
        same(own, of_network(network), "network")
    return result


@pytest.mark.parametrize("fields", [{}, {"mode": "paper", "nodes": 2}, {"gates": "averaged"}], ids=str)
def test_lam_leaves_a_network_in_training_as_it_is(
    generator: Generator, odd_settings: None, tmp_path: Path, fields: dict[str, Any]
) -> None:
    def work() -> Any:
        found = xlli_ray.lam(generator, PIXELS, (10, 12, 8), scale=2, **{"nodes": 3, **fields})  # type: ignore[arg-type]
        found.figure(tmp_path / "a.png")
        return found

    found = unchanged(work, generator)
    still = copy.deepcopy(generator).eval()
    with torch.no_grad():
        wanted = still(torch.from_numpy(np.moveaxis(PIXELS, 2, 0)[None].astype(np.float32) / 255))[0]
    np.testing.assert_allclose(found.output, wanted.numpy(), atol=1e-5)
    generator(torch.rand(1, 3, 12, 12)).mean().backward()


def test_lam_that_fails_leaves_no_trace_either(generator: Generator) -> None:
    def work() -> None:
        with pytest.raises(xlli_ray.XlliError):
            xlli_ray.lam(generator, PIXELS, (10, 12, 800), scale=2, nodes=2)
        with pytest.raises(xlli_ray.XlliError):
            xlli_ray.lam(generator, PIXELS, (8, 8, 8), scale=3, nodes=2)

    unchanged(work, generator)


def test_a_run_in_this_process_and_reading_its_study_leave_no_trace(
    tmp_path: Path, odd_settings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xlli_ray.report.page import write_report

    monkeypatch.syspath_prepend(str(HERE))
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    recipe = tmp_path / "recipe.yaml"
    stages = [{"restore": {}}, {"features": {"layers": ["head"]}}, {"lam": {"nodes": 2, "windows": {"size": 8, "per_sample": 1}}}]
    recipe.write_text(yaml.safe_dump({"name": "x", "corpus": {"images": ["a.png"], "scale": 2}, "stages": stages,
                                      "models": [{"id": "a", "network": "toy:small"}]}))  # fmt: skip
    number = iter(range(9))

    def work() -> str:
        place = tmp_path / f"study{next(number)}"
        study = xlli_ray.run(str(recipe), str(place))
        array = study.array("features/a/head.out")
        array.xarray().values.sum()
        study.sql("from restore")
        write_report(str(place))
        return hashlib.sha256(array.rows(array.samples()["sample_id"].to_pylist()).tobytes()).hexdigest()  # type: ignore[union-attr]

    assert len(unchanged(work)) == 64
