"""From a recipe entry and a state dict to a `Model`: built-in networks, spandrel's, or the user's factory.

`network: imdn`              one of `NETWORKS`, whose file infers widths and depths from the state dict.
`network: my.py:make`        `make(**args)` returns an `nn.Module`, or a `Built` that also declares range, sizes and aliases (`factory`).
no `network`                 spandrel recognises the state dict, or exactly one built-in network fits it, which is noted. The descriptor's
                             own call disables gradients and clamps, so only its parts are used: the module, and how to run it on a batch.

Loading is always strict: a missing or unexpected tensor is an error that names it; names may have a wrapper's prefix
(`tensor_name_prefixes`). Everything happens on the CPU; `Model.to` moves it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from xlli_ray.errors import NetworkError, WeightsError, counted
from xlli_ray.models import model_spec
from xlli_ray.models.accepted_sizes import BASES, SizeRule, find_rule, shape_given
from xlli_ray.models.builtin_weights import builtin_card
from xlli_ray.models.checkpoint import tensors_of, weights_sha256
from xlli_ray.models.dryrun import dry_run
from xlli_ray.models.factory import find_factory, make
from xlli_ray.models.model import ClipModel, ImageModel, Model, Range, frame_by_frame
from xlli_ray.models.model_spec import BUILTIN, ModelSpec
from xlli_ray.models.networks import Built, built, load_strict, network_file, shown_name
from xlli_ray.models.pieces import Pieces, in_pieces
from xlli_ray.models.randomness import randomness_kept
from xlli_ray.models.tensor_name_prefixes import Variant, under, variants
from xlli_ray.models.value_range_check import span_fault
from xlli_ray.registry import NETWORKS

__all__ = ["ModelSpec", "load_model"]


@dataclass(frozen=True)
class _Made:
    """A network with what the three ways know beyond `Built`. `sizes` None: to be determined by trial."""

    built: Built
    network: str
    version: int
    tensors: Mapping[str, Tensor]
    sizes: SizeRule | None
    supports_half: bool = True
    call: Callable[[Any, Tensor], Any] | None = None
    notes: tuple[str, ...] = ()
    folder: str = ""


@randomness_kept()
def load_model(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> Model:
    """The model that `spec` describes, with the weights `tensors` (see `read_state_dict`), on the CPU.

    `tensors` is empty only for a factory that brings its own weights. Raises WeightsError if the weights do not
    fit the network, NetworkError if the network cannot be built or contradicts the recipe; either message names the
    model.
    """
    if spec.network is None and spec.weights is not None and spec.weights.startswith(BUILTIN):
        spec = replace(spec, network=builtin_card(spec.weights)["network"])  # recorded in the card
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
    network_file(spec.network)  # an unknown name is reported first
    if not tensors:
        raise WeightsError(f"network {spec.network!r} needs `weights`: a path, or builtin:NAME.")
    first: WeightsError | None = None
    for variant in variants(tensors):
        try:
            return _registered(spec.network, spec, tensors, variant)
        except WeightsError as error:
            first = first or error
    assert first is not None
    raise first


def _registered(name: str, spec: ModelSpec, tensors: Mapping[str, Tensor], variant: Variant, *notes: str) -> _Made:
    """A built-in network with the tensors of one variant. WeightsError if they do not fit."""
    file = network_file(name)
    args = dict(spec.args)
    if spec.scale is not None and "scale" in getattr(file, "ARGS", ()):
        args.setdefault("scale", spec.scale)
    made = built(name, variant.tensors, args)
    sizes = SizeRule(made.multiple or 1, made.minimum or 1)
    return _Made(made, name, file.VERSION, tensors, sizes, notes=(*notes, *made.notes, *variant.notes))


def _from_factory(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> _Made:
    assert spec.network is not None
    factory = find_factory(spec.network, spec.folder)
    product = make(factory, spec.args)
    module = product.module
    notes: list[str] = []
    kinds = {p.dtype for p in module.parameters() if p.is_floating_point()}
    native = kinds.pop() if len(kinds) == 1 else torch.float32
    module.cpu().float().eval().requires_grad_(False)
    if tensors:
        variant = under(tensors, set(module.state_dict()))
        load_strict(module, variant.tensors, network=spec.network)
        notes += variant.notes
    tensors = tensors or tensors_of(module)
    if native != torch.float32:
        notes.append(f"weights in {str(native).removeprefix('torch.')} are computed in float32")
    if product.built is not None:
        built = product.built
        notes += built.notes
    elif spec.output == "none":
        built = Built(module, scale=1, output="none", call="clip" if spec.frames == "all" else "image")
    else:
        try:
            built = _measured(spec, module)
        except NetworkError:
            if native == torch.float32:
                raise
            built = _measured(spec, module.to(native))  # it converts its input to its own dtype
            notes[-1] = f"computed in {str(native).removeprefix('torch.')}, as the network does itself; its output becomes float32"
    declared = None if built.multiple is None and built.minimum is None else SizeRule(built.multiple or 1, built.minimum or 1)
    return _Made(built, spec.network, factory.version, tensors, declared, notes=tuple(notes), folder=factory.folder)


def _probe(spec: ModelSpec, built: Built, output: Any = "none") -> Model:
    """A model for trying sizes."""
    known: dict[str, Any] = {
        "id": spec.id, "module": built.module, "network": str(spec.network), "network_version": 1, "scale": built.scale,
        "channels": built.channels, "range": Range(0.0, 1.0), "multiple": 1, "minimum": 1, "output": output, "weights_sha256": "",
    }  # fmt: skip
    return _of_shape(built, known)


def _of_shape(built: Built, known: Mapping[str, Any]) -> Model:
    """The model class for the network's call shape."""
    if built.call == "image":
        return ImageModel(**known)
    return ClipModel(**known, frames=built.frames, gives=built.gives)


def _measured(spec: ModelSpec, module: nn.Module) -> Built:
    """Channels and scale of a module that declares neither: it is run on black images (clips), RGB and then grey, of several sizes."""
    failures: dict[str, str] = {}
    call: Literal["image", "clip"] = "clip" if spec.frames == "all" else "image"
    for side in BASES:
        for channels in (3, 1):
            probe = _probe(spec, Built(module, scale=1, channels=channels, call=call))

            def visit(twin: nn.Module, x: Tensor, probe: Model = probe) -> Any:
                with torch.no_grad():
                    return shape_given(probe.run(twin, x))

            try:
                tried = probe.shape(probe.trial_size(side, side))
                shape, _ = dry_run(probe, visit, shape=tried)
            except NetworkError as error:
                cause = error.__cause__ or error
                said = (str(cause).strip() or "no message").splitlines()[0][:200]
                failures.setdefault(f"{type(cause).__name__}: {said}", f"{channels}×{side}×{side}")
                continue
            gives: Literal["frames", "centre"] = "centre" if isinstance(shape, tuple) and len(shape) == 4 and call == "clip" else "frames"
            lead = (1, channels) if gives == "centre" else tried[:-2]
            if isinstance(shape, tuple) and len(shape) == len(lead) + 2 and shape[:-2] == lead and shape[-1] == shape[-2]:
                scale, rest = divmod(shape[-1], side)
                if scale >= 1 and not rest:
                    return Built(module, scale=scale, channels=channels, call=call, gives=gives)
            failures.setdefault(f"it returned {shape}", f"{channels}×{side}×{side}")
    raise NetworkError(
        f"{spec.network}: scale and channels cannot be measured on black images of {min(BASES)} to {max(BASES)} pixels a side: "
        + "; ".join(f"for {size}, {said}" for said, size in list(failures.items())[:4])
        + ". Expected (1, C, s*H, s*W) for (1, C, H, W), of clips (1, T, C, s*H, s*W) for (1, T, C, H, W). Let the factory return"
        " xlli_ray.models.networks.Built(module, scale=..., channels=..., multiple=..., minimum=...), or set"
        " `output: none` for a network that does not return an image."
    )


def _sizes(spec: ModelSpec, made: _Made) -> tuple[SizeRule, tuple[str, ...]]:
    """The size rule of a network, and notes about it."""
    if made.sizes is not None:
        return made.sizes, ()
    if spec.sizes is not None:
        return SizeRule(*spec.sizes), ()
    output = "none" if spec.output == "none" else made.built.output
    probe = _probe(spec, made.built, output)
    for side in BASES:
        try:
            rule = find_rule(probe, side)
        except NetworkError:
            continue
        if rule is None:
            return SizeRule(), (f"takes images of {side}×{side} pixels, and no rule for other sizes was found",)
        if (rule.multiple, rule.square) == (1, False):
            return rule, ()
        multiples = f"heights and widths in multiples of {rule.multiple}" if rule.multiple > 1 else ""
        said = f"takes {' and '.join(filter(None, (multiples, 'squares alone' * rule.square)))} (determined by trial)"
        return rule, (f"{said}: other images are padded by reflection",)
    return SizeRule(), ("the network accepted none of the sizes tried: black images of 8 to 256 pixels a side failed",)


def _from_spandrel(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> _Made:
    import spandrel

    ours = ", ".join(NETWORKS)
    if not tensors:
        raise WeightsError("without `network` the network is recognised by its weights: give `weights`.")
    if spec.args:
        raise NetworkError(
            f"`args` ({', '.join(spec.args)}) need a `network` that takes them: {ours}, or package.module:factory."
        )
    _refuse_ffdnet(tensors)
    broken: Exception | None = None
    for variant in variants(tensors):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # from torch, about calls inside spandrel's architectures
                descriptor = spandrel.ModelLoader(device="cpu").load_from_state_dict(dict(variant.tensors))
        except spandrel.UnsupportedModelError:
            continue
        except Exception as error:  # strict loading, or shapes that contradict what was detected
            broken = broken or error
            continue
        return _described(descriptor, tensors, variant, ours)
    fits: dict[str, Variant] = {}
    for variant in variants(tensors):
        for name in NETWORKS:
            if name not in fits and _fits(name, variant.tensors):
                fits[name] = variant
    if len(fits) == 1:
        ((name, variant),) = fits.items()
        return _registered(name, spec, tensors, variant, f"recognised as `network: {name}`")
    if fits:
        raise WeightsError(f"the state dict fits several built-in networks: {', '.join(fits)}. Name one: `network: {next(iter(fits))}`.")
    if broken is not None:
        raise WeightsError(
            "spandrel recognises this state dict, but cannot load it:"
            f" {type(broken).__name__}: {' '.join(str(broken).split())[:300]}. Name the network: one of {ours}, or"
            " package.module:factory."
        ) from None
    first = ", ".join(map(shown_name, list(tensors)[:4]))
    raise WeightsError(
        f"spandrel does not recognise the state dict ({counted(len(tensors), 'tensor')}, the first: {first}). No built-in network ({ours})"
        " fits it either. For a network of your own write `network: FILE.py:factory` or `package.module:factory`."
    )


def _described(descriptor: Any, tensors: Mapping[str, Tensor], variant: Variant, ours: str) -> _Made:
    """The parts used here of spandrel's descriptor."""
    import spandrel

    architecture = _part(descriptor, "architecture").id
    if not isinstance(descriptor, spandrel.ImageModelDescriptor):
        raise NetworkError(f"spandrel sees {architecture}, which needs a mask with the image; that is not supported.")
    channels = descriptor.input_channels
    if channels not in (1, 3) or descriptor.output_channels != channels:
        raise NetworkError(
            f"spandrel sees {architecture} with {channels} input and {descriptor.output_channels} output channels; expected 1"
            f" or 3 of both. If it is mistaken, name the network: one of {ours}, or package.module:factory."
        )
    needs = _part(descriptor, "size_requirements")
    module = _part(descriptor, "model").float().eval().requires_grad_(False)
    # Some architectures return a tuple, use another range, or need a noise map; spandrel keeps how to run them in this
    # one function. Unlike the descriptor's own call it neither pads, clamps nor stops gradients.
    call = _part(descriptor, "_call_fn")
    if not callable(call):
        raise NetworkError(_renamed(architecture, "_call_fn"))
    return _Made(
        Built(module, scale=_part(descriptor, "scale"), channels=channels), f"spandrel:{architecture}", model_spec.SPANDREL_VERSION,
        tensors, SizeRule(needs.multiple_of, max(needs.minimum, 1), needs.square), _part(descriptor, "supports_half"), call, variant.notes,
    )  # fmt: skip


def _part(descriptor: Any, name: str) -> Any:
    """A part of spandrel's descriptor. NetworkError if this version lacks it: without it the numbers would differ."""
    try:
        return getattr(descriptor, name)
    except AttributeError:
        raise NetworkError(_renamed(getattr(getattr(descriptor, "architecture", None), "id", "a network"), name)) from None


def _renamed(architecture: str, name: str) -> str:
    from importlib.metadata import version

    return (
        f"spandrel {version('spandrel')} sees {architecture}, but its descriptor has no {name!r}, which says how the network is run (a"
        " noise map, a value range, sizes). Without it the numbers would be wrong. Install the version of spandrel that this package was"
        " tested with (pip install 'spandrel==0.4.2'), or name the network as FILE.py:factory."
    )


def _fits(name: str, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a built-in network loads this state dict."""
    try:
        network_file(name)
    except NetworkError:
        return False  # from an installed package that cannot be imported
    try:
        built(name, tensors, {})
    except NetworkError:
        return True  # the weights fit, an argument is missing (carn_m: the scale)
    except WeightsError:
        return False
    return True


def _refuse_ffdnet(tensors: Mapping[str, Tensor]) -> None:
    """FFDNet's state dict has the names of DnCNN's, and spandrel takes it for a DnCNN of 12 (grey: 4) channels: those
    of the image after FFDNet's pixel unshuffle, which no tensor shows. Run as a DnCNN it would fail."""
    matches = {key: re.fullmatch(r"model\.(\d+)\.weight", key) for key, tensor in tensors.items() if tensor.ndim == 4}
    numbers = sorted(int(match[1]) for match in matches.values() if match)
    if not numbers or len(numbers) != len(matches):
        return
    inputs, outputs = tensors[f"model.{numbers[0]}.weight"].shape[1], tensors[f"model.{numbers[-1]}.weight"].shape[0]
    if inputs == outputs + 1 and outputs in (4, 12):
        raise NetworkError(
            f"this state dict looks like DnCNN's, but takes {inputs} maps and returns {outputs}: that is FFDNet for"
            f" {outputs // 4} channel(s), whose pixel unshuffle no tensor shows (spandrel sees a DnCNN with {outputs}"
            " channels). Name it: `network: ffdnet`, with the noise level on 0..255 in `args: {sigma: 25}`."
        )


def _finished(spec: ModelSpec, made: _Made) -> Model:
    built = made.built
    output = "none" if spec.output == "none" else built.output
    sizes, about_sizes = _sizes(spec, made)
    if spec.scale is not None and spec.scale != built.scale and output == "image":
        raise NetworkError(
            f"the recipe says scale {spec.scale}, but {made.network} with these weights has scale {built.scale}."
            " Omit `scale`, or give the weights of that scale."
        )
    lo, hi = built.range if spec.range is None else spec.range
    if not lo < hi:
        raise NetworkError(f"`range: [{lo}, {hi}]` is empty; expected e.g. [0, 1], [0, 255] or [-1, 1].")
    if spec.range is not None and (fault := span_fault(lo, hi)):
        raise NetworkError(fault)
    if spec.frames == "all" and built.call == "image":
        raise NetworkError(f"`frames: all` is for networks for clips; {made.network} takes images: `frames: each` runs it frame by frame.")
    model = _of_shape(
        built,
        {
            "id": spec.id,
            "module": built.module,
            "network": made.network,
            "network_version": made.version,
            "scale": built.scale,
            "channels": built.channels,
            "range": Range(float(lo), float(hi)),
            "multiple": sizes.multiple,
            "minimum": sizes.minimum,
            "output": output,
            "weights_sha256": weights_sha256(made.tensors),
            "square": sizes.square,
            "aliases": dict(built.aliases),
            "supports_half": made.supports_half,
            "call": made.call,
            "notes": (*made.notes, *about_sizes),
            "folder": made.folder,
            "parts": dict(built.parts),
        },
    )
    model = frame_by_frame(model) if spec.frames == "each" else model
    if spec.tiles is None and spec.segments is None:
        return model
    return in_pieces(model, Pieces(spec.tiles, spec.segments))
