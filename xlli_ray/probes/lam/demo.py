"""Constants of the authors' demo of LAM (Gu & Dong, CVPR 2021): the defaults of the blur path and of mode `paper`."""

from __future__ import annotations

SIGMA = 1.2
"""σ of the baseline's blur, input pixels."""
SIZE = 9
"""Side of the blur kernel."""
STEPS = 50
"""Steps along the path."""
MOVING = 42
"""Steps of these that change the image (`BlurPath.demo_null`)."""
