"""`xlli_ray.faithfulness`: the maps of several methods for one window of one network, and whether they are true.

    import xlli_ray
    trial = xlli_ray.faithfulness("builtin:srresnet-gr-clean", "low_resolution.png", window=(64, 80, 32), target="original.png")
    trial.table, trial.verdict, trial.figure("maps.png"), trial.figure("curves.svg", of="curves")

The measures are those of the stages `deletion`, `infidelity` and `faithfulness` (docs/faithfulness.md). One window has no interval: what
holds of a network takes a study of many images.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from xlli_ray.api.effect_map import SIZE, CemResult, cem
from xlli_ray.api.given_images import Image, place_of, planes_of
from xlli_ray.api.lam_map import LamResult, lam
from xlli_ray.errors import XlliError

if TYPE_CHECKING:
    from xlli_ray.models.model import Model
    from xlli_ray.plots.curves import Curves
    from xlli_ray.plots.image_panels import ImagePanels
    from xlli_ray.probes.lam.window import Window

SQUARES, RANDOM_ORDERS = 64, 5
"""Perturbations of infidelity, and random orders."""
CEM, NEAREST, RANDOM = "cem", "nearest", "random"


@dataclass(frozen=True)
class MapScore:
    """How one map, or order of the pixels, does on the window. NaN where a measure does not apply."""

    method: str
    deletion_auc: float
    insertion_auc: float
    deletion_gain: float
    """deletion_auc minus that of nearest first; positive: better."""
    insertion_gain: float
    """insertion_auc of nearest first minus this one; positive: better."""
    unexplained: float
    """Infidelity: share of the changes of the score that the map, at its best size, does not account for, 0..1."""
    rho: float
    """Spearman's ρ with |effect| of the causal effect map, over its blocks."""
    rho_beyond: float
    """The same beyond what position explains."""
    di: float


@dataclass(frozen=True)
class FaithfulnessResult:
    """Maps of one window with their scores; `curves` has (deletion, insertion), grey levels at `fractions` of the pixels, by order."""

    model: str
    window: Window
    maps: Mapping[str, LamResult]
    effects: CemResult | None
    scores: tuple[MapScore, ...]
    curves: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
    fractions: tuple[float, ...]

    @property
    def table(self) -> list[dict[str, Any]]:
        """One row per map, then the controls."""
        return [asdict(score) for score in self.scores]

    @property
    def verdict(self) -> str:
        """One sentence about this window: a map says more than distance if it beats nearest first in deletion and in insertion."""
        tried = [score for score in self.scores if score.method not in (NEAREST, RANDOM)]
        known = [score for score in tried if np.isfinite(score.deletion_gain)]
        if not known:
            return "Nothing can be told: the window does not change when the image is blurred."
        more = [score.method for score in known if score.deletion_gain > 0 and score.insertion_gain > 0]
        less = [score.method for score in known if score.method not in more]
        told = [
            f"{_listed(some)} {'say' if len(some) > 1 else 'says'} {how} than distance"
            for some, how in ((more, "more"), (less, "no more")) if some
        ]  # fmt: skip
        return f"On this window, {'; '.join(told)} (one window: no interval, another may differ)."

    def __repr__(self) -> str:
        w = self.window
        return f"<faithfulness of {self.model}, window top {w.top} left {w.left} size {w.size}: {self.verdict}>"

    def _repr_html_(self) -> str:
        from xlli_ray.views.html import card, panels_html

        told = [(s.method, f"deletion gain {s.deletion_gain:+.3f}, insertion gain {s.insertion_gain:+.3f}") for s in self.scores]
        return panels_html(self.panels()) + card(self.verdict, told)

    def panels(self) -> ImagePanels:
        """Image with the window, the maps, and the causal effect map, as data (`xlli_ray.plots.image_panels`)."""
        from xlli_ray.plots.image_panels import ImagePanels, PanelRow

        rows, title = [], f"{self.model}: maps of one window"
        gains = {score.method: score for score in self.scores}
        for name, found in self.maps.items():
            first, drawn, area, signed = found.panels().rows[0].panels[:4]
            note = f"{name}: deletion {gains[name].deletion_gain:+.3f}, insertion {gains[name].insertion_gain:+.3f} against nearest first"
            rows.append(PanelRow(note, (first, drawn, area, signed)))
        if self.effects is not None:
            note = f"{CEM}: deletion {gains[CEM].deletion_gain:+.3f}, insertion {gains[CEM].insertion_gain:+.3f} against nearest first"
            rows.append(PanelRow(note, self.effects.panels().rows[0].panels[:4]))
        return ImagePanels(title, tuple(rows))

    def curve_view(self) -> Curves:
        """Deletion and insertion curves, as data (`xlli_ray.plots.curves`)."""
        from xlli_ray.plots.curves import Axis, Curve, CurvePanel, Curves
        from xlli_ray.plots.palette import INK, MUTED, SPARE

        own = [name for name in self.curves if name not in (NEAREST, RANDOM)]
        looks = {name: (SPARE[i % len(SPARE)], "-") for i, name in enumerate(own)} | {NEAREST: (INK, "--"), RANDOM: (MUTED, ":")}
        x = tuple(100 * share for share in self.fractions)
        panels = []
        for i, title in enumerate(("deletion: high is good", "insertion: low is good")):
            shown = ((name, *looks[name], tuple(both[i].tolist())) for name, both in self.curves.items())
            lines = tuple(Curve(name, colour, x, y, line=line) for name, colour, line, y in shown)
            panels.append(CurvePanel(title, lines, Axis("% of the pixels"), Axis("distance of the window, grey levels", zero=True)))
        return Curves(f"{self.model}: pixels go and come", tuple(panels))

    def figure(self, path: str | os.PathLike[str], *, of: Literal["maps", "curves"] = "maps") -> None:
        """Write maps (any format of matplotlib) or curves (SVG) into a file."""
        from pathlib import Path

        from xlli_ray.plots.panel_sheet import save
        from xlli_ray.plots.view import to_svg

        if of == "maps":
            save(self.panels(), path)
        elif os.fspath(path).lower().endswith(".svg"):
            Path(path).write_text(to_svg(self.curve_view()), encoding="utf-8")
        else:
            raise XlliError(f"{os.fspath(path)}: curves are written as SVG; give a name that ends in .svg")


def _listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([*filter(None, [", ".join(names[:-1])]), names[-1]])


def faithfulness(
    model: Any,
    image: Image,
    window: tuple[int, int, int] | None = None,
    *,
    target: Image | None = None,
    methods: Sequence[str] | None = None,
    block: int = 16,
    draws: Mapping[str, Any] | None = None,
    pool_size: int = 10_000,
    label: str = "given",
    seed: int = 0,
    sample: str = "",
    **known: Any,
) -> FaithfulnessResult:
    """Maps of several methods for one window, deletion and insertion against *nearest first*, infidelity, and with a `target` the causal
    effect map and how maps agree with it.

    `model`, `image`, `window`, `known`: as of `xlli_ray.lam`, of images; without a window, the most detailed one of 32. `methods`: names
    of paths (blur: the paper's) and other methods of `lam`; None: all that need no target. `target`, `block`, `draws`, `pool_size`,
    `label`: as of `xlli_ray.cem`. `seed`, `sample`: key of all draws. Raises XlliError with what to do next.
    """
    import torch

    from xlli_ray.models.open_any_model import open_model
    from xlli_ray.probes.lam.path_choices import way_of
    from xlli_ray.probes.lam.window import Window
    from xlli_ray.probes.lam.windows import enlarged, texture
    from xlli_ray.registry import LAM_METHODS, LAM_PATHS

    paths = [name for name in LAM_PATHS if not way_of(name).TO_TARGET]
    others = [name for name in LAM_METHODS if name != "path"]
    names = [*paths, *others] if methods is None else list(methods)
    if not names or len(set(names)) < len(names) or not set(names) <= {*paths, *others}:
        raise XlliError(f"methods: expected different ones of {', '.join([*paths, *others])}; got {names!r}")
    network = open_model(model, **known)
    if network.output != "image":
        raise XlliError(f"{network.id} returns no image (`output: {network.output}`): there is no window to explain")
    planes = planes_of(image)
    if planes.ndim != 3 or "frame" in network.AXES:
        raise XlliError("faithfulness takes one image; for clips, use the stages `deletion` and `infidelity` of a study")
    if problem := way_of("blur").unfit(*planes.shape[1:]):
        raise XlliError(f"image: {problem}")
    if not np.ptp(planes, axis=(1, 2)).any():
        raise XlliError("image: constant, so it has no detail that a map could explain; give one with content")
    if window is None:
        chosen = texture(enlarged(planes, network.scale), SIZE, 1)
        if not chosen:
            size = f"{planes.shape[2]}×{planes.shape[1]} pixels"
            raise XlliError(f"image of {size}: its output is too small for a window of {SIZE}; give one")
        place = chosen[0]
    else:
        place = Window(*place_of(window))
    at, shown = (place.top, place.left, place.size), np.moveaxis(planes, 0, 2)
    maps = {
        name: lam(network, shown, at, target=target, path=name) if name in paths else lam(network, shown, at, target=target, method=name)
        for name in names
    }
    if undefined := [name for name, found in maps.items() if found.result.undefined]:
        raise XlliError(f"the map of {', '.join(undefined)} is undefined: zero everywhere, or not finite; leave it out with methods=[…]")
    effects = None
    if target is not None:
        effects = cem(
            network, shown, at, target=target, block=block, draws=draws, pool_size=pool_size, label=label, seed=seed, sample=sample
        )  # fmt: skip
    x = network.prepare(torch.from_numpy(planes)[None].to(network.device))[0]
    return _tried(network, x, place, maps, effects, f"{seed}|{sample}")


def _tried(network: Model, x: Any, place: Window, maps: Mapping[str, LamResult], effects: CemResult | None, key: str) -> FaithfulnessResult:
    """The scores of the maps. `x`: (C, H, W), prepared."""
    from xlli_ray.analyses.faithfulness.agreement import agreement
    from xlli_ray.corpus.degradations.keyed_random import generator
    from xlli_ray.probes.deletion.curves import FRACTIONS, area, curves, nearness, ranking
    from xlli_ray.probes.lam.path_choices import way_of
    from xlli_ray.views.cem import in_pixels

    shape = (x.shape[-2], x.shape[-1])
    scores: dict[str, NDArray[Any]] = {name: found.map for name, found in maps.items()}
    if effects is not None and np.isfinite(effects.effect).all():
        scores[CEM] = in_pixels(np.abs(effects.effect), effects.block, *shape)
    draws = generator(f"{key}|deletion|0")
    ties = draws.random(shape)
    orders = [ranking(values, ties) for values in (*scores.values(), nearness(place, network.scale, shape))]
    orders += [ranking(np.zeros(shape), draws.random(shape)) for _ in range(RANDOM_ORDERS)]
    way, _ = way_of("blur").path(x, None)
    found = curves(network, x, way.points(x, [0.0])[0], place, orders)
    gone, come = area(found.deletion, found.scale), area(found.insertion, found.scale)
    names = [*scores, NEAREST, RANDOM]
    near = len(scores)
    out, lines = [], {}
    for k, name in enumerate(names):
        some = slice(k, k + 1) if name != RANDOM else slice(k, None)
        deletion, insertion = float(gone[some].mean()), float(come[some].mean())
        lines[name] = found.deletion[some].mean(axis=0), found.insertion[some].mean(axis=0)
        rho = beyond = float("nan")
        if name in maps and CEM in scores and effects is not None:
            where = (place.top, place.left, place.size)
            rho, beyond = agreement(maps[name].map, effects.effect, effects.draws, where, network.scale, effects.block)
        share = _unexplained(network, x, place, name, maps[name], key) if name in maps else float("nan")
        di = maps[name].di if name in maps else float("nan")
        gains = deletion - float(gone[near]), float(come[near]) - insertion
        out.append(MapScore(name, deletion, insertion, *gains, share, rho, beyond, di))
    return FaithfulnessResult(network.id, place, maps, effects if CEM in scores else None, tuple(out), lines, tuple(FRACTIONS))


def _unexplained(network: Model, x: Any, place: Window, name: str, found: LamResult, key: str) -> float:
    """Share of the changes of the score, by squares that go, that the map does not account for; NaN if its baseline is not known."""
    from xlli_ray.corpus.degradations.keyed_random import generator
    from xlli_ray.probes.infidelity.changes import Scored, changes, shares
    from xlli_ray.probes.infidelity.own_baselines import Baseline, method_baseline, way_named
    from xlli_ray.probes.lam.objectives import Objective
    from xlli_ray.registry import LAM_PATHS
    from xlli_ray.stats.infidelity import claimed, unexplained_share

    own = Baseline(name) if name in LAM_PATHS else method_baseline(name, {})
    if own is None:
        return float("nan")
    way, end = way_named(own.name).path(x, None)
    scored = Scored(network, end, way.points(end, [0.0])[0], place, Objective("gradient"))
    attribution = found.attribution * scored.away.cpu().numpy() if own.per_input else found.attribution

    def perturbed() -> Any:
        return shares(generator(f"{key}|infidelity|0"), attribution.shape, squares=SQUARES, noise=0, sigma=0.1)

    claims = np.concatenate([claimed(one[None], attribution) for one in perturbed()])
    return unexplained_share(claims, changes(scored, perturbed(), rows=4))
