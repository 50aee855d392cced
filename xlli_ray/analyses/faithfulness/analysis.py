"""Faithfulness: are maps true? Do they say more than distance, what happens really, and what the network has learnt?

What is put together for each network and each method (a stage of maps) that a `deletion` stage has tried:

**More than distance.** Gain over *nearest first* on deletion and insertion curves (after V. Petsiuk et al., RISE, BMVC 2018), and over
random orders and the map of randomised weights. A map says more than distance if the intervals of both gains over nearest first lie above
0, and is flagged, "no more than distance", if neither does; if one does, the verdict says which. An interval that holds 0 is no proof of
the contrary.

**What happens really.** Spearman's ρ of map and |effect| of the causal effect map (J. Hu et al., TPAMI 2025) over the blocks that were
tried, window by window; and the same beyond the position relative to the window, since both fall with distance.

**Does it add up.** Completeness, infidelity (C.-K. Yeh et al., NeurIPS 2019) and sparseness of signed maps.

**What the network has learnt.** Correlation with the maps of networks whose weights were drawn anew, all or from the output down (J.
Adebayo et al., NeurIPS 2018).

Intervals are over images: windows, patches and degradations of an image are averaged first (`stats.intervals`; t for gains and
differences, which are paired on the same windows; none below 3 images; their coverage is simulated there). They are not adjusted for the
number of pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel

from xlli_ray.analyses.analysis import Result, Table, cells_of, whole
from xlli_ray.analyses.faithfulness.params import Params
from xlli_ray.analyses.faithfulness.tables import DELETION_ONLY, INSERTION_ONLY, TABLES
from xlli_ray.analyses.shared.findings import Finding, Outcome
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.errors import PlanError, counted
from xlli_ray.plots.palette import network_looks
from xlli_ray.stats.intervals import FEW, FEWEST
from xlli_ray.store.records.manifest import Cell


class Faithfulness:
    """Whether maps say more than distance, agree with causal effects, add up and depend on the weights. Writes `faithfulness`,
    `faithfulness_gains`, `faithfulness_pairs`, `faithfulness_weights`, `faithfulness_curves`, `faithfulness_windows`."""

    KIND: ClassVar[str] = "faithfulness"
    VERSION: ClassVar[int] = 1
    REFERENCE: ClassVar[str] = (
        "Petsiuk et al., BMVC 2018 (deletion, insertion); Hu et al., TPAMI 2025 (causal effects); Yeh et al., NeurIPS 2019 (infidelity); "
        "Adebayo et al., NeurIPS 2018 (randomised weights)"
    )
    TABLES: ClassVar[tuple[Table, ...]] = TABLES
    HEADLINE: ClassVar[tuple[str, tuple[str, ...]]] = (
        "faithfulness", ("model", "method", "label", "images", "deletion_gain", "insertion_gain", "verdict", "beyond"),
    )  # fmt: skip
    Params: ClassVar[type[BaseModel]] = Params

    @classmethod
    def inputs(cls, params: BaseModel, cells: Sequence[Cell]) -> list[str]:
        assert isinstance(params, Params)
        tried = cells_of(cells, params.deletion, "deletion", asked_by="faithfulness.deletion")
        models = {cell.model for cell in tried}
        named = {stage for cell in tried for stage in methods_of(cell)}
        maps = [cell for cell in cells if cell.stage in named and cell.model in models and "shifted_window" not in cell.what]
        beside = [cell for field, kind in (("cem", "cem"), ("infidelity", "infidelity"))
                  for cell in _stage(cells, getattr(params, field), kind, f"faithfulness.{field}") if cell.model in models]  # fmt: skip
        return list(dict.fromkeys(cell.id for cell in (*tried, *maps, *beside)))

    @classmethod
    def findings(cls, outcome: Outcome) -> Iterable[Finding]:
        """See `analyses.analysis.Telling`."""
        from xlli_ray.analyses.faithfulness.findings import findings

        return findings(outcome)

    @classmethod
    def run(cls, params: BaseModel, view: View, seed: int) -> Result:
        from xlli_ray.analyses.faithfulness import figures as draw
        from xlli_ray.analyses.faithfulness import measures
        from xlli_ray.analyses.faithfulness.agreement import Maps, agreements
        from xlli_ray.analyses.faithfulness.examples import examples
        from xlli_ray.analyses.faithfulness.trials import Trials
        from xlli_ray.analyses.faithfulness.weights import weight_rows

        assert isinstance(params, Params)
        deletion = next(cell for cell in view.cells if cell.stage == params.deletion)
        trials = Trials(view, params, methods_of(deletion))
        cem = next((cell.stage for cell in view.cells if cell.kind == "cem" and params.cem in ("auto", cell.stage)), None)
        maps = Maps(view, trials, cem)
        agreed = agreements(maps, _sides(view, cem), {model.id: model.scale for model in view.models})
        values = measures.judged(trials, agreed)
        summary = measures.summary_rows(trials, values)
        drawn, curves = weight_rows(view, trials), measures.curve_rows(trials)
        rows = {
            "faithfulness": summary, "faithfulness_gains": measures.gain_rows(trials),
            "faithfulness_pairs": measures.pair_rows(trials, values), "faithfulness_weights": drawn, "faithfulness_curves": curves,
            "faithfulness_windows": measures.window_rows(trials, values, agreed),
        }  # fmt: skip
        looks = network_looks(view.study_models)
        places = measures.least_agreed(trials, agreed["methods_rho"], params.examples)
        notes = {(model, i, method): float(values["deletion_gain"][i, trials.models.index(model), k])
                 for model, i in places for k, method in enumerate(trials.methods)}  # fmt: skip
        figures = [
            *draw.gains(summary, trials.models, looks),
            *draw.curves(curves, trials.models, trials.methods),
            *draw.weights(drawn, trials.models, trials.methods, looks),
            *examples(view, maps, places, notes),
        ]
        main = draw.chosen(summary)
        return Result(
            {table.name: whole(rows[table.name], table.columns) for table in TABLES},
            figures,
            {"verdict": {f"{row['model']}, {row['method']}": row["verdict"] for row in main}},
            _flags(main),
            _notes(trials, cem, drawn),
        )


def methods_of(cell: Cell) -> tuple[str, ...]:
    """The stages whose maps a deletion cell has tried."""
    of = cell.params["of"]
    return (of,) if isinstance(of, str) else tuple(of)


def _stage(cells: Sequence[Cell], name: str | None, kind: str, asked_by: str) -> list[Cell]:
    """The cells of the stage `name`; `auto`: of the only one of its kind, if there is one. Raises PlanError."""
    if name is None:
        return []
    if name != "auto":
        return cells_of(cells, name, kind, asked_by=asked_by)
    found = [cell for cell in cells if cell.kind == kind]
    stages = sorted({cell.stage for cell in found})
    if len(stages) > 1:
        raise PlanError(f"{asked_by}: there are {len(stages)} {kind} stages ({', '.join(stages)}): name one, or null")
    return found


def _sides(view: View, cem: str | None) -> dict[tuple[str, int, int], int]:
    """(network, row, window) → input pixels along a block, for the effects that are defined."""
    if cem is None:
        return {}
    rows = view.sql('select model, row, "window" as win, block from cem where stage = ? and status = \'ok\' and not undefined', [cem])
    return {(row["model"], row["row"], row["win"]): row["block"] for row in rows.to_pylist()}


def _flags(rows: Sequence[dict[str, Any]]) -> list[str]:
    out = []
    if bad := [f"{row['method']} of {row['model']}" for row in rows if row["flag"]]:
        out.append(f"the map says no more than distance (neither gain over nearest first is shown): {', '.join(bad)}")
    halves = [row for row in rows if row["verdict"] in (DELETION_ONLY, INSERTION_ONLY)]
    if mixed := [f"{row['method']} of {row['model']} ({row['verdict']})" for row in halves]:
        out.append(f"the map says more than distance on one of both curves: {', '.join(mixed)}")
    return out


def _notes(trials: Any, cem: str | None, drawn: Sequence[Any]) -> list[str]:
    out = [f"{counted(trials.images, 'image')}, {counted(len(trials.windows), 'window')}, {counted(len(trials.models), 'model')}, "
           f"{counted(len(trials.methods), 'method')}. Intervals: {100 * trials.params.level:g} %, t over images."]  # fmt: skip
    if trials.images < FEWEST:
        out.append(f"No intervals and no verdicts: they take {FEWEST} images, not {trials.images}.")
    elif trials.images < FEW:
        out.append(f"Few images ({trials.images}): the coverage of the intervals is below their level.")
    if trials.still:
        out.append(f"{counted(trials.still, 'window')} of a network that do not change between image and baseline are left out.")
    if cem is None:
        out.append("No agreement with causal effects: there is no cem stage.")
    if not any(cell.kind == "infidelity" for cell in trials.view.cells):
        out.append("No infidelity: there is no infidelity stage.")
    if not drawn:
        out.append("Whether the maps depend on the weights was not tested: add `controls: [randomised_weights]` to a stage of maps.")
    return out
