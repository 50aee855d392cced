"""The study's page: `STUDY/report/index.html`, which opens from disk without network or server.

The page itself is complete without scripts: findings, figures, tables, images of a few samples. The explorer (`report.explorer`) is
added where scripts run, with its data beside the page. Rewritten from the study's content on request, also during a run. It contains no
clock: the same study gives the same page.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from xlli_ray import __version__
from xlli_ray.errors import StudyError, XlliError, closest
from xlli_ray.plots.canvas import with_ids
from xlli_ray.plots.image_panels import ImagePanels
from xlli_ray.plots.kinds import KINDS
from xlli_ray.report.array_images import corpus_panels
from xlli_ray.report.explorer.parts import Parts, SeenFigure
from xlli_ray.report.explorer.write import write_explorer
from xlli_ray.report.image_strip import Strip, strip_of
from xlli_ray.report.page_context import open_context
from xlli_ray.report.page_freshness import KEY, page_mark, page_record
from xlli_ray.report.page_means import Tables
from xlli_ray.report.page_model import Figure, Piece, Section, anchor_of, head_of, words_of
from xlli_ray.report.page_parts.analysis import ResultSection, result_sections
from xlli_ray.report.page_parts.first_screen import Notice, Told, first_screen, notices
from xlli_ray.report.page_parts.stage import describe, stage_sections
from xlli_ray.store.records.manifest import Manifest
from xlli_ray.store.tables.study_tables import table_kinds
from xlli_ray.study import Study, open_study
from xlli_ray.terminal import human_bytes
from xlli_ray.views.page_views import PageView, write_page_views

TEMPLATES = Path(__file__).parent / "templates"
FAILURES_SHOWN = 50


@dataclass(frozen=True)
class Degradation:
    """One line of the corpus table."""

    label: str
    family: str
    colour: str
    samples: int


@dataclass
class Page:
    """Everything shown by the template."""

    name: str
    place: str
    quoted: str
    """`place` quoted for a shell."""
    manifest: Manifest
    contents: int = 0
    done: int = 0
    planned: int = 0
    failed: int = 0
    rejected: int = 0
    degradations: list[Degradation] = field(default_factory=list)
    corpus: Strip | None = None
    corpus_note: str = ""
    """The reason if no inputs are shown."""
    models: list[dict[str, Any]] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    results: list[ResultSection] = field(default_factory=list)
    findings: list[Told] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    """About all findings of some analyses, before them."""
    failure_counts: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    """The first FAILURES_SHOWN."""
    cells: list[dict[str, Any]] = field(default_factory=list)
    references: list[tuple[str, str]] = field(default_factory=list)
    colours: Mapping[str, str] = field(default_factory=dict)
    array: str = ""
    """An array, one of its buckets and one of its samples, for the Python example."""
    bucket: str = ""
    sample: str = ""
    recipe: str = ""
    explorer: str = ""
    """Digest of the explorer's data; "" without."""
    version: str = __version__
    whole: bool = True
    """Whether every image of the corpus that it shows could be read."""

    @property
    def complete(self) -> bool:
        """Whether everything planned is done."""
        return self.planned > 0 and self.done >= self.planned

    @property
    def failure_total(self) -> int:
        """Rows of the table of failures: a sample counts once for each missing output."""
        return sum(row["n"] for row in self.failure_counts)

    @property
    def threads(self) -> str:
        """torch threads of a worker."""
        return "/".join(sorted({str(cell.threads) for cell in self.manifest.cells}))

    @property
    def software(self) -> str:
        """The version with which it was measured."""
        return self.manifest.versions.get("xlli_ray", self.version)

    @property
    def sql_tables(self) -> list[str]:
        """SQL tables in addition to those of every study."""
        return list(dict.fromkeys([*table_kinds(self.manifest), *(table.name for result in self.results for table in result.tables)]))

    @property
    def views(self) -> list[PageView]:
        """All figures drawn here, in the order of the page; those of results are stored with the results."""
        out = [PageView("corpus", self.corpus.caption, self.corpus.view)] if self.corpus is not None else []
        for section in self.sections:
            drawn: list[Figure | Strip] = [*section.figures, *_drawn(section.own), *section.strips]
            out += [PageView(section.id, item.caption, item.view) for item in drawn if item.view is not None]
        for result in self.results:
            out += [PageView(result.id, item.caption, item.view) for item in _drawn(result.own) if item.view is not None]
        return out

    @property
    def python(self) -> str:
        """`place` as a Python literal."""
        return json.dumps(self.place, ensure_ascii=False)


def _drawn(pieces: Sequence[Piece]) -> list[Figure | Strip]:
    return [piece.item for piece in pieces if isinstance(piece.item, Figure | Strip)]


def write_report(place: str, against: str | None = None, *, last: bool = False) -> str:
    """Write the page of the study at `place` (a folder or a URL) into the study, and its figures as data. Returns its path or URL.

    `against`: id of the model that all others are compared with; None: every pair of a few models, or the first with each other.
    `last`: a run has just ended, so that the page stands until something changes (`page_freshness`).
    Raises StudyError if there is no study, or no such model.
    """
    study = open_study(place).as_it_is()
    models = [model.id for model in study.manifest.models]
    if against is not None and against not in models:
        near = closest(against, models, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise StudyError(f"{place}: there is no model {against!r} to compare with.{hint} Models: {', '.join(models)}")
    page = gather(study, place, against, lambda parts: write_explorer(study.objects, parts))
    data = render(page).encode()
    study.objects.put(KEY, data)
    mark = page_mark(study.objects, study.manifest, place) if last and page.whole and against is None else ""
    write_page_views(study.objects, page.views, page=page_record(mark, data))
    return f"{study.objects.url.rstrip('/')}/{KEY}"


def gather(study: Study, place: str, against: str | None = None, explore: Callable[[Parts], str] | None = None) -> Page:
    """The content of the page, read from the study. `against`: as in `write_report`. `explore` is given what the explorer shows and
    returns the digest of what it wrote."""
    manifest = study.manifest
    page = Page(manifest.name, place, shlex.quote(place), manifest)
    page.recipe = yaml.safe_dump(json.loads(json.dumps(manifest.recipe)), sort_keys=False, allow_unicode=True, width=120)
    table = manifest.samples
    if table is None:
        return page
    with open_context(study, table, against) as context:
        tables, samples, meaning = context.tables, context.samples, context.meaning
        families = {label: meaning.type(label) for label in table.labels}
        page.colours = {family: meaning.type_colour(family) for family in families.values()}
        page.degradations = [Degradation(label, families[label], meaning.colour(label), rows) for label, rows in table.labels.items()]
        page.contents = tables.rows("select count(distinct content) as n from samples")[0]["n"]
        page.rejected = table.rejected
        _failures(page, tables)
        inputs, page.corpus_note = corpus_panels(samples, table)
        page.corpus = strip_of(inputs, page.corpus_note, samples.read) if inputs is not None else None
        page.sections = stage_sections(context)
        page.results = result_sections(context)
        page.notices = notices(context, page.results)
        page.findings = first_screen(context, page.sections, page.results, (page.failed, page.rejected))
        page.whole = samples.whole
        if explore is not None:
            page.explorer = explore(Parts(context, place, _seen(page, study)))
    _units(page, study)
    page.tags = sorted({tag for model in manifest.models for tag in model.tags})
    page.models = [
        {"id": m.id, "network": m.network, "scale": m.scale, "channels": m.channels, "range": f"{m.range[0]:g} … {m.range[1]:g}",
         "output": m.output, "source": m.source, "sha": m.weights_sha256, "tags": [m.tags.get(tag, "") for tag in page.tags]}
        for m in manifest.models
    ]  # fmt: skip
    _example(page, study)
    kinds_used = dict.fromkeys(section.kind for section in page.sections)
    page.references = [(kind, reference) for kind in kinds_used if (reference := describe(kind, manifest.kinds)[1])]
    page.references += [(result.kind, result.reference) for result in page.results if result.reference]
    page.references = list(dict.fromkeys(page.references))
    return page


def _seen(page: Page, study: Study) -> list[SeenFigure]:
    """The figures with data, in the order of the page; images are shown by the explorer itself."""
    out = [
        SeenFigure(section.id, figure.anchor, figure.caption, figure.view)
        for section in page.sections for figure in section.figures if figure.view is not None and type(figure.view) in KINDS.values()
    ]  # fmt: skip
    results = study.results
    for section in page.results:
        result = results.get(section.id)
        try:
            views = result.views if result is not None else {}
        except XlliError:  # a damaged file: the section says so
            continue
        abouts = {file.name: file.about for file in result.stored.figures} if result is not None else {}
        out += [
            SeenFigure(section.id, anchor_of(section.id, name), abouts.get(name, name), view)
            for name, view in views.items() if type(view) in KINDS.values() and not isinstance(view, ImagePanels)
        ]  # fmt: skip
    return out


def _example(page: Page, study: Study) -> None:
    """An array and one of its samples, for the Python example."""
    for cell in study.manifest.cells:
        for bucket in cell.sizes:
            if bucket.arrays and bucket.segments:
                first = bucket.segments[0][0]
                page.array, page.bucket = cell.id, bucket.name
                page.sample = study.sample_rows(first, first + 1)["sample_id"][0].as_py()
                return


def _failures(page: Page, tables: Tables) -> None:
    page.failure_counts = tables.rows(
        "select stage, coalesce(model, '') as model, kind, count(*) as n from failures group by all order by 1, 2, 3"
    )
    page.failed = tables.rows("select count(*) as n from (select distinct model, row from failures where stage <> 'scan')")[0]["n"]
    page.failures = tables.rows(
        "select f.stage, f.model, f.what, f.sample_id, f.kind, f.reason, coalesce(f.source, s.source) as source "
        "from failures f left join samples s on f.row = s.row "
        f"order by f.stage <> 'scan', f.stage, f.model, f.what, f.row, f.source limit {FAILURES_SHOWN}"
    )


def _units(page: Page, study: Study) -> None:
    """Units are counted once for cells that share a forward pass, as `xlli run` counts them."""
    state = study.status()
    done = {cell["cell"]: cell["done"] for cell in state["cells"]}
    groups: dict[str, tuple[int, int]] = {}
    for cell in study.manifest.cells:
        least = min(done[cell.id], groups.get(cell.group, (done[cell.id], 0))[0])
        groups[cell.group] = (least, cell.units)
        page.cells.append({"id": cell.id, "hash": cell.hash, "rows": cell.rows, "units": cell.units, "done": done[cell.id]})
    page.done = sum(least for least, _ in groups.values())
    page.planned = sum(units for _, units in groups.values())


def render(page: Page) -> str:
    """The page as HTML. Every text is escaped; only figures drawn here are inserted unchanged, those stored in the study as images."""
    families = {row.label: row.family for row in page.degradations}
    return environment().get_template("page.html.j2").render(page=page, families=families)


def environment() -> Any:
    """The templates of all pages, with their filters."""
    import jinja2

    from xlli_ray.report.compiled_templates import COMPILED

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, bytecode_cache=COMPILED,
    )  # fmt: skip
    made.filters["bytes"] = human_bytes
    made.filters["count"] = lambda value: f"{value:,}".replace(",", "\u202f")
    made.filters["own_ids"] = OwnIds()
    made.filters["prose"] = prose
    made.filters["shell"] = shell
    made.filters["words"] = words_of
    made.filters["head"] = head_of
    return made


class OwnIds:
    """A filter for the drawings of one page: it makes their ids unique, so that none refers to the definitions of another."""

    def __init__(self) -> None:
        self._drawings = 0

    def __call__(self, svg: str) -> str:
        self._drawings += 1
        return with_ids(svg, f"drawing{self._drawings}")


def shell(text: str) -> str:
    """`text` as one word of a command line, in double quotes if these suffice."""
    return shlex.quote(text) if re.search(r'["$`\\!]', text) else f'"{text}"'


def prose(text: str) -> Any:
    """A docstring's paragraph, escaped, its `names` as code."""
    from markupsafe import Markup, escape

    parts = re.split(r"`([^`]+)`", text)
    pieces = [Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(parts)]
    return Markup("").join(pieces)
