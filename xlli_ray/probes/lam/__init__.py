"""LAM: local attribution maps and the diffusion index (Gu & Dong, "Interpreting Super-Resolution Networks with Local Attribution Maps",
CVPR 2021).

Which input pixels does a network use to restore one window of its output? A score of that window (its detail, by default) is followed
along a path from a blurred input to the input itself; the gradient of the score, integrated along the path, gives each pixel its share of
the change (integrated gradients, Sundararajan et al., ICML 2017). The diffusion index summarises how widely these shares are spread.

    windows ──► paths ──► quadrature ──► attribution ──► diffusion_index, area
                              ▲
                          objectives

All of these are plain functions on tensors, usable without a study; `probe` is the stage, and `xlli_ray.lam` a function for notebooks.
"""
