"""What was found, for the top of the page: the findings of each analysis with links and a small figure; without any, those of `restore`.

The networks named in a sentence that are worse than the baseline are flagged there. Failures have a sentence of their own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from xlli_ray.analyses.shared.findings import NAMED, Behind, Finding, flags, named
from xlli_ray.analyses.shared.worse_than_baseline import Below, below_baseline
from xlli_ray.errors import counted
from xlli_ray.report.page_context import Context
from xlli_ray.report.page_model import Figure, Section, anchor_of
from xlli_ray.report.page_parts.analysis import ResultSection
from xlli_ray.report.page_parts.restore_findings import restore_findings

MINUS = "−"
"""Between two networks in an address, as in `web/src/rows.ts`."""
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


def first_screen(
    context: Context, sections: Sequence[Section], results: Sequence[ResultSection], failures: tuple[int, int]
) -> list[Told]:
    """`failures`: numbers of pairs of sample and network with a failed measurement, and of rejected files."""
    below = below_baseline(context.study.manifest, context.tables.arrow)
    out = [told for result in results if (told := _analysis(result, sections, below)) is not None]
    if not any(result.findings for result in results):
        for section in sections:
            if found := restore_findings(context, section):
                links = [("Numbers", f"stage-{section.id}"), *_samples([section])]
                items = _sentences(found, section.id, section.figures, links, below, [section])
                out.append(Told(section.id, f"stage-{section.id}", items))
    unnamed = [one for one in below if not any(_names(one, item.text) for told in out for item in told.items)]
    for stage in dict.fromkeys(one.stage for one in unnamed):
        mine = [_under(one) for one in unnamed if one.stage == stage]
        more = f", and {len(mine) - NAMED} more" if len(mine) > NAMED else ""
        out.append(Told("below the baseline", f"stage-{stage}", [Sentence(f"{'; '.join(mine[:NAMED])}{more}.")]))
    if any(failures):
        out.append(Told("failures", "failures", [Sentence(_failed(*failures))]))
    return out


def _under(one: Below) -> str:
    """Shorter than in the section of the stage, which says what to do."""
    names = f"{named(one.model)} is below {named(one.baseline)}"
    if one.compared == 1:
        return f"{names} by {one.by:.2f} dB"
    return f"{names} in {one.count} of {one.compared} degradations, by up to {one.by:.2f} dB ({named(one.label)})"


def _failed(pairs: int, files: int) -> str:
    what = "of sample and network"
    said = [f"{counted(pairs, f'pair {what} has', f'pairs {what} have')} a failed measurement"] if pairs else []
    return " and ".join([*said, *([f"{counted(files, 'file was', 'files were')} rejected"] if files else [])]) + "; the rest went on."


def _analysis(result: ResultSection, sections: Sequence[Section], below: Sequence[Below]) -> Told | None:
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
    found: Sequence[Finding], section: str, figures: Sequence[Figure], links: Sequence[tuple[str, str]], below: Sequence[Below],
    read: Sequence[Section],
) -> list[Sentence]:
    """Each figure once, beside the first sentence that names it. `read`: the stages behind them."""
    by_anchor = {figure.anchor: figure for figure in figures if figure.anchor}
    shown: set[str] = set()
    out = []
    for one in found:
        figure = by_anchor.get(anchor_of(section, one.figure)) if one.figure else None
        drawn = figure is not None and figure.anchor not in shown and len(figure.svg) <= LARGEST
        shown |= {figure.anchor} if figure is not None else set()
        own = [("Figure", figure.anchor)] if figure is not None else []
        flag = flags(one.flag, *(_under(under) for under in below if _names(under, one.text)))
        out.append(Sentence(one.text, flag, [*own, *links], figure if drawn else None, samples_route(one.behind, read)))
    return out


def samples_route(behind: Behind | None, read: Sequence[Section]) -> str:
    """Address in the explorer of the samples behind a finding: `web/src/route.ts`. Without `behind`, of the first column of `read`."""
    known = {section.id: [column.name for column in section.shown] for section in read}
    if behind is None or behind.column not in known.get(behind.stage, ()):
        stage = next((name for name, columns in known.items() if columns), None)
        return f"#/samples?{urlencode({'measure': f'{stage}/{known[stage][0]}'})}" if stage is not None else ""
    measure = f"{behind.stage}/{behind.column}"
    fields = {"labels": quote(behind.label, safe=""), "measure": measure}
    if behind.minus:
        fields["compare"] = ",".join(quote(model, safe="") for model in (behind.minus, behind.model))
    sort = f"{measure}@{behind.model}{MINUS}{behind.minus}" if behind.minus else f"{measure}@{behind.model}" if behind.model else ""
    fields |= {"sort": sort, "dir": "asc" if sort else ""}
    return f"#/samples?{urlencode({name: value for name, value in sorted(fields.items()) if value})}"


def _names(below: Below, sentence: str) -> bool:
    return re.search(rf"(?<![\w.-]){re.escape(named(below.model))}(?![\w-])", sentence) is not None

