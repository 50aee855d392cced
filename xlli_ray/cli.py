"""The command line: `xlli run RECIPE` and other commands. Flags only control how to run; the recipe determines what is computed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

import xlli_ray
from xlli_ray.cli_jobs import is_job, stop, submit
from xlli_ray.cli_options import OFF, Address, Against, Device, Here, Metrics, Out, Set, Share, Workers, builtin_recipe
from xlli_ray.errors import StudyError, counted
from xlli_ray.report.run_watch.asked import AS_IT_IS, Asked
from xlli_ray.terminal import say

if TYPE_CHECKING:
    from xlli_ray.engine.options import Options
    from xlli_ray.recipe import Recipe

app = App(
    name="xlli",
    help="Why do super-resolution and restoration networks work or fail? Features and attribution maps at corpus scale.",
    version=xlli_ray.__version__,
    suppress_keyboard_interrupt=False,  # `main` reports an interrupt; cyclopts would end silently
)

app.register_install_completion_command(add_to_startup=False)


def _recipe(recipe: Path, sets: tuple[str, ...]) -> Recipe:
    from xlli_ray.recipe import load_recipe

    return load_recipe(builtin_recipe(recipe), overrides=sets)


def _out(out: str | None, recipe: Recipe, limit: int | None = None) -> str:
    place = out or f"studies/{recipe.name}"
    return f"{place}-limit{limit}" if limit else place


def _options(**fields: Any) -> Options:
    from xlli_ray.engine.options import Options

    return Options(command=" ".join(["xlli", *sys.argv[1:]]), **fields)


@app.command
def run(
    recipe: Path,
    /,
    *,
    out: Out = None,
    workers: Workers = None,
    address: Address = None,
    device: Device = "auto",
    gpus_per_worker: Share = 0.0,
    limit: Annotated[
        int | None,
        Parameter(help="try at most N samples, spread over images and degradations, in a separate folder", validator=Number(gte=1)),
    ] = None,
    set_: Set = (),
    takeover: Annotated[bool, Parameter(help="take the study over from a run that is still alive", **OFF)] = False,
    retry_failed: Annotated[bool, Parameter(help="run units with failed samples again", **OFF)] = False,
    replace: Annotated[tuple[str, ...], Parameter(help="recompute this stage, model or cell", **OFF)] = (),
    any_device: Annotated[bool, Parameter(help="accept workers that round differently", **OFF)] = False,
    part: Annotated[
        str | None, Parameter(help="i/n: compute a fixed share of the units in this process, without Ray; a plain run concludes")
    ] = None,
    metrics: Metrics = None,
    quiet: Annotated[bool, Parameter(**OFF)] = False,
) -> int:
    """Run a recipe, or resume where it stopped. The same command again computes only what is missing."""
    if part is not None:
        given = {"--workers": workers, "--address": address, "--limit": limit, "--takeover": takeover, "--replace": replace}
        return _run_part(recipe, out, set_, part, [name for name, value in given.items() if value], device=device,
                         gpus_per_worker=gpus_per_worker, retry_failed=retry_failed, any_device=any_device, metrics=metrics,
                         quiet=quiet)  # fmt: skip
    from xlli_ray.engine.worker.environment import loading

    with loading():
        from xlli_ray.engine.run.driver import run_study
        from xlli_ray.engine.run.summary_text import ended, without_numbers
        from xlli_ray.report.page_freshness import kept_page
        from xlli_ray.report.text import result_table

    parsed = _recipe(recipe, set_)
    options = _options(
        workers=workers, address=address, device=device, gpus_per_worker=gpus_per_worker, limit=limit, takeover=takeover,
        retry_failed=retry_failed, replace=replace, any_device=any_device, metrics=metrics, quiet=quiet,
    )  # fmt: skip
    place = _out(out, parsed, limit)
    summary = run_study(parsed, place, options, ahead=_page_ahead)
    for line in ended(summary, place):
        say(line)
    page = kept_page(place) or _write_report(place, last=True)
    table = "" if quiet else result_table(place)
    if not quiet:
        say(table)
        say(f"report: {page}")
    for flag in summary.flags:
        if f"FLAG {flag.partition(': ')[2]}" not in table.splitlines():  # those of `restore` are below its means
            say(f"FLAG {flag}")
    for name, reason in summary.analyses_failed:
        say(f"AnalysisError: {name}: {reason}", sys.stderr)
    if nothing := without_numbers(summary, place):
        say(nothing, sys.stderr)
    return 1 if summary.analyses_failed or nothing else 0


def _run_part(recipe: Path, out: str | None, sets: tuple[str, ...], part: str, unfit: list[str], **fields: Any) -> int:
    """`run --part`."""
    from xlli_ray.engine.run.part_run import Part, run_part

    asked, parsed = Part.parse(part, unfit), _recipe(recipe, sets)
    say(run_part(parsed, _out(out, parsed), _options(workers=0, **fields), asked).said(part))
    return 0


def _page_ahead() -> None:
    from xlli_ray.report.page_ahead import load

    load()


def _write_report(place: str, against: str | None = None, *, last: bool = False) -> str:
    from xlli_ray.report.page import write_report
    from xlli_ray.report.training_page import write_training_page
    from xlli_ray.store.objects.client import exists, open_objects
    from xlli_ray.store.tables.trainings import DOCUMENT

    if exists(objects := open_objects(place), DOCUMENT):
        return write_training_page(objects)
    return write_report(place, against, last=last)


@app.command
def scan(recipe: Path, /, *, out: Out = None, workers: Here = 0, address: Address = None, set_: Set = ()) -> int:
    """Read the corpus and write the sample table."""
    from xlli_ray.engine.run.driver import scan_study
    from xlli_ray.engine.run.scan_runner import remarks
    from xlli_ray.report.text import scanned_text, sets_text

    parsed = _recipe(recipe, set_)
    place = _out(out, parsed)
    manifest = scan_study(parsed, place, _options(workers=workers, address=address))
    assert manifest.samples is not None
    say(scanned_text(manifest.samples))
    if sets := sets_text(manifest.samples):
        say(sets)
    for note in remarks(parsed.corpus, manifest.samples):
        say(f"note: {note}")
    if manifest.samples.rejected:
        from xlli_ray.store.objects.client import open_objects
        from xlli_ray.store.tables.study_tables import rejected

        for row in rejected(open_objects(place)).slice(0, 10).to_pylist():
            say(f"  {row['source']}: {row['reason']}")
    return 0


@app.command
def plan(
    recipe: Path, /, *, out: Out = None, workers: Workers = None, device: Device = "auto", gpus_per_worker: Share = 0.0, set_: Set = ()
) -> int:
    """Show what a run would do: samples, sizes, units, bytes of each array, projected hours. Refuses to exceed the limits."""
    from xlli_ray.engine.run.driver import plan_study, workers_of
    from xlli_ray.engine.run.plan import check_limits
    from xlli_ray.report.text import plan_table

    parsed = _recipe(recipe, set_)
    options = _options(workers=workers, device=device, gpus_per_worker=gpus_per_worker)
    manifest, made = plan_study(parsed, _out(out, parsed), options)
    count = workers_of(parsed, manifest, options)
    say(plan_table(manifest, made, workers=count))
    check_limits(made, parsed, workers=count)
    return 0


@app.command
def status(study: str, /, *, asked: Annotated[Asked, Parameter(name="*")] = AS_IT_IS) -> int:
    """Units done, failed samples and analyses of a study; how its run stands (--watch); or the state of a submitted job (http://…#JOB,
    slurm:JOB, kuberay:NAMESPACE/NAME)."""
    if is_job(study):
        from xlli_ray.engine.submit.jobs import job_status

        asked.check_job(study)
        say(job_status(study))
        return 0
    from xlli_ray.report.run_watch.command import status as show

    return show(study, asked)


@app.command
def verify(
    study: str,
    /,
    *,
    repair: Annotated[bool, Parameter(help="rebuild what can be rebuilt; the rest is computed by the next run", **OFF)] = False,
    takeover: Annotated[bool, Parameter(help="with --repair: take the study over from a run that is still alive", **OFF)] = False,
) -> int:
    """Verify every byte of a study. Exit code 1 and a list if anything is missing or damaged."""
    from xlli_ray.store.objects.client import exists, open_objects
    from xlli_ray.store.tables.trainings import DOCUMENT
    from xlli_ray.store.verify.check_study import verify as findings
    from xlli_ray.store.verify.check_training import training_findings
    from xlli_ray.study import open_study

    notes: list[str] = []
    if exists(objects := open_objects(study), DOCUMENT):
        if repair:
            raise StudyError(f"{study} is a training study: each finding says what to remove, and `xlli train` writes it again")
        return _verified(map(str, training_findings(objects, notes=notes)), notes)
    if repair:
        from xlli_ray.engine.run.repair import repair_study

        for line in repair_study(study, takeover=takeover):
            say(f"repaired: {line}")
    opened = open_study(study)
    code = _verified(findings(opened.archive, notes=notes), notes)
    if (failed := opened.status()["failures"]) and failed["samples"]:
        from xlli_ray.engine.run.summary_text import failures

        say(f"{failures(failed['samples'], failed['of'])}: xlli query {study} \"from failures\"; --retry-failed tries them again")
    return code


def _verified(findings: Iterable[str], notes: list[str]) -> int:
    """Print findings as they come, then notes; 1 if there is a finding."""
    count = 0
    for line in findings:
        count += 1
        say(line)
    for note in notes:
        say(f"note: {note}")
    say(counted(count, "finding") if count else "intact: every object is as it was written")
    return 1 if count else 0


@app.command
def query(
    study: str,
    sql: str,
    /,
    *,
    format_: Annotated[Literal["table", "csv", "json"], Parameter(name="--format")] = "table",
    unsafe: Annotated[bool, Parameter(help="allow the statement to use files, network and settings (COPY … TO, ATTACH)", **OFF)] = False,
) -> int:
    """Run SQL over a study: tables samples, models, features, failures, one per probe (restore, …), and of analyses (lam_pairs, …)."""
    from xlli_ray.report.text import format_rows
    from xlli_ray.store.tables.sql import RENAMED
    from xlli_ray.study import open_study

    table = open_study(study).sql(sql, unsafe=unsafe)
    say(format_rows(table, format_), raw=format_ != "table")
    if renamed := (table.schema.metadata or {}).get(RENAMED):
        say(f"note: duplicate columns were numbered: {renamed.decode()}", sys.stderr)
    return 0


@app.command
def layers(
    weights: str | None = None,
    pattern: str | None = None,
    /,
    *,
    network: Annotated[str | None, Parameter(help="built-in, FILE.py:factory, package.module:factory [default: recognised]")] = None,
    args: Annotated[tuple[str, ...], Parameter(help="for the network: key=value, or a JSON mapping", **OFF)] = (),
    key: Annotated[str | None, Parameter(help="where in the file the weights are, e.g. params")] = None,
    size: Annotated[int, Parameter(help="side of the square input, pixels")] = 64,
    scale: int | None = None,
) -> int:
    """List the layers of a checkpoint, or of a factory (FILE.py:factory): name, shape for an input of this size, stride, parameters."""
    from xlli_ray.report.layer_table import layer_table, parse_args

    say(layer_table(weights, pattern, network=network, size=size, scale=scale, args=parse_args(args), key=key))
    return 0


@app.command
def report(
    study: str,
    /,
    *others: Annotated[str, Parameter(help="a second study: both on one page, side by side where samples or networks are the same")],
    against: Against = None,
    out: Annotated[str | None, Parameter(help="folder or prefix for the page of two studies [default: comparison]")] = None,
) -> int:
    """Rewrite the study's report, STUDY/report/index.html; of two studies, write a page that compares them."""
    if not others:
        if out is not None:
            raise StudyError("--out is for the page of two studies; that of one is in the study")
        say(f"report: {_write_report(study, against)}")
        return 0
    if len(others) > 1:
        raise StudyError(f"xlli report compares two studies; {1 + len(others)} were given: {', '.join([study, *others])}")
    if against is not None:
        raise StudyError("--against is for the page of one study; of two, each network is compared with itself")
    from xlli_ray.report.comparison.write_comparison import write_comparison

    say(f"report: {write_comparison(study, others[0], out or 'comparison')}")
    return 0


@app.command
def view(
    study: str,
    /,
    *,
    port: Annotated[int | None, Parameter(help="of 127.0.0.1 [default: any that is free]", validator=Number(gte=1, lte=65535))] = None,
    no_browser: Annotated[bool, Parameter(help="print the link only", **OFF)] = False,
) -> int:
    """Explore a study in the browser, also one in a bucket: every sample and array, served on this machine until Ctrl-C."""
    from xlli_ray.report.view_server.view import view as serve

    serve(study, port or 0, browser=not no_browser)
    return 0


@app.command
def train(
    recipe: Path,
    /,
    *,
    out: Annotated[str, Parameter(help="folder, or s3://, gs://, az:// prefix, for checkpoints, curves and models.yaml")],
    workers: Annotated[
        int | None, Parameter(help="concurrent trainings, in worker processes; 0 trains sequentially in this process [default: 0, or a "
                                   "worker on each of several GPUs]")
    ] = None,
    address: Address = None,
    device: Device = "auto",
    gpus_per_worker: Share = 0.0,
    set_: Set = (),
    takeover: Annotated[bool, Parameter(help="take the study over from a run that is still alive", **OFF)] = False,
    metrics: Metrics = None,
    quiet: Annotated[bool, Parameter(**OFF)] = False,
) -> int:
    """Train small networks for causal experiments (a recipe with `train:`, optionally `grid:` and `sweep:`), or resume where it stopped."""
    from xlli_ray.engine.run.training_runner import train_recipe

    # at an address without a number: one training on each slot of the cluster
    options = _options(workers=(workers or None) if address else workers, address=address, device=device, gpus_per_worker=gpus_per_worker,
                       takeover=takeover, metrics=metrics, quiet=quiet)  # fmt: skip
    summary = train_recipe(recipe, out, overrides=set_, options=options, say=None if quiet else say)
    for note in summary.notes:
        say(f"note: {note}")
    say(f"models: {summary.models}")
    say(f"report: {_write_report(out)}")
    for name, why in summary.failed.items():
        say(f"FAILED {name}: {why}", sys.stderr)
    return 1 if summary.failed else 0


app.command(submit)
app.command(stop)


@app.command
def doctor(study: str | None = None, /) -> int:
    """Check the environment: versions, Ray, GPU, built-in weights, known traps, and whether a study folder can be used."""
    from xlli_ray.report.doctor import examine

    lines, ill = examine(study)
    for line in lines:
        say(line)
    return 1 if ill else 0
