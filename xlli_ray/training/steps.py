"""Start and size of training steps: initial weights, Adam's constants, the learning rate."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import nn

from xlli_ray.errors import NetworkError
from xlli_ray.models.factory import find_factory, make
from xlli_ray.models.networks import network_file
from xlli_ray.registry import NETWORKS
from xlli_ray.training.recipe import Train

VERSION = 1
"""Raised when the same recipe and crops would end with different weights, because of this file or of the steps of `loop.Trainer`."""
BETAS = (0.9, 0.99)


def build_network(train: Train, seed: int) -> nn.Module:
    """The network of a recipe with its initial weights, drawn from `seed`. Input and output in 0..1."""
    with torch.random.fork_rng(devices=[]):  # torch's layers draw their initial weights from the global state
        torch.manual_seed(seed_of(seed, "init"))
        if ":" in train.network:
            return make(find_factory(train.network, train.folder), train.args).module
        file = network_file(train.network)
        if not hasattr(file, "create"):
            raise NetworkError(
                f"network {train.network!r} can only be read from checkpoints; its file has no `create`. Trainable are"
                f" {', '.join(_trainable())}, and any network of your own as 'package.module:factory'."
            )
        network: nn.Module = file.create(train.args, generator=torch.Generator().manual_seed(seed_of(seed, "init")))
        return network


def _trainable() -> list[str]:
    """The built-in networks that can be trained."""
    names = []
    for name in NETWORKS:
        try:
            names += [name] if hasattr(network_file(name), "create") else []
        except NetworkError:  # of an installed package that cannot be imported
            continue
    return names


def seed_of(seed: int, purpose: str) -> int:
    """63 bits from (seed, purpose): a separate stream for each use."""
    return int.from_bytes(hashlib.sha256(f"{seed}|{purpose}".encode()).digest()[:8], "big") >> 1


def learning_rate(train: Train, iteration: int) -> float:
    """Learning rate of the step after `iteration` finished ones: linear warm-up times a cosine from 1 to `final_lr`."""
    warm = min(1.0, (iteration + 1) / train.warmup) if train.warmup else 1.0
    cosine = 0.5 * (1.0 + math.cos(math.pi * iteration / train.iterations))
    return train.lr * warm * (train.final_lr + (1.0 - train.final_lr) * cosine)
