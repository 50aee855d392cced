"""The cascade: weights drawn anew from the output down, layer by layer (Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018).

How far down must weights be destroyed before a map changes? A map that stays alike until the layers at the input are drawn does not show
what the later ones learnt. Draws are those of `controls.randomised_weights`, tensor by tensor: a deeper cascade keeps what a shallower one
drew, and one of all layers is that control.

A layer is a module with weights of its own, and layers are ordered by when they last run, in a pass over a small input; parameters of a
module that is never called (some attention layers use those of their parts themselves) count where the module that holds it ends.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from xlli_ray.models.model import Model


def layers_in_order(model: Model) -> list[list[str]]:
    """Names of the parameters of each layer, of two or more values each, from the input's layers to the output's."""
    ended = _ends(model)
    last = len(ended)
    layers: dict[str, list[str]] = {}
    for name, parameter in model.module.named_parameters():
        if parameter.numel() > 1:
            layer, parametrised, _ = name.partition(".parametrizations.")  # torch's form of weight normalisation and the like
            layers.setdefault(layer if parametrised else name.rpartition(".")[0], []).append(name)

    def position(layer: str) -> int:
        while layer and layer not in ended:
            layer = layer.rpartition(".")[0]
        return ended.get(layer, last)

    return [layers[layer] for layer in sorted(layers, key=position)]  # ties stay in the order of the module


def top_parameters(model: Model, share: float) -> set[str]:
    """Names of the parameters in that share of the layers, from the output's on: rounded, at least one layer."""
    layers = layers_in_order(model)
    count = max(1, int(share * len(layers) + 0.5))
    return {name for layer in layers[-count:] for name in layer}


def _ends(model: Model) -> dict[str, int]:
    """When each module last ended in one forward pass, by name; the network itself is ''."""
    ended: dict[str, int] = {}

    def note(name: str) -> Any:
        def hook(*_: Any) -> None:
            ended.pop(name, None)
            ended[name] = 0

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in model.module.named_modules() if _can(module)]
    side = max(16, model.minimum)
    x = torch.rand(model.shape(model.trial_size(side, side)), generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            model.forward(x.to(model.device))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: place for place, name in enumerate(ended)}


def _can(module: nn.Module) -> bool:
    return not isinstance(module, torch.jit.ScriptModule)
