"""SPyNet with the weights inside BasicVSR: its end-point error on Middlebury's sequences, as measured elsewhere; sizes and pans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from xlli_ray.models.blocks.spynet import SPyNet
from xlli_ray.models.checkpoint import read_state_dict


@pytest.fixture(scope="module")
def spynet(fixtures: Path) -> SPyNet:
    tensors = read_state_dict(fixtures / "models/basicvsr/basicvsr_vimeo90k_bi_x4.pth", name="basicvsr").tensors
    network = SPyNet()
    network.load_state_dict({key.removeprefix("spynet."): tensor for key, tensor in tensors.items() if key.startswith("spynet.")})
    return network.eval().requires_grad_(False)


def image(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None] / 255


def flow_of(path: Path) -> np.ndarray:
    """(h, w, 2), x first; NaN where it is not known."""
    data = path.read_bytes()
    assert data[:4] == b"PIEH"
    width, height = np.frombuffer(data, "<i4", 2, 4)
    flow = np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2)
    return np.where(np.abs(flow) > 1e9, np.nan, flow)


def test_its_end_point_error_on_middlebury_is_that_of_the_public_weights(spynet: SPyNet, fixtures: Path) -> None:
    """networks.md, section 10: 0.135 px on RubberWhale."""
    folder = next(path for path in (fixtures / "flow").rglob("RubberWhale") if list(path.glob("*.png")))
    truth = flow_of(next((fixtures / "flow").rglob("RubberWhale/*.flo")))
    flow = spynet(image(folder / "frame10.png"), image(folder / "frame11.png"))[0].permute(1, 2, 0).numpy()
    assert float(np.nanmean(np.linalg.norm(flow - truth, axis=-1))) == pytest.approx(0.135, abs=0.002)


def test_a_pan_of_a_photograph_is_found_at_a_size_that_is_no_multiple_of_32(spynet: SPyNet) -> None:
    from skimage import data

    whole = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None] / 255
    here, there = whole[..., 20:119, 30:177], whole[..., 17:116, 34:181]  # content at p lies at p + (−4, +3) in the second
    flow = spynet(here, there)[0, :, 16:-16, 16:-16].flatten(1).median(1).values
    assert flow.tolist() == pytest.approx([-4, 3], abs=0.1)
    assert torch.equal(SPyNet().eval()(here, there).isfinite().all(), torch.tensor(True))
