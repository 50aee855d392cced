"""Alignment operators: how a network brings a supporting frame, or its features, onto the grid of the current frame. One file each.

An operator is a class with a name in `registry.ALIGNMENTS`, made for a number of channels, and called as

    align(support, current, flow) -> aligned      (B, C, h, w), (B, C, h, w), (B, 2, h, w) -> (B, C, h, w)

with `flow` from the current frame to the supporting one, in pixels of the maps, x first (`blocks.warp`). Its work is a plain function in
its file where it has no weights. A network takes an operator by the argument `alignment`: a name, or a name with options,

    args: {alignment: patch}        args: {alignment: {patch: {size: 16, border: clamp}}}

so that the same weights run with another operator (`alignment.alignment_of`). Paper: Shi et al., "Rethinking Alignment in Video
Super-Resolution Transformers", NeurIPS 2022, arXiv 2207.08494.
"""
