"""Public deraining networks on six whole images of Rain100H and Rain100L, against the numbers measured with other code.

    python tests/benchmarks/derain_reference.py [--networks prenet,can_derain] [--images 001,002]

The references are those of the fixtures' `networks.md`, section 8: PSNR-Y of the 8-bit output, truncated (*floor*, as the authors'
scripts do, and as the literature's tables are) for each image, floor and round for the means. `round` is what `restore` gives, and
`rounding: floor` the other. Ends with one JSON line; exit code 1 if a number is more than 0.02 dB away.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import common  # noqa: F401  (one thread)
import numpy as np
import torch

from xlli_ray.corpus.decode import decode
from xlli_ray.models import Model, ModelSpec, load_model, read_state_dict
from xlli_ray.stats.fidelity import luma_studio, psnr

FIXTURES = Path(__file__).resolve().parents[3] / "shared/fixtures"
BAR = 0.02
IMAGES = ("001", "002", "003", "005", "006", "008")
REFERENCE: dict[tuple[str, str], tuple[tuple[float, ...], float, float]] = {
    # (weights, rain) → floor of each image, mean floor, mean round
    ("input", "H"): ((16.623, 14.873, 10.753, 12.220, 15.814, 11.660), 13.657, 13.657),
    ("input", "L"): ((27.294, 29.009, 33.832, 21.523, 27.173, 21.685), 26.753, 26.753),
    ("prenet/prenet_rain100h.pth", "H"): ((33.232, 31.862, 26.326, 30.131, 28.947, 31.335), 30.306, 30.374),
    ("prenet/prenet_rain100l.pth", "L"): ((37.874, 37.858, 40.004, 37.922, 35.364, 37.232), 37.709, 37.777),
    ("prenet/prenet_rain100h.pth", "L"): ((36.331, 35.882, 36.423, 35.945, 32.645, 35.224), 35.408, 35.751),
    ("prenet/prenet_rain100l.pth", "H"): ((21.996, 18.890, 13.302, 14.421, 22.638, 14.473), 17.620, 17.549),
    ("can_derain/can_derain_rain100h.safetensors", "H"): ((21.926, 24.773, 19.692, 23.714, 22.140, 23.392), 22.606, 22.649),
    ("can_derain/can_derain_rain100h.safetensors", "L"): ((21.744, 21.143, 18.748, 20.517, 19.427, 22.211), 20.632, 20.773),
}
CROP: dict[str, dict[str, tuple[float, float]]] = {
    # rows 96:224, columns 160:288 of image 001; weights → rain → floor, round
    "drn/drn_rain100h.pth": {"H": (28.140, 28.365), "L": (32.037, 32.370)},
    "drn/drn_rain100l.pth": {"H": (20.233, 20.179), "L": (34.770, 34.797)},
    "prenet/prn_r_rain100h.pth": {"H": (28.361, 28.590), "L": (32.168, 32.455)},
    "prenet/prn_r_rain100l.pth": {"H": (17.870, 17.815), "L": (35.110, 35.014)},
    "prenet/prn_rain100h.pth": {"H": (28.859, 29.097), "L": (32.683, 32.999)},
    "prenet/prn_rain100l.pth": {"H": (18.533, 18.479), "L": (34.830, 34.816)},
    "prenet/prenet_r_rain100h.pth": {"H": (29.679, 29.913), "L": (33.454, 33.715)},
    "prenet/prenet_r_rain100l.pth": {"H": (20.660, 20.613), "L": (35.525, 35.506)},
    "brn/brn_rain100h.pth": {"H": (31.989, 32.299), "L": (33.571, 33.889)},
    "brn/brn_rain100l.pth": {"H": (21.576, 21.535), "L": (35.222, 35.244)},
}


def pixels(rain: str, kind: str, image: str) -> np.ndarray:
    """float32 (H, W, 3) in 0..1."""
    return decode((FIXTURES / f"rain/R100{rain}/{kind}/{image}.png").read_bytes()).pixels


def scores(model: Model | None, rainy: np.ndarray, clean: np.ndarray) -> tuple[float, float]:
    """PSNR-Y of the truncated and of the rounded output; of the rainy image itself without a model."""
    output = rainy
    if model is not None:
        with torch.no_grad():
            output = model.forward(torch.from_numpy(np.ascontiguousarray(rainy.transpose(2, 0, 1)))[None])[0].numpy().transpose(1, 2, 0)
    scaled = output.clip(0, 1) * np.float32(255)
    target = luma_studio(np.floor(clean * np.float32(255) + np.float32(0.5)).astype(np.uint8))
    floor, nearest = (psnr(luma_studio(np.floor(scaled + np.float32(half)).astype(np.uint8)), target) for half in (0.0, 0.5))
    return floor, nearest


def loaded(weights: str) -> Model:
    """Recognised from its keys."""
    return load_model(ModelSpec(Path(weights).stem, weights=weights), read_state_dict(FIXTURES / "models" / weights).tensors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="", help="words, one of which the file's name holds; default all")
    parser.add_argument("--images", default=",".join(IMAGES))
    asked = parser.parse_args()
    words, images = asked.networks.split(","), asked.images.split(",")
    worst, began = 0.0, time.perf_counter()
    models: dict[str, Model] = {}
    for (weights, rain), (each, mean_floor, mean_round) in REFERENCE.items():
        if not any(word in weights for word in words):
            continue
        model = None if weights == "input" else models.setdefault(weights, loaded(weights))
        got = [scores(model, pixels(rain, "rainy", image), pixels(rain, "clean", image)) for image in images]
        wanted = [each[IMAGES.index(image)] for image in images]
        apart = [abs(floor - value) for (floor, _), value in zip(got, wanted, strict=True)]
        means = np.mean(got, axis=0)
        if len(images) == len(IMAGES):
            apart += [abs(means[0] - mean_floor), abs(means[1] - mean_round)]
        worst = max(worst, *apart)
        print(f"{weights:46} on {rain}  floor {' '.join(f'{floor:.3f}' for floor, _ in got)}  "
              f"mean {means[0]:.3f}  round {means[1]:.3f}  largest difference {max(apart):.4f} dB", flush=True)  # fmt: skip
    for weights, rains in CROP.items():
        if not any(word in weights for word in words):
            continue
        for rain, numbers in rains.items():
            rainy, clean = (pixels(rain, kind, "001")[96:224, 160:288] for kind in ("rainy", "clean"))
            found = scores(models.setdefault(weights, loaded(weights)), rainy, clean)
            apart = [abs(a - b) for a, b in zip(found, numbers, strict=True)]
            worst = max(worst, *apart)
            numbers_found = f"floor {found[0]:.3f}  round {found[1]:.3f}"
            print(f"{weights:46} on {rain}  crop: {numbers_found}  largest difference {max(apart):.4f} dB", flush=True)
    print(json.dumps({"largest difference, dB": round(worst, 4), "bar": BAR, "seconds": round(time.perf_counter() - began, 1)}))
    raise SystemExit(worst > BAR)


if __name__ == "__main__":
    main()
