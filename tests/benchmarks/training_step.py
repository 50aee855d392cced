"""Time of a training iteration at scale 1, for each network that can be trained there; without the drawing of crops.

    python tests/benchmarks/training_step.py [--networks resnet,unet] [--batch 16] [--crops 48,64] [--iterations 40]

Networks of about 50,000 parameters (their defaults), random inputs, float32, one thread. Each line is the median of the iterations'
CPU times (on a machine that is shared, wall time says little) after five that are not counted. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import common  # noqa: F401  (one thread)
import numpy as np
import torch

from xlli_ray.training.data import Batch
from xlli_ray.training.loop import Trainer
from xlli_ray.training.recipe import Job, Train, TrainCorpus

UNCOUNTED = 5


class Same:
    """The same batch each time, in place of `Crops`."""

    images = ()

    def __init__(self, batch: int, crop: int) -> None:
        planes = np.random.default_rng(0).random((batch, 3, crop, crop), np.float32)
        self.made = Batch(planes, 1 - planes, np.zeros(batch, np.int64))

    def batch(self, iteration: int) -> Batch:
        return self.made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="resnet,unet,swinir_small")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--crops", default="48,64")
    parser.add_argument("--iterations", type=int, default=40)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, float] = {}
    for network in asked.networks.split(","):
        for crop in map(int, asked.crops.split(",")):
            train = Train(network=network, iterations=10_000, batch=asked.batch, crop=crop, device="cpu", checkpoint_every=10_000)
            job = Job(id=network, seed=0, corpus=TrainCorpus(images=["*.png"], scale=1), train=train)
            with tempfile.TemporaryDirectory() as folder:
                trainer, times = Trainer(job, Same(asked.batch, crop), Path(folder)), []  # type: ignore[arg-type]
                for _ in range(UNCOUNTED + asked.iterations):
                    began = time.process_time()
                    trainer._step()
                    times.append(time.process_time() - began)
            parameters = sum(p.numel() for p in trainer.network.parameters())
            took = result[f"{network} {crop}"] = round(1000 * statistics.median(times[UNCOUNTED:]), 1)
            print(f"{network:14} {parameters:7,} parameters  batch {asked.batch} of {crop}²  {took:.1f} ms", flush=True)
    print(json.dumps({"ms per iteration": result}))


if __name__ == "__main__":
    main()
