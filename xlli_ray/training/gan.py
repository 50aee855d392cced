"""The adversarial stage: a plain GAN (Goodfellow et al., NeurIPS 2014, arXiv 1406.2661) with a U-Net discriminator.

The discriminator judges every pixel (the idea of Schonfeld et al., "A U-Net Based Discriminator for Generative
Adversarial Networks", CVPR 2020, eq. 3): an encoder of two strided convolutions, a decoder that enlarges bilinearly and
adds the encoder's features, one logit per pixel. Convolutions are spectrally normalised (Miyato et al., ICLR 2018). The
generator minimises the non-saturating loss, -log D(G(x)).

No perceptual loss: it would add a network trained on other data with other labels, and the twins would differ in more
than one respect.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from xlli_ray.training.optimizer import Adam
from xlli_ray.training.recipe import Gan

VERSION = 1  # raised when the same recipe would end with different weights
BETAS = (0.9, 0.99)


class Discriminator(nn.Module):
    """(B, 3, H, W) in 0..1 to one logit per pixel, (B, 1, H, W): positive means real. H and W are multiples of 4."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.down1 = spectral_norm(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False))
        self.down2 = spectral_norm(nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1, bias=False))
        self.middle = spectral_norm(nn.Conv2d(4 * width, 4 * width, 3, padding=1, bias=False))
        self.up1 = spectral_norm(nn.Conv2d(4 * width, 2 * width, 3, padding=1, bias=False))
        self.up2 = spectral_norm(nn.Conv2d(2 * width, width, 3, padding=1, bias=False))
        self.last = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x0 = F.leaky_relu(self.first(x), 0.2)
        x1 = F.leaky_relu(self.down1(x0), 0.2)
        x2 = F.leaky_relu(self.down2(x1), 0.2)
        x2 = F.leaky_relu(self.middle(x2), 0.2)
        # Convolve, then enlarge: a quarter of the work of the usual order, where a CPU spends most of a step.
        y = _doubled(F.leaky_relu(self.up1(x2), 0.2)) + x1
        y = _doubled(F.leaky_relu(self.up2(y), 0.2)) + x0
        return self.last(y)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Adversary:
    """The discriminator with its optimizer, for the training loop."""

    def __init__(self, gan: Gan, *, seed: int, device: torch.device) -> None:
        self.weight = gan.weight
        self._lr = gan.lr
        with torch.random.fork_rng(devices=[]):  # spectral_norm draws its power-iteration vectors from the global state
            torch.manual_seed(seed)
            network = Discriminator(gan.width)
        self.network = network.to(device).to(memory_format=torch.channels_last).train()
        self._optimizer = Adam(self.network.parameters(), lr=gan.lr, betas=BETAS)
        self._judged: dict[str, float] = {}

    def generator_loss(self, output: Tensor) -> Tensor:
        """-log D of generated images; gradients flow to them, not into the discriminator."""
        self.network.requires_grad_(False)
        logits = self.network(output).float()
        self.network.requires_grad_(True)
        return F.softplus(-logits).mean()

    def discriminator_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """-log D(target) - log(1 - D(output)), mean over pixels; `output` is detached."""
        real, fake = self.network(target).float(), self.network(output).float()
        with torch.no_grad():
            self._judged = {"real": float((real > 0).float().mean()), "fake": float((fake > 0).float().mean())}
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def step(self, loss: Tensor, factor: float) -> None:
        """One update at `factor` times the discriminator's learning rate."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._lr * factor
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()

    def state_line(self) -> dict[str, float]:
        """For the log: the shares of real and of generated pixels classified as real at the last step."""
        return {name: round(share, 3) for name, share in self._judged.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
