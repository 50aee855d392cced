"""Time of a training iteration at scale 1, for each network that can be trained there: crops, forward, backward, Adam, averaging.

    python tests/benchmarks/training_step.py [--networks resnet,unet] [--batch 16] [--crops 48,64] [--iterations 40]

Networks of about 50,000 parameters (their defaults), clean images, float32, one thread. Each line is the median of the iterations'
times after five that are not counted. Ends with one JSON line.
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

from xlli_ray.models.value_range_check import picture
from xlli_ray.training.data import Crops, Picture
from xlli_ray.training.loop import Trainer
from xlli_ray.training.recipe import Job, Train, TrainCorpus

UNCOUNTED = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="resnet,unet,swinir_small")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--crops", default="48,64")
    parser.add_argument("--iterations", type=int, default=40)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    images = [(picture(160, seed) * 255).round().astype(np.uint8) for seed in range(4)]
    pictures = [Picture(str(seed), str(seed), image, image) for seed, image in enumerate(images)]
    result: dict[str, float] = {}
    for network in asked.networks.split(","):
        for crop in map(int, asked.crops.split(",")):
            train = Train(network=network, iterations=10_000, batch=asked.batch, crop=crop, device="cpu", checkpoint_every=10_000)
            job = Job(id=network, seed=0, corpus=TrainCorpus(images=["*.png"], scale=1), train=train)
            crops = Crops(pictures, 1, crop=crop, batch=asked.batch, degradations=["clean"], seed=0)
            with tempfile.TemporaryDirectory() as folder:
                trainer, times = Trainer(job, crops, Path(folder)), []
                for _ in range(UNCOUNTED + asked.iterations):
                    began = time.perf_counter()
                    trainer._step()
                    times.append(time.perf_counter() - began)
            parameters = sum(p.numel() for p in trainer.network.parameters())
            took = result[f"{network} {crop}"] = round(1000 * statistics.median(times[UNCOUNTED:]), 1)
            print(f"{network:14} {parameters:7,} parameters  batch {asked.batch} of {crop}²  {took:.1f} ms", flush=True)
    print(json.dumps({"ms per iteration": result}))


if __name__ == "__main__":
    main()
