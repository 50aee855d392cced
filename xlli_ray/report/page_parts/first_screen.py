"""What was found, for the top of the page: the findings of each analysis with links and a small figure; without any, those of `restore`.

That a network is worse than the baseline is flagged at the first sentence about it, of the others in a sentence of their own. That
results are out of date is said once, before all sentences. Failures have a sentence of their own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from xlli_ray.analyses.shared.findings import NAMED, Behind, Finding, fixed, flags, listed, named
from xlli_ray.analyses.shared.worse_than_baseline import Below, Loss, below_baseline
from xlli_ray.errors import counted
from xlli_ray.report.page_context import Context
from xlli_ray.report.page_model import Figure, Section, anchor_of
from xlli_ray.report.page_parts.analysis import ResultSection
from xlli_ray.report.page_parts.restore_findings import restore_findings

MINUS = "−"
"""Between two networks in an address, as in `web/src/rows.ts`."""
LOSSES = 2
"""Degradations named on which a network is below the baseline; the first with its interval."""
LARGEST = 400_000
"""Characters of SVG; larger figures are linked and not repeated."""


@dataclass(frozen=True)
class Sentence:
    """One finding as the template shows it."""

    text: str
    flag: str = ""
    links: Sequence[tuple[str, str]] = ()
    """(words, id on the page)."""
    figure: Figure | None = None
    explore: str = ""
    """Address of the samples behind it in the explorer; "" for none."""


@dataclass(frozen=True)
class Told:
    """The findings of one analysis or stage, under its name, which is a link."""

    title: str
    anchor: str
    items: Sequence[Sentence] = field(default_factory=list)


@dataclass(frozen=True)
class Notice:
    """What is about all sentences of some analyses. `command`: what to run, "" where nothing would help."""

    lead: str
    text: str
    command: str = ""


def notices(context: Context, results: Sequence[ResultSection]) -> list[Notice]:
    """That results are out of date, or that the last run of their analysis failed."""
    told = [result for result in results if result.findings]
    command = context.study.manifest.command
    stale = [result for result in told if result.state.state == "stale"]
    failed = [result for result in told if result.state.state == "failed"]
    whys = "; ".join(f"{named(one.id)}: {one.state.why}" for one in stale)
    out = []
    if stale:
        again = command and any(one.state.wanted for one in stale)
        text = f"The findings below were made by an earlier version or from other inputs than the study has now ({whys}). "
        text += "To make them anew:" if again else "The last recipe no longer asks for them."
        out.append(Notice("Out of date.", text, command if again else ""))
    if failed:
        text = f"The last run of {listed(one.id for one in failed)} failed; its findings are of the run before."
        out.append(Notice("Failed.", text))
    return out


def first_screen(
    context: Context, sections: Sequence[Section], results: Sequence[ResultSection], failures: tuple[int, int]
) -> list[Told]:
    """`failures`: numbers of pairs of sample and network with a failed measurement, and of rejected files."""
    below = below_baseline(context.study.manifest, context.tables.arrow, intervals=True)
    rest = list(below)  # those that no sentence has named yet
    out = [told for result in results if (told := _analysis(result, sections, rest)) is not None]
    if not any(result.findings for result in results):
        for section in sections:
            if found := restore_findings(context, section):
                links = [("Numbers", f"stage-{section.id}"), *_samples([section])]
                items = _sentences(found, section.id, section.figures, links, rest, [section])
                out.append(Told(section.id, f"stage-{section.id}", items))
    for stage in dict.fromkeys(one.stage for one in rest):
        read = [section for section in sections if section.id == stage]
        unnamed = [one for one in rest if one.stage == stage]
        if unnamed:
            links = [("Numbers", f"stage-{stage}"), *_samples(read)]
            behind = samples_route(Behind(stage, "psnr_y", unnamed[0].model, unnamed[0].baseline), read)
            mine = [_under(one, 1, interval=False) for one in unnamed[:NAMED]]
            more = f"; {len(unnamed) - NAMED} more networks too" if len(unnamed) > NAMED else ""
            item = Sentence(f"T{'; '.join(mine)[1:]}{more}.", links=links, explore=behind)
            title = "other networks below the baseline" if any(told.items for told in out) else "networks below the baseline"
            out.append(Told(title, f"stage-{stage}", [item]))
    if any(failures):
        out.append(Told("failures", "failures", [Sentence(_failed(*failures))]))
    return out


def _under(one: Below, known: int = LOSSES, *, interval: bool = True) -> str:
    """Shorter than in the section of the stage, which says what to do."""
    told = one.losses[:known]
    losses = [_loss(loss, one.compared > 1, interval and loss is one.losses[0]) for loss in told if _is_shown(loss)]
    unsure = [
        f"{f'on {named(loss.label)} ' if one.compared > 1 else ''}no difference is shown ({fixed(loss.by)} dB, {fixed(loss.low or 0)} to "
        f"{fixed(loss.high or 0)})" for loss in told if not _is_shown(loss)
    ]  # fmt: skip
    number = f"all {one.compared}" if len(one.losses) == one.compared else f"{len(one.losses)} of {one.compared}"
    all_ = f", altogether on {number} kinds of input" if len(one.losses) > known else ""
    if not losses:
        return f"the PSNR-Y of {named(one.model)} is below that of {named(one.baseline)}, but {' and '.join(unsure)}{all_}"
    under = f"the PSNR-Y of {named(one.model)} is below that of {named(one.baseline)} {' and '.join(losses)}"
    return f"{'; '.join([under, *unsure])}{all_}"


def _is_shown(loss: Loss) -> bool:
    """Whether its interval does not contain 0; a loss without one is told as it is."""
    return loss.low is None or loss.high is None or loss.low > 0


def _loss(loss: Loss, several: bool, interval: bool) -> str:
    text = f"{f'on {named(loss.label)} ' if several else ''}by {loss.by:.2f} dB"
    if loss.low is None or loss.high is None:
        return text
    return f"{text} (95 % interval {fixed(loss.low)} to {fixed(loss.high)})" if interval else text


def _failed(pairs: int, files: int) -> str:
    what = "of sample and network"
    said = [f"{counted(pairs, f'pair {what} has', f'pairs {what} have')} a failed measurement"] if pairs else []
    return " and ".join([*said, *([f"{counted(files, 'file was', 'files were')} rejected"] if files else [])]) + "; the rest went on."


def _analysis(result: ResultSection, sections: Sequence[Section], below: list[Below]) -> Told | None:
    anchor = f"result-{result.id}"
    if not result.findings:
        why = {"failed": "There is no new result: this analysis failed.", "missing": "There is no result yet."}.get(result.state.state)
        return Told(result.id, anchor, [Sentence(why, links=[("Why", anchor)])]) if why else None
    read = [section for stage in result.reads for section in sections if section.id == stage]
    links = [("Numbers", anchor), *_samples(read)]
    return Told(result.id, anchor, _sentences(result.findings, result.id, result.figures, links, below, read))


def _samples(sections: Sequence[Section]) -> list[tuple[str, str]]:
    """Where the samples are shown: the stages with images."""
    shown = [section for section in sections if section.strips or any(piece.form == "strip" for piece in section.own)]
    return [("Images" if len(shown) == 1 else f"Images of {section.id}", f"stage-{section.id}") for section in shown]


def _sentences(
    found: Sequence[Finding], section: str, figures: Sequence[Figure], links: Sequence[tuple[str, str]], below: list[Below],
    read: Sequence[Section],
) -> list[Sentence]:
    """Each figure once, beside the first sentence that names it. `read`: the stages behind them. Of `below`, the network that a sentence
    is about is flagged there and taken out."""
    by_anchor = {figure.anchor: figure for figure in figures if figure.anchor}
    shown: set[str] = set()
    out = []
    for one in found:
        figure = by_anchor.get(anchor_of(section, one.figure)) if one.figure else None
        drawn = figure is not None and figure.anchor not in shown and len(figure.svg) <= LARGEST
        shown |= {figure.anchor} if figure is not None else set()
        own = [("Figure", figure.anchor)] if figure is not None else []
        mine = _subject(one.text, below)
        below[:] = [under for under in below if under not in mine]
        points = by_anchor.get(anchor_of(section, one.points)) if one.points else None
        route = samples_route(one.behind, read, points.anchor if points is not None else "")
        out.append(Sentence(one.text, flags(one.flag, *map(_under, mine)), [*own, *links], figure if drawn else None, route))
    return out


def samples_route(behind: Behind | None, read: Sequence[Section], points: str = "") -> str:
    """Address in the explorer of the samples behind a finding: `web/src/route.ts`. Without `behind`, of the first column of `read`; without
    any column, the points of the figure `points`, or else all samples."""
    known = {section.id: [column.name for column in section.shown] for section in read}
    if behind is None or behind.column not in known.get(behind.stage, ()):
        stage = next((name for name, columns in known.items() if columns), None)
        if stage is not None:
            return f"#/samples?{urlencode({'measure': f'{stage}/{known[stage][0]}'})}"
        return f"#/scatter?{urlencode({'cloud': f'{points}:0'})}" if points else "#/samples" if read else ""
    measure = f"{behind.stage}/{behind.column}"
    fields = {"labels": quote(behind.label, safe=""), "measure": measure}
    if behind.minus:
        fields["compare"] = ",".join(quote(model, safe="") for model in (behind.minus, behind.model))
    sort = f"{measure}@{behind.model}{MINUS}{behind.minus}" if behind.minus else f"{measure}@{behind.model}" if behind.model else ""
    fields |= {"sort": sort, "dir": "asc" if sort else ""}
    return f"#/samples?{urlencode({name: value for name, value in sorted(fields.items()) if value})}"


def _subject(sentence: str, below: Sequence[Below]) -> list[Below]:
    """What is said of the network that stands first in a sentence."""
    places = [(place, one) for one in below if (place := _place(one, sentence)) is not None]
    first = min((place for place, _ in places), default=None)
    return [one for place, one in places if place == first]


def _place(below: Below, sentence: str) -> int | None:
    found = re.search(rf"(?<![\w.-]){re.escape(named(below.model))}(?![\w-])", sentence)
    return found.start() if found is not None else None
