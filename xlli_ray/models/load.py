"""From a recipe's words and a state dict to a `Model`: networks of our own, spandrel's, or the user's factory.

`network: imdn`              one of `NETWORKS`, whose file reads widths and depths off the state dict.
`network: pkg.module:make`   `make(**args)` gives an `nn.Module`, or a `Built` that also says range, sizes and aliases.
no `network`                 spandrel recognises the state dict. Its descriptor's own call runs without gradients and
                             clamps, so only its parts are used: the module, and the arch's way to run it on a batch.

Loading is strict everywhere: a tensor that is missing or left over is an error that names it. Everything happens on the
CPU; `Model.to` moves it.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from xlli_ray.errors import NetworkError, WeightsError
from xlli_ray.models.builtin import builtin_card
from xlli_ray.models.checkpoint import tensors_of, weights_sha256
from xlli_ray.models.dryrun import dry_run
from xlli_ray.models.model import Model, Range
from xlli_ray.models.nests import WRAPPERS as PREFIXES
from xlli_ray.models.networks import NETWORKS, Built, load_strict, network_file
from xlli_ray.models.spec import BUILTIN, ModelSpec

__all__ = ["ModelSpec", "load_model"]

SPANDREL_VERSION = 1  # raised when what is done here with spandrel's parts changes
PROBE_SIZE = 64  # pixels along an axis; a factory's scale and channels are measured on a black image of this size


@dataclass(frozen=True)
class _Made:
    """A network with what the three ways know beyond `Built`."""

    built: Built
    network: str
    version: int
    tensors: Mapping[str, Tensor]
    square: bool = False
    supports_half: bool = True
    call: Callable[[Any, Tensor], Any] | None = None


def load_model(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> Model:
    """The model that `spec` describes, with the weights `tensors` (see `read_state_dict`), on the CPU.

    `tensors` is empty only for a factory that brings its own weights. Raises WeightsError when the weights are not
    those of the network, NetworkError when the network cannot be built or is not what the recipe says; a note on either
    names the model.
    """
    if spec.network is None and spec.weights is not None and spec.weights.startswith(BUILTIN):
        spec = replace(spec, network=builtin_card(spec.weights)["network"])  # the card knows
    try:
        if spec.network is None:
            made = _from_spandrel(spec, tensors)
        elif ":" in spec.network:
            made = _from_factory(spec, tensors)
        else:
            made = _from_registry(spec, tensors)
        return _finished(spec, made)
    except (WeightsError, NetworkError) as error:
        error.args = (f"model {spec.id!r}{f' ({spec.weights})' if spec.weights else ''}: {error}",)
        raise


def _from_registry(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> _Made:
    assert spec.network is not None
    file = network_file(spec.network)
    if not tensors:
        raise WeightsError(f"network {spec.network!r} needs `weights`: a path, or builtin:NAME.")
    args = dict(spec.args)
    if spec.scale is not None and "scale" in getattr(file, "ARGS", ()):
        args.setdefault("scale", spec.scale)
    return _Made(file.from_state_dict(tensors, args), spec.network, file.VERSION, tensors)


def _from_factory(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> _Made:
    assert spec.network is not None
    path, _, name = spec.network.partition(":")
    try:
        file = importlib.import_module(path)
        factory = getattr(file, name)
    except Exception as error:  # importing a user's module can raise anything
        raise NetworkError(
            f"network {spec.network!r} cannot be imported: {type(error).__name__}: {error}. Expected"
            f" package.module:factory, where `import {path or 'package.module'}` works wherever the study runs."
        ) from error
    try:
        built = factory(**spec.args)
    except Exception as error:
        raise NetworkError(
            f"{spec.network}({', '.join(f'{k}={v!r}' for k, v in spec.args.items())}) raised"
            f" {type(error).__name__}: {error}. Check `args`."
        ) from error
    module = built.module if isinstance(built, Built) else built
    if not isinstance(module, nn.Module):
        raise NetworkError(f"{spec.network} gave a {type(module).__name__}; expected an nn.Module or a Built.")
    module.cpu().float().eval().requires_grad_(False)
    if tensors:
        load_strict(module, _with_prefix_of(module, tensors), network=spec.network)
    tensors = tensors or tensors_of(module)
    if not isinstance(built, Built):
        built = Built(module, scale=1, output="none") if spec.output == "none" else _measured(spec, module)
    version = getattr(file, "VERSION", 1)
    return _Made(built, spec.network, version if isinstance(version, int) else 1, tensors)


def _with_prefix_of(module: nn.Module, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Puts a wrapper's prefix back that reading took off, where the module itself has it before all of its names."""
    own = list(module.state_dict())
    for prefix in PREFIXES:
        if own and all(key.startswith(prefix) for key in own) and not any(key.startswith(prefix) for key in tensors):
            return {prefix + key: tensor for key, tensor in tensors.items()}
    return tensors


def _measured(spec: ModelSpec, module: nn.Module) -> Built:
    """Channels and scale of a module that says neither: it is run on a black image, RGB and then grey."""
    failures = []
    for channels in (3, 1):
        probe = Model(
            id=spec.id, module=module, network=str(spec.network), network_version=1, scale=1, channels=channels,
            range=Range(0.0, 1.0), multiple=1, minimum=1, output="none", weights_sha256="",
        )  # fmt: skip

        def visit(twin: nn.Module, x: Tensor) -> Any:
            with torch.no_grad():
                y = twin(x)
            return tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__

        try:
            shape, _ = dry_run(probe, visit, shape=(1, channels, PROBE_SIZE, PROBE_SIZE))
        except Exception as error:
            failures.append(f"with {channels} channels, {type(error).__name__}: {str(error)[:200]}")
            continue
        if isinstance(shape, tuple) and len(shape) == 4 and shape[:2] == (1, channels) and shape[2] == shape[3]:
            scale, rest = divmod(shape[2], PROBE_SIZE)
            if scale >= 1 and not rest:
                return Built(module, scale=scale, channels=channels)
        failures.append(f"with {channels} channels it gave {shape}")
    raise NetworkError(
        f"{spec.network}: scale and channels cannot be measured on a {PROBE_SIZE} x {PROBE_SIZE} image: "
        + "; ".join(failures)
        + ". Expected (1, C, s*H, s*W) for (1, C, H, W). Let the factory return xlli_ray.models.networks.Built(module,"
        " scale=..., channels=..., multiple=..., minimum=...), or say `output: none` for a network that gives no image."
    )


def _from_spandrel(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> _Made:
    import spandrel

    ours = ", ".join(NETWORKS)
    if not tensors:
        raise WeightsError("without `network` the weights say what the network is: give `weights`.")
    if spec.args:
        raise NetworkError(
            f"`args` ({', '.join(spec.args)}) need a `network` that takes them: {ours}, or package.module:factory."
        )
    _refuse_ffdnet(tensors)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about calls inside spandrel's architectures
            descriptor = spandrel.ModelLoader(device="cpu").load_from_state_dict(dict(tensors))
    except spandrel.UnsupportedModelError:
        some = ", ".join(list(tensors)[:4])
        fits = next((name for name in NETWORKS if _fits(name, tensors)), None)
        advice = f"It fits `network: {fits}`." if fits else f"None of ours ({ours}) fits it either."
        raise WeightsError(
            f"spandrel does not recognise this state dict ({len(tensors)} tensors, the first: {some}). {advice}"
            " For a network of your own write `network: package.module:factory`."
        ) from None
    except Exception as error:  # strict loading, or shapes that contradict what was detected
        raise WeightsError(
            "spandrel recognises this state dict, but cannot load it:"
            f" {type(error).__name__}: {str(error).strip()[:300]}. Name the network: one of {ours}, or"
            " package.module:factory."
        ) from None
    found = descriptor.architecture.id
    if not isinstance(descriptor, spandrel.ImageModelDescriptor):
        raise NetworkError(f"spandrel sees {found}, which needs a mask beside the image; that is not supported.")
    channels = descriptor.input_channels
    if channels not in (1, 3) or descriptor.output_channels != channels:
        raise NetworkError(
            f"spandrel sees {found} with {channels} input and {descriptor.output_channels} output channels; expected 1"
            f" or 3 of both. If it is mistaken, name the network: one of {ours}, or package.module:factory."
        )
    needs = descriptor.size_requirements
    module = descriptor.model.float().eval().requires_grad_(False)
    built = Built(
        module, scale=descriptor.scale, channels=channels, multiple=needs.multiple_of, minimum=max(needs.minimum, 1)
    )
    # Some architectures give a tuple, another range, or want a noise map; spandrel keeps how to run them in this one
    # function. Unlike the descriptor's own call it neither pads, clamps nor stops gradients.
    call = getattr(descriptor, "_call_fn", None)
    return _Made(
        built, f"spandrel:{found}", SPANDREL_VERSION, tensors, needs.square, descriptor.supports_half, call
    )  # fmt: skip


def _fits(name: str, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a network of ours loads this state dict; asked only to give advice."""
    try:
        network_file(name).from_state_dict(tensors, {})
    except NetworkError:
        return True  # the weights fit, an argument is missing (carn_m: the scale)
    except Exception:
        return False
    return True


def _refuse_ffdnet(tensors: Mapping[str, Tensor]) -> None:
    """FFDNet's state dict has the names of DnCNN's, and spandrel takes it for a DnCNN of 12 (grey: 4) channels: those
    of the image cut into four by FFDNet's unshuffling, which no tensor shows. Run as that it would fail."""
    found = {key: re.fullmatch(r"model\.(\d+)\.weight", key) for key, tensor in tensors.items() if tensor.ndim == 4}
    numbers = sorted(int(match[1]) for match in found.values() if match)
    if not numbers or len(numbers) != len(found):
        return
    inputs, outputs = tensors[f"model.{numbers[0]}.weight"].shape[1], tensors[f"model.{numbers[-1]}.weight"].shape[0]
    if inputs == outputs + 1 and outputs in (4, 12):
        raise NetworkError(
            f"this state dict looks like DnCNN's, but takes {inputs} maps and gives {outputs}: that is FFDNet for"
            f" {outputs // 4} channel(s), whose unshuffling no tensor shows (spandrel sees a DnCNN with {outputs}"
            " channels). Name it: `network: ffdnet`, with the noise level on 0..255 in `args: {sigma: 25}`."
        )


def _finished(spec: ModelSpec, made: _Made) -> Model:
    built = made.built
    output = "none" if spec.output == "none" else built.output
    if spec.scale is not None and spec.scale != built.scale and output == "image":
        raise NetworkError(
            f"the recipe says scale {spec.scale}, but {made.network} with these weights has scale {built.scale}."
            " Leave `scale` out, or give the weights of that scale."
        )
    lo, hi = built.range if spec.range is None else spec.range
    if not lo < hi:
        raise NetworkError(f"`range: [{lo}, {hi}]` is empty; expected e.g. [0, 1], [0, 255] or [-1, 1].")
    return Model(
        id=spec.id,
        module=built.module,
        network=made.network,
        network_version=made.version,
        scale=built.scale,
        channels=built.channels,
        range=Range(float(lo), float(hi)),
        multiple=built.multiple,
        minimum=built.minimum,
        output=output,
        weights_sha256=weights_sha256(made.tensors),
        square=made.square,
        aliases=dict(built.aliases),
        supports_half=made.supports_half,
        call=made.call,
    )
