"""Derain: how much of the rain a network takes out, and what it does to the image meanwhile.

The decoupled evaluation of J. Gu et al., "Networks are Slacking Off", NeurIPS 2023 (arXiv 2305.15134), and of its successor, arXiv
2502.12600, with the corrections that make it readable (`stats.deraining` has the formulas): removal ρ, damage D⊥, and what a perfect
network scores. It works for any restoration network of scale 1 and any pair of a degraded and a clean image; rain is the worked example,
noise and blur are others. Output (clamped), input and target are rounded to 8 bit, and all distances are in grey levels of 255.

Where the rain is, the mask, comes from (`mask`)

    auto             the by-product `mask` of a degradation or of a triple's mask file; else the by-product `rain` above 50; else, for blur
                     and noise, the whole image; nowhere in a clean input, all of which is background
    {threshold: 50}  the pair's own difference, in any channel above so many grey levels: for rainy/clean folders
    whole            everywhere: ρ and D⊥ of the whole image, nothing beside the rain

and the column `mask_from` says which it was. Coverage depends on the threshold threefold and on the image's size; it stands beside every
number. The soft mask is the rain layer / 255, or the pair's largest difference / 255 where the layer is not known.

What is undefined is NaN, and the column `undefined` says why: no rain in the mask, nothing beside it, no difference to remove.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from xlli_ray.probes.measurement import ArrayPlan, Batch, Column, Forward, Measurement, Shapes
from xlli_ray.probes.metrics.metric import Pair
from xlli_ray.probes.probe import Probe
from xlli_ray.stats.deraining import (
    corrupted,
    coverage,
    difference_mask,
    inflated,
    masked_mean,
    psnr_of,
    removal,
    squares,
    ssim_within,
)
from xlli_ray.stats.fidelity import ssim_map

if TYPE_CHECKING:
    from xlli_ray.models.model import Model

THRESHOLD = 50.0
"""Of a rain layer, 0..255 before it is weighted: the successor paper's."""
MASK, RAIN = "mask", "rain"
"""By-products of a degradation that are looked for."""
_NAN = float("nan")


class Threshold(BaseModel):
    """A mask from the pair: where input and target differ by more than `threshold` grey levels in any channel."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    threshold: float = Field(ge=0, lt=255, description="grey levels of 255")


class Params(BaseModel):
    """Fields of a `derain` stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    mask: Literal["auto", "whole"] | Threshold = Field(
        default="auto", description="where the rain is: auto: by-products, else everywhere; {threshold: 50}: the pair's difference; whole"
    )
    save: bool = Field(default=False, description="keep the output as uint8 array `output`, which galleries need")


def _levels(name: str, about: str, *, detail: bool = False) -> Column:
    return Column(name, "float64", about, unit="grey levels", better="lower", limits=(0.0, None), detail=detail)


def _change(name: str, about: str) -> Column:
    """No way is better: a network that destroys the image has the most."""
    return Column(name, "float64", about, unit="grey levels", limits=(0.0, None), detail=True)


def _similarity(name: str, about: str) -> Column:
    return Column(name, "float64", about, limits=(-1.0, 1.0), better="higher", detail=True)


def _squares(name: str, about: str, *, detail: bool = False) -> Column:
    return Column(name, "float64", about, unit="grey levels²", better="lower", limits=(0.0, None), detail=detail)


def _parts(name: str, about: str) -> Column:
    return Column(name, "float64", about, better="lower", limits=(0.0, None), detail=True)


class Derain(Probe):
    """Removal and damage, in the rain and beside it. Writes table `derain`, and with `save` the array `output`: uint8 (sample, channel, y,
    x)."""

    KIND: ClassVar[str] = "derain"
    VERSION: ClassVar[int] = 1
    NEEDS_OUTPUT: ClassVar[bool] = True
    REFERENCE: ClassVar[str] = "Gu et al., NeurIPS 2023, arXiv 2305.15134 (E_R, E_B); arXiv 2502.12600 (masked MSE against the clean image)"
    Params: ClassVar[type[BaseModel]] = Params
    by_source = False
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("rho", "float64", "ρ: share of the rain that was removed; 0 none, 1 all, above 1 too much"),
        _levels("d_perp", "D⊥: RMS of the change in the rain that ρ does not explain: content destroyed, rain removed unevenly"),
        _change("e_rain_input", "E_R: RMS over the mask of output − input; read it beside rho and d_perp only"),
        _change("e_rain_perfect", "E_R*: E_R of a perfect network, RMS over the mask of target − input"),
        _levels("e_rain_left", "E_RB: RMS over the mask of output − target", detail=True),
        _levels("e_background", "E_B: RMS outside the mask of output − target"),
        _levels("e_background_input", "RMS outside the mask of output − input: E_B where the mask holds all of the rain", detail=True),
        _change("e_rain_input_image", "E_R averaged over the whole image, zeros outside the mask"),
        _change("e_rain_perfect_image", "E_R* averaged over the whole image, zeros outside the mask"),
        _levels("e_background_image", "E_B averaged over the whole image, zeros inside the mask", detail=True),
        _levels("e_background_input_image", "e_background_input averaged over the whole image, zeros inside the mask", detail=True),
        _squares("mse_rain_gt", "mean square over the mask of output − target", detail=True),
        _squares("mse_background_gt", "mean square outside the mask of output − target", detail=True),
        _squares("mse_rain_gt_soft", "mse_rain_gt with the soft mask, rain / 255", detail=True),
        _squares("mse_background_gt_soft", "mse_background_gt with the soft mask", detail=True),
        _parts("mse_rain_gt_by_background", "mse_rain_gt divided by mse_background_gt (normaliser `bg`)"),
        _parts("mse_rain_gt_by_image", "mse_rain_gt divided by the whole image's mean square (normaliser `img`)"),
        _parts("mse_background_gt_by_image", "mse_background_gt divided by the whole image's mean square"),
        Column("psnr_y", "float64", "PSNR on luma, whole image", unit="dB", better="higher"),
        Column("psnr_y_rain", "float64", "PSNR on luma inside the mask", unit="dB", better="higher"),
        Column("psnr_y_background", "float64", "PSNR on luma outside the mask", unit="dB", better="higher"),
        _similarity("ssim_y", "SSIM on luma, whole image; NaN below 11 px"),
        _similarity("ssim_y_rain", "SSIM on luma, windows whose centre is in the mask"),
        _similarity("ssim_y_background", "SSIM on luma, windows whose centre is outside"),
        Column("coverage", "float64", "share of the pixels that are rain", limits=(0.0, 1.0)),
        Column("coverage_soft", "float64", "mean of the soft mask", limits=(0.0, 1.0), detail=True),
        Column("corrupted", "bool", "the output is further from the target in the rain than the input was: e_rain_left > e_rain_perfect"),
        Column("inflated", "bool", "more than half of e_rain_input² is d_perp²: it tells of damage", detail=True),
        Column("mask_from", "string", "where the mask is from: mask, rain, difference, whole; none: a clean input"),
        Column("undefined", "string", "why numbers are NaN, empty where all are defined"),
        Column("background", "string", "hash of the target's 8-bit pixels: equal clean images in different files have one", place=True),
    )  # fmt: skip

    def refuses(self, model: Model, scales: Sequence[int]) -> str | None:
        advice = "leave it out with `models: […]`"
        if model.scale != 1:
            return (
                f"model {model.id} enlarges ×{model.scale}; output, input and target are compared pixel by pixel, which takes a network of "
                f"scale 1: {advice}"
            )
        if other := [scale for scale in scales if scale > 1]:
            return (
                f"the corpus holds ×{other[0]} samples; output, input and target are compared pixel by pixel: use `corpus.scale: 1`, or "
                "pairs of equal size"
            )
        return None

    def unfit(self, scale: int, height: int, width: int, source: str, *, target: bool) -> str:
        """See `probes.measurement.Selective`."""
        return "" if target else "no target: without the clean image there is nothing to tell the rain from"

    def arrays(self, shapes: Shapes) -> tuple[ArrayPlan, ...]:
        if not self.params.save:
            return ()
        assert shapes.output is not None
        return (ArrayPlan("output", shapes.output, "uint8", ("channel", "y", "x"), "blosc", (1.0, 1.0), {"range": "0..255"}),)

    def measure(self, model: Model, batch: Batch, forward: Forward | None) -> Measurement:
        assert forward is not None
        assert forward.output is not None
        output = forward.output.detach().cpu().numpy()
        given = batch.input.cpu().numpy()
        failed: dict[int, str] = {}
        images = np.zeros(output.shape, np.uint8)
        rows: list[dict[str, Any]] = [{} for _ in output]
        for position in np.flatnonzero(batch.ok).tolist():
            target = batch.targets[position]
            if not np.isfinite(output[position].sum(dtype=np.float64)):
                failed[position] = "not finite: NaN or infinity in the output"
            elif target is None:
                failed[position] = self.unfit(1, 0, 0, "", target=False)
            elif not output.shape[-2:] == given.shape[-2:] == target.shape[-2:]:
                sizes = ", ".join(f"{name} {some.shape[-1]}×{some.shape[-2]}" for name, some in
                                  (("output", output), ("input", given), ("target", target)))  # fmt: skip
                failed[position] = f"wrong scale: {sizes} pixels; expected equal sizes"
            else:
                images[position] = eight_bit(output[position])
                extras = batch.extras[position] if batch.extras else {}
                rows[position] = self._row(images[position], given[position], target, extras)
        empty = {"float64": _NAN, "bool": False, "string": ""}
        columns = {column.name: [row.get(column.name, empty[column.dtype]) for row in rows] for column in self.COLUMNS}
        return Measurement({"output": images} if self.params.save else {}, columns, failed=failed)

    def _row(
        self, image: NDArray[np.uint8], given: NDArray[Any], target: NDArray[Any], extras: Mapping[str, NDArray[Any]]
    ) -> dict[str, Any]:
        """Columns of one sample. `image`: (C, H, W); `given`, `target`: float32 (3, H, W) in 0..1."""
        rainy_rgb, clean_rgb = eight_bit(given), eight_bit(target)
        rainy, clean = (_planes(some, grey=len(image) == 1) for some in (rainy_rgb, clean_rgb))
        mask, soft, origin = self._mask(_planes(rainy_rgb), _planes(clean_rgb), extras)
        luma = Pair(np.moveaxis(image, 0, 2), np.moveaxis(target, 0, 2)).luma
        return {
            **scores(np.moveaxis(image, 0, 2).astype(np.float64), rainy, clean, mask, soft, luma), "mask_from": origin,
            "background": hashlib.sha256(clean_rgb.tobytes()).hexdigest()[:16],
        }  # fmt: skip

    def _mask(
        self, rainy: NDArray[np.float64], clean: NDArray[np.float64], extras: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64], str]:
        """(mask, soft mask, where the mask is from) of one sample."""
        rain = extras.get(RAIN)
        layer = np.abs(rainy - clean).max(axis=2) if rain is None else (rain if rain.ndim == 2 else rain.max(axis=2)).astype(np.float64)
        soft = layer / 255
        if isinstance(self.params.mask, Threshold):
            return difference_mask(rainy, clean, self.params.mask.threshold), soft, "difference"
        if self.params.mask == "auto":
            if MASK in extras and (rain is None or rain.any()):  # an empty layer: the sample has another degradation
                return extras[MASK].astype(bool), soft, "mask"
            if rain is not None and rain.any():
                return layer > THRESHOLD, soft, "rain"
            if (rainy == clean).all():
                return np.zeros(rainy.shape[:2], bool), soft, "none"
        return np.ones(rainy.shape[:2], bool), soft, "whole"


def scores(
    output: NDArray[np.float64], rainy: NDArray[np.float64], clean: NDArray[np.float64], mask: NDArray[np.bool_], soft: NDArray[np.float64],
    luma: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> dict[str, Any]:  # fmt: skip
    """All numbers of one sample by column. Images float64 (H, W, C) in 0..255, masks (H, W), `luma` (output, target), (H, W) each."""
    beside = ~mask
    rho, damage = removal(output, rainy, clean, mask)
    change, ideal, error = squares(output, rainy), squares(clean, rainy), squares(output, clean)
    out: dict[str, Any] = {"rho": rho, "d_perp": damage, "coverage": coverage(mask), "coverage_soft": coverage(soft)}
    for name, values, where in (
        ("e_rain_input", change, mask), ("e_rain_perfect", ideal, mask), ("e_background", error, beside),
        ("e_background_input", change, beside),
    ):  # fmt: skip
        out[name] = float(np.sqrt(masked_mean(values, where)))
        out[f"{name}_image"] = out[name] * float(np.sqrt(coverage(where)))
    for name, inside, outside in (("", mask, beside), ("_soft", soft, 1.0 - soft)):
        out[f"mse_rain_gt{name}"], out[f"mse_background_gt{name}"] = masked_mean(error, inside), masked_mean(error, outside)
    out["e_rain_left"] = float(np.sqrt(out["mse_rain_gt"]))
    out["mse_rain_gt_by_background"] = _over(out["mse_rain_gt"], out["mse_background_gt"])
    out["mse_rain_gt_by_image"] = _over(out["mse_rain_gt"], float(error.mean()))
    out["mse_background_gt_by_image"] = _over(out["mse_background_gt"], float(error.mean()))
    similarity, of_luma = ssim_map(*luma), squares(*luma)
    for name, where in (("", np.ones_like(mask)), ("_rain", mask), ("_background", beside)):
        out[f"psnr_y{name}"], out[f"ssim_y{name}"] = psnr_of(masked_mean(of_luma, where)), ssim_within(similarity, where)
    out["corrupted"] = corrupted(out["e_rain_left"], out["e_rain_perfect"])
    out["inflated"] = inflated(out["e_rain_input"], damage)
    out["undefined"] = _undefined(mask, out["e_rain_perfect"])
    return out


def eight_bit(planes: NDArray[Any]) -> NDArray[np.uint8]:
    """Values in 0..1, clamped and rounded half up, as `restore` does it."""
    return np.floor(planes.clip(0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def _planes(image: NDArray[np.uint8], *, grey: bool = False) -> NDArray[np.float64]:
    """uint8 (3, H, W) → float64 (H, W, 3), or for a one-channel network its luma (full range, rounded), (H, W, 1)."""
    planes = np.moveaxis(image, 0, 2).astype(np.float64)
    return np.floor(planes @ np.array([0.299, 0.587, 0.114]) + 0.5)[..., None] if grey else planes


def _over(value: float, norm: float) -> float:
    return value / norm if norm > 0 else _NAN


def _undefined(mask: NDArray[np.bool_], perfect: float) -> str:
    """Why some numbers of a sample are NaN."""
    if not mask.any():
        return "the mask is empty: no rain"
    why = [] if not mask.all() else ["the mask is everywhere: no background"]
    return "; ".join([*why, *(["input and target are equal in the mask: nothing to remove"] if perfect == 0 else [])])
