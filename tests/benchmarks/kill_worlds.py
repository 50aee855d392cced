"""The studies that `kills.py` disturbs: small images, many small units, several kinds of probes and analyses; and whether one that was
disturbed is what an undisturbed run makes.

*images*: features of two layers, restore, lam, srga (with its gram) over patches under three degradations, two networks of the package.
*rain*: derain over given pairs with a label. *clips*: windows of frames, flow, maps of clips.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from xlli_ray.store.objects.client import Objects, open_objects
from xlli_ray.store.records import listing
from xlli_ray.store.verify.check_study import verify
from xlli_ray.study import open_study

ROOT = Path(__file__).resolve().parents[2]
POINTS = Path(__file__).parent / "kill_points"
PATHS = [POINTS, ROOT, ROOT / "tests" / "engine", ROOT / "tests" / "models"]
PARTS = ("arrays.zarr", "tables", "samples", "results", "weights")
PACK = 4
NAMES = ("images", "rain", "clips")


def picture(seed: int, height: int, width: int) -> np.ndarray:
    """uint8 (height, width, 3): smooth random colours."""
    coarse = np.random.default_rng(seed).normal(0.45, 0.15, (height // 4 + 1, width // 4 + 1, 3))
    return (np.kron(coarse, np.ones((4, 4, 1)))[:height, :width].clip(0, 1) * 255).astype(np.uint8)


def make_images(folder: Path) -> None:
    """What the recipes read: `images`, `clean` and `rainy`, `clip`; and a file that is none."""
    for name in ("images", "clean", "rainy", "clip"):
        (folder / name).mkdir(parents=True)
    for i in range(5):
        Image.fromarray(picture(i, 64, 64 if i % 2 else 80)).save(folder / "images" / f"{i}.png")
        clean = picture(20 + i, 32, 40)
        rain = (np.random.default_rng(i).random((32, 40, 1)) < 0.05) * 120
        Image.fromarray(clean).save(folder / "clean" / f"{i}.png")
        Image.fromarray((clean + rain).clip(0, 255).astype(np.uint8)).save(folder / "rainy" / f"{i}.png")
    (folder / "images" / "broken.png").write_bytes(b"no image")
    still = picture(40, 48, 64)
    for i in range(10):
        Image.fromarray(np.roll(still, i, axis=1)).save(folder / "clip" / f"f_{i:02d}.png")


def recipe(name: str, folder: str) -> dict[str, Any]:
    """`folder`: where the images are."""
    if name == "images":
        return {
            "name": name,
            "corpus": {"images": [f"{folder}/images/*.png"], "scale": 4, "patches": {"size": 48, "per_image": 2, "min_std": 0},
                       "degradations": ["clean", {"noise": 20}, {"blur": 1}]},
            "models": [{"id": "gr", "weights": "builtin:srresnet-gr-clean"}, {"id": "nogr", "weights": "builtin:srresnet-nogr-clean"}],
            "stages": [{"features": {"layers": ["trunk.0", "*:last_conv_input"]}}, {"restore": {"save": True}},
                       {"lam": {"nodes": 2, "windows": {"size": 12, "per_sample": 1}, "models": ["gr"], "max_rows": 6}},
                       {"lam_summary": {}}, {"srga": {"components": 3, "resamples": 3}}],
            "batch": {"features": 2, "restore": 2},
        }  # fmt: skip
    if name == "rain":
        return {
            "name": name,
            "corpus": {"pairs": {"input": f"{folder}/rainy/*.png", "target": f"{folder}/clean/*.png", "label": "rain"}},
            "models": [{"id": "mean", "network": "toy:denoiser", "tags": {"trained_on": "heavy"}}],
            "stages": [{"restore": {}}, {"derain": {"mask": {"threshold": 50}, "save": True}}, {"inputs": {}},
                       {"derain_summary": {"by": ["trained_on"]}}],
            "batch": {"restore": 1, "derain": 1},
        }  # fmt: skip
    return {
        "name": name,
        "corpus": {"clips": {"frames": f"{folder}/clip/*.png", "window": 4, "stride": 1}, "scale": 2},
        "models": [{"id": "clip", "network": "toy_clip_networks:both_ways"}, {"id": "image", "network": "toy:small", "frames": "each"}],
        "stages": [{"restore": {"save": True}}, {"features": {"layers": ["head"]}}, {"flow": {}},
                   {"lam": {"nodes": 2, "windows": {"size": 12, "per_sample": 1}, "models": ["clip"], "max_rows": 3}}],
        "batch": {"features": 1, "restore": 1},
    }  # fmt: skip


def command(path: Path, out: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "xlli_ray", "run", str(path), "--out", out, *options]


def environment(**more: str) -> dict[str, str]:
    paths = os.pathsep.join(map(str, PATHS))
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "XLLI_KILL_PACK": str(PACK), **more}


def digest(objects: Objects) -> dict[str, str]:
    """sha256 of every object that does not belong to a run; of records which units of which cells there are."""
    keys = [key for part in PARTS for key in objects.list(part) if not key.endswith("tables/index.json")]
    return {key: hashlib.sha256(objects.get(key)).hexdigest() for key in keys}


@dataclass(frozen=True)
class World:
    """A recipe, and what its undisturbed run into a local folder gives."""

    name: str
    path: Path
    wanted: dict[str, str]
    rows: dict[str, int]
    """Rows of each table."""
    rejected: int


def make_world(name: str, place: Path, images: str) -> World:
    """`images`: folder or bucket of `make_images`. Raises RuntimeError when the undisturbed run fails."""
    listing.PACK = PACK
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe(name, images)))
    out = place / f"{name}-undisturbed"
    if not (out / "report" / "index.html").exists():
        _undisturbed(name, command(path, str(out), "--workers", "0", "--quiet"))
    study = open_study(str(out))
    found = findings_in(str(out))
    if found or study.failures.filter(study.failures.column("stage").to_numpy(zero_copy_only=False) != "scan").num_rows:
        raise RuntimeError(f"{name}: the undisturbed run is not clean: {found} {study.failures.to_pylist()}")
    return World(name, path, digest(study.objects), rows_of(str(out)), study.failures.num_rows)


def _undisturbed(name: str, words: list[str]) -> None:
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: the undisturbed run ended with {done.returncode}: {done.stderr}")


def rows_of(out: str) -> dict[str, int]:
    """Table → rows."""
    study = open_study(out)
    tables = [key.removeprefix("tables/").removesuffix(".parquet") for key in study.objects.list("tables") if key.endswith(".parquet")]
    return {name: study.sql(f'select count(*) n from "{name}"')["n"][0].as_py() for name in ["samples", *tables]}


def doubled(out: str) -> list[str]:
    """Tables in which one measurement has two rows."""
    study, found = open_study(out), []
    for key in study.objects.list("tables"):
        name = key.removeprefix("tables/").removesuffix(".parquet")
        if not key.endswith(".parquet") or name in ("models", "features", "failures"):
            continue
        columns = study.sql(f'select * from "{name}" limit 0').column_names
        by = ", ".join(f'"{one}"' for one in ("stage", "model", "what", "sample_id", "window", "control") if one in columns)
        if study.sql(f'select {by} from "{name}" group by {by} having count(*) > 1').num_rows:
            found.append(name)
    return found


def findings_in(out: str) -> list[str]:
    """What `xlli verify` says of the study."""
    return [str(finding) for finding in verify(open_study(out).archive)]


def compare(world: World, out: str) -> list[str]:
    """What is not as an undisturbed run would have made it."""
    objects = open_objects(out)
    now = digest(objects)
    found = [f"missing: {key}" for key in world.wanted if key not in now] + [f"too much: {key}" for key in now if key not in world.wanted]
    found += [f"other bytes: {key}" for key in now if key in world.wanted and now[key] != world.wanted[key]]
    found += [f"verify: {text}" for text in findings_in(out)]
    rows = rows_of(out)
    found += [f"table {name}: {rows.get(name)} rows, not {count}" for name, count in world.rows.items() if rows.get(name) != count]
    found += [f"table {name}: a row twice" for name in doubled(out)]
    if open_study(out).failures.num_rows != world.rejected:
        found.append(f"failures: {json.dumps(open_study(out).failures.to_pylist(), default=str)[:600]}")
    if "://" not in out:
        left = [path.relative_to(out) for path in Path(out).rglob("*.partial")]
        found += [f"left: {path}" for path in left if path.parts[0] not in ("lease", "report")]  # these are swept after an hour, or stay
    return found
