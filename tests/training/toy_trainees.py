"""Networks of a user's own, named as toy_trainees:factory in recipes."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Classifier(nn.Module):
    """Logits of which photograph a crop comes from: colours are enough for that."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.last = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.first(x)).mean((2, 3)))


class Denoiser(nn.Module):
    """Same size in and out."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 3, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * self.body(x)


class Exploding(Denoiser):
    """Not a number from the first step on."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 0.0
