"""Networks with `flow: known` in a study: each batch is aligned by the true motion of its samples, and what cannot be is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import xlli_ray
from xlli_ray.corpus.motion.flow import flow
from xlli_ray.corpus.motion.moves import Motion as Moving
from xlli_ray.models.blocks.motion import Motion
from xlli_ray.models.checkpoint import to_safetensors
from xlli_ray.models.networks.psrt import SLIDING

ARGS = {"flow": "none", "frames": 3, "depths": [1], "window": [4, 4], "tail": 8, "width": 12, "alignment": "bilinear"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (90, 100, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    network = SLIDING.create(ARGS, generator=torch.Generator().manual_seed(0))
    (tmp_path / "w.safetensors").write_bytes(to_safetensors(network.state_dict()))
    models = [{"id": "net", "weights": "w.safetensors", "network": "psrt_sliding"}]
    (tmp_path / "models.yaml").write_text(yaml.safe_dump({"models": models}))
    return tmp_path


def run(folder: Path, corpus: dict[str, Any], args: dict[str, Any], name: str = "study", **more: Any) -> xlli_ray.Study:
    recipe = {
        "name": "k", "baseline": False, "corpus": {**corpus, "scale": 2}, "models": [{"from": "models.yaml", "args": args}],
        "stages": [{"restore": {"save": True}}], "batch": {"restore": 4}, **more,
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    xlli_ray.run(str(folder / "recipe.yaml"), str(folder / name))
    return xlli_ray.open_study(folder / name)


MOTION = {"motion": {"images": "photos/*.png", "window": 3, "size": 32, "speeds": [2, 5], "layers": 1}}


def test_each_sample_is_aligned_by_its_own_true_motion(folder: Path) -> None:
    study = run(folder, MOTION, {"flow": "known"})
    assert study.failures.num_rows == 0
    rows = study.sql("select sample_id, motion from samples order by row").to_pylist()
    assert len(rows) == 6
    network = SLIDING.from_state_dict(_tensors(folder), {}).module.eval()
    still = run(folder, MOTION, {"alignment": "none"}, "still")
    moved = 0
    for row in rows:
        motion = Moving.from_json(row["motion"])
        clip = torch.from_numpy(study.sample(row["sample_id"]).input)[None]
        flows = (flow(motion, 1)[:-1], flow(motion, -1)[1:])
        true = Motion(*(torch.from_numpy(one.transpose(0, 3, 1, 2).copy())[None] for one in flows))
        with torch.no_grad():
            wanted = network(clip, true)[0].numpy()
        found, unaligned = (one.array("restore/net/restore").rows([row["sample_id"]])[0] for one in (study, still))
        assert np.abs(found.astype(float) - wanted.clip(0, 1) * 255).max() <= 0.5 + 1e-3
        moved += not np.array_equal(found, unaligned)
    assert moved == len(rows)


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load

    return load((folder / "w.safetensors").read_bytes())


def test_a_corpus_that_does_not_know_its_motion_is_a_failed_row_with_the_way_out(folder: Path) -> None:
    study = run(folder, {"clips": {"frames": "photos/*.png", "window": 3}}, {"flow": "known"})
    (failure,) = study.failures.to_pylist()
    assert "`flow: known` needs a corpus that knows its motion" in failure["reason"]


def test_pieces_of_clips_are_refused_with_the_reason(folder: Path) -> None:
    entry = {"id": "net", "weights": "w.safetensors", "network": "psrt_sliding", "args": {"flow": "known"}}
    models = [{**entry, "tiles": {"size": 8, "halo": 4}}]
    study = run(folder, {"motion": {**MOTION["motion"], "size": 48, "speeds": [2]}}, {}, models=models)
    assert study.failures.num_rows == 3
    assert {row["reason"].split(":")[0] for row in study.failures.to_pylist()} == {"network 'psrt_sliding'"}
    assert all("is for whole clips, not for tiles" in row["reason"] for row in study.failures.to_pylist())


def test_arguments_beside_from_are_laid_over_those_of_each_model(folder: Path) -> None:
    study = run(folder, MOTION, {"flow": "dis", "alignment": "patch"})
    (entry,) = study.manifest.models
    assert entry.entry["args"] == {"flow": "dis", "alignment": "patch"}
    with pytest.raises(xlli_ray.XlliError, match=r"models\[0\].args.*expected a mapping such as"):
        run(folder, MOTION, ["flow"], "other")  # type: ignore[arg-type]
