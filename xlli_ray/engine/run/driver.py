"""The driver: lease → scan → plan → units → tables → analyses. Its only state is the records; kill it and run the same command again.

Errors of the environment stop the run at once and mark nothing; lost workers are handled in `units`.

Modules that need torch are imported inside functions: while torch loads, and during planning, a private Ray starts in parallel (`pools`);
in a study of seconds torch loads in its worker alone (`network_process`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from xlli_ray.analyses.shared.freshness import check_asked
from xlli_ray.analyses.shared.remembered_means import means
from xlli_ray.corpus.kinds import kind_of
from xlli_ray.engine.events import Events
from xlli_ray.engine.options import Options
from xlli_ray.engine.pools.local import Pool
from xlli_ray.engine.pools.placement import place
from xlli_ray.engine.pools.run_pool import Pools, default_workers
from xlli_ray.engine.pools.slots import check_cluster
from xlli_ray.engine.run.allowed_models import admitted, make_gate
from xlli_ray.engine.run.analysis_runner import asked, run_analyses
from xlli_ray.engine.run.array_documents import create_arrays, finish, forget_replaced
from xlli_ray.engine.run.baseline_entry import baseline_entries
from xlli_ray.engine.run.brief_study import first_files, is_brief, is_momentary, seems_brief
from xlli_ray.engine.run.corpus_files import CorpusFiles
from xlli_ray.engine.run.kind_records import kind_records
from xlli_ray.engine.run.known_models import known_models, notes_on
from xlli_ray.engine.run.long_units import long_units
from xlli_ray.engine.run.measurable_samples import check_fit
from xlli_ray.engine.run.network_process import Apart, is_foreign
from xlli_ray.engine.run.plan import Plan, check_limits, with_models
from xlli_ray.engine.run.plan_apart import device_of, plan_apart
from xlli_ray.engine.run.plan_mark import plan_mark
from xlli_ray.engine.run.precheck import check_names, check_replace, checked, new_stages
from xlli_ray.engine.run.repair import set_free
from xlli_ray.engine.run.scan_runner import remarks, scan_corpus
from xlli_ray.engine.run.session import session, sweep
from xlli_ray.engine.run.study_weights import keep_models
from xlli_ray.engine.run.units import count_units, pending_jobs, run_units
from xlli_ray.engine.worker.environment import check_kind, device_name, version_changes, versions
from xlli_ray.engine.worker.tasks import WorkerSpec
from xlli_ray.errors import EnvironmentFailure, PlanError
from xlli_ray.recipe import Recipe
from xlli_ray.registry import CORPORA
from xlli_ray.store.archive import Archive
from xlli_ray.store.objects.client import Objects
from xlli_ray.store.records.checksum_root import write_root
from xlli_ray.store.records.documents import load_manifest, save_manifest
from xlli_ray.store.records.lease import Lease
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.manifest import Cell, Manifest, ModelRecord
from xlli_ray.store.records.unit_records import DamagedRecord, unfinished
from xlli_ray.store.zarr.layout import ROOT

DEVICE_SECONDS = 20.0
"""Seconds for a worker of a cluster to report its GPU."""


@dataclass(frozen=True)
class Summary:
    """Summary of a run."""

    study: str
    samples: int
    rejected: int
    units: int
    units_run: int
    failed: int
    added: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)
    analyses: tuple[str, ...] = ()
    """Ids of the analyses run."""
    analyses_failed: tuple[tuple[str, str], ...] = ()
    """(id, reason) of those that failed; everything else is done."""
    flags: tuple[str, ...] = ()
    """Warnings of the results."""
    measurements: int = 0
    """Samples, counted once for each model that measures them, as `failed` counts."""

    @property
    def complete(self) -> bool:
        """Whether there was nothing to do."""
        return self.units_run == 0 and not self.analyses and not self.analyses_failed


def _apart(recipe: Recipe, objects: Objects, spec: WorkerSpec) -> Apart:
    return Apart(objects, foreign=is_foreign([model.network for model in recipe.models]), paths=spec.paths)


def scan_study(recipe: Recipe, out: str, options: Options) -> Manifest:
    """Scan only. Returns the manifest with its sample table."""
    with session(out, replace(options, device="cpu", gpus_per_worker=0.0), recipe.threads) as (objects, lease, events, spec, options):
        events.event("start", what="scan", command=options.command, epoch=lease.epoch)
        pools = Pools(options, spec, objects, ())
        try:
            manifest = _scanned(recipe, CorpusFiles(recipe.corpus), objects, lease, events, pools, options, again=True)
            write_root(objects, lease.epoch)
            return manifest
        finally:
            pools.close()


def plan_study(recipe: Recipe, out: str, options: Options, *, adopt: bool = False) -> tuple[Manifest, Plan]:
    """Scan if needed, in this process, and plan for the device of a run with these options; computes no units. `adopt`: the plan becomes
    that of the study, within the limits, and its arrays are created; without it limits are ignored and the study keeps its plan."""
    from xlli_ray.engine.run.projection import timed

    with session(out, options, recipe.threads, begun=_planned_for, samples_alone=_samples_alone(recipe)) as (
        objects, lease, events, spec, options,
    ):  # fmt: skip
        events.event("start", what="plan", command=options.command, epoch=lease.epoch)
        apart = _apart(recipe, objects, spec)
        pools = Pools(replace(options, workers=0), spec, objects, ())
        try:
            records = _checked(recipe, objects, load_manifest(objects), options, apart)
            manifest = _scanned(recipe, CorpusFiles(recipe.corpus), objects, lease, events, pools, options)
            recipe, records = _with_baseline(recipe, objects, manifest, records, apart)
            manifest, plan = _planned(recipe, objects, manifest, options, spec, records, apart)
            listed = Listing(objects)
            todo = [cell for cell in plan.cells if cell.id not in plan.kept or unfinished(listed, [cell])]
            plan = replace(plan, notes=(*plan.notes, *long_units(recipe, todo, plan.kept)))
            if adopt:
                check_limits(plan, recipe, workers=1)
                forget_replaced(listed, plan)
                manifest = save_manifest(objects, manifest, epoch=lease.epoch)
                create_arrays(Archive(objects, manifest, listed), plan)
            write_root(objects, lease.epoch)
            return manifest, replace(plan, timed=timed(apart, manifest, [model.id for model in recipe.models], threads=recipe.threads))
        finally:
            apart.close()
            pools.close()


def run_study(recipe: Recipe, out: str, options: Options, *, ahead: Callable[[], None] | None = None) -> Summary:
    """Run a recipe to completion, computing only what is missing. `ahead` loads what the caller will need after it: it is called in a
    thread while this process only waits for workers, if it does."""
    with session(out, options, recipe.threads, begun=_planned_for, samples_alone=_samples_alone(recipe)) as (
        objects, lease, events, spec, options,
    ):  # fmt: skip
        events.event("start", command=options.command, epoch=lease.epoch, versions=versions())
        apart = _apart(recipe, objects, spec)
        files = CorpusFiles(recipe.corpus)
        pools = Pools(options, spec, objects, first_files(files) if options.address is not None else (), notice=events.notice)
        try:
            before, listed = load_manifest(objects), Listing(objects)
            if before is None or before.samples is None or unfinished(listed, before.cells):
                pools.warm(brief=seems_brief(files, before, options.limit))
                if pools.without_ray:
                    apart.lend(pools)
                    if ahead is not None:
                        pools.meanwhile(ahead)
            records = _checked(recipe, objects, before, options, apart)
            notes: list[str] = []
            manifest = _scanned(recipe, files, objects, lease, events, pools, options, again=options.retry_failed, notes=notes)
            del files  # perhaps of ten million
            recipe, records = _with_baseline(recipe, objects, manifest, records, apart)
            manifest, plan = _planned(recipe, objects, manifest, options, spec, records, apart)
            apart.close()
            gate = make_gate(manifest.model(entry.id) for entry in recipe.models)
            workers = options.workers if options.workers is not None else default_workers(options, recipe.threads)
            check_limits(plan, recipe, workers=workers)
            if not is_brief(plan):
                pools.outgrow()
            elif not is_momentary(plan):
                pools.fill()
            listed.look_again()  # reading the corpus and planning may have taken hours
            forget_replaced(listed, plan)  # before the new plan is saved: if killed here, the old one is computed again
            manifest = save_manifest(objects, manifest, epoch=lease.epoch)
            archive = Archive(objects, manifest, listed)
            create_arrays(archive, plan)
            wanted, waiting = admitted(gate, plan.cells)
            notes += _waiting(listed, waiting)
            jobs = pending_jobs(listed, wanted, gate, retry_failed=options.retry_failed)
            run = len(jobs)
            todo = {name for job in jobs for name in job.cells}
            notes += long_units(recipe, [cell for cell in wanted if cell.id in todo], plan.kept)
            events.event("planned", units=count_units(wanted), missing=run)
            changes = version_changes(before.versions) if before is not None and before.cells and jobs else []
            if jobs:
                check_kind(manifest.device, options.device)
                # A run that stopped at an error released its lease, but may have killed workers in the middle of a shard or record.
                sweep(objects, ROOT, "records")
                if run_units(archive, jobs, pools, events, lease):
                    lease.check()
                    sweep(objects, ROOT, "records")
            pools.cool()
            try:
                failed = finish(archive, lease)
            except DamagedRecord:  # bytes that changed since they were written: run these units again
                notes += [f"{key}: damaged, its units were computed again" for key in set_free(listed, plan.cells)]
                jobs = pending_jobs(listed, wanted, gate)
                run += len(jobs)
                others = Pools(options, spec, objects, (), notice=events.notice)
                others.warm(brief=is_brief(plan))
                try:
                    run_units(archive, jobs, others, events, lease)
                finally:
                    others.close()
                failed = finish(archive, lease)
            ran = run_analyses(
                archive, asked(recipe.analyses), events, check=lease.check, again=options.replace, threads=recipe.threads
            )
            below = means(archive, keep=True).below
            write_root(objects, lease.epoch)
            assert manifest.samples is not None
            summary = Summary(
                objects.url, manifest.samples.rows, manifest.samples.rejected, count_units(plan.cells), run, failed,
                plan.added, (*notes, *changes, *plan.notes), ran.run, ran.failed, (*below, *ran.flags), manifest.measurements,
            )  # fmt: skip
            events.event("complete", **{k: v for k, v in summary.__dict__.items() if isinstance(v, int | str)})
            return summary
        finally:
            apart.close()
            pools.close()


def workers_of(recipe: Recipe, manifest: Manifest, options: Options) -> int:
    """Number of workers of a run of this recipe on this machine, with the device of the plan."""
    placed = place(options, threads=recipe.threads, begun=lambda: manifest.device, samples_alone=_samples_alone(recipe))
    return default_workers(options, recipe.threads) if placed.workers is None else max(1, placed.workers)


def _samples_alone(recipe: Recipe) -> bool:
    """Whether no stage runs a network."""
    return all(stage.without_model for stage in recipe.measured().stages)


def _planned_for(objects: Objects) -> str:
    """The device in the plan of a study that has cells, else ''."""
    manifest = load_manifest(objects)
    return manifest.device if manifest is not None and manifest.cells else ""


def _waiting(records: Listing, cells: Sequence[Cell]) -> list[str]:
    """A note on the units of models and stages that only the study names: they are not built (`gate`)."""
    names = dict.fromkeys(cell.model or cell.stage for cell in cells if unfinished(records, [cell]))
    if not names:
        return []
    return [f"units of {', '.join(names)} wait for a recipe that names their models and stages: what only a study names is not built"]


def _scanned(
    recipe: Recipe, files: CorpusFiles, objects: Objects, lease: Lease, events: Events, pools: Callable[[], Pool], options: Options, *,
    again: bool = False, notes: list[str] | None = None,
) -> Manifest:  # fmt: skip
    """The study's manifest with the sample table of this recipe's corpus. `again`, `notes`: see `scan_corpus`."""
    manifest = load_manifest(objects)
    if manifest is not None and manifest.name != recipe.name:
        raise PlanError(
            f"{objects.url} holds the study {manifest.name!r}, the recipe is {recipe.name!r}: use another --out, or rename the recipe"
        )
    known = manifest.samples if manifest else None
    if manifest is not None and manifest.cells and known is not None:
        _same_corpus(objects, recipe, manifest, options)
    fixed = bool(manifest is not None and manifest.cells)
    table = scan_corpus(
        objects, recipe, files, pools, events, stop=lease.check, epoch=lease.epoch, limit=options.limit, known=known, fixed=fixed,
        again=again, notes=notes,
    )  # fmt: skip
    base = manifest or Manifest(name=recipe.name, seed=recipe.seed, recipe={}, samples=None)
    manifest = replace(
        base, seed=recipe.seed, recipe=recipe.dump(), samples=table, versions=versions(), command=options.command
    )
    if not fixed:  # a study with cells only changes once the plan is accepted
        manifest = save_manifest(objects, manifest, epoch=lease.epoch)
    return manifest


def _same_corpus(objects: Objects, recipe: Recipe, manifest: Manifest, options: Options) -> None:
    """Refuse a different corpus for a study with cells, naming the changed field, before anything is overwritten."""
    old = manifest.recipe
    if old.get("seed") != recipe.seed:
        raise PlanError(f"{objects.url}: seed was {old.get('seed')}, is now {recipe.seed}: use a new --out")
    now, then = _without_places(recipe.dump()["corpus"]), _without_places(old.get("corpus", {}))
    fixed = [key for key in now if now[key] != then.get(key)]
    if fixed:
        key = fixed[0]
        raise PlanError(
            f"{objects.url}: corpus.{key} was {then.get(key)!r}, is now {now[key]!r}: its samples would differ. Use a new --out."
        )


def _without_places(corpus: Mapping[str, Any]) -> dict[str, Any]:
    """The corpus without locations of files, which may change (another mount); what is made from them may not."""
    out = {key: kind_of(key).fixed(value) if value and CORPORA.knows(key) else value for key, value in corpus.items()}
    out = {key: value for key, value in out.items() if value is not None or not CORPORA.knows(key)}
    if out.get("pies"):
        out["pies"] = {**out["pies"], "real": list(out["pies"]["real"])}
    return out


def _checked(recipe: Recipe, objects: Objects, before: Manifest | None, options: Options, apart: Apart) -> list[ModelRecord]:
    """The models, with their weights stored, after checking everything that does not depend on the corpus: before an image is read.

    A study that has them and all cells needs no torch for that.
    """
    named = {model.id for model in recipe.models}
    beside = {model.id for model in (before.models if before else ()) if model.entry.get("baseline")} - named
    cells = [cell for cell in (before.cells if before is not None else ()) if cell.model not in beside]
    check_replace(options.replace, recipe, before.cells if before is not None else (), sorted(beside))
    known = known_models(objects, recipe, before.models) if before is not None and not apart.foreign else None
    if known is not None and not any(new_stages(recipe, known, cells)):
        checked(objects, recipe, known, existing=cells, seed=recipe.seed)
        return known
    records = keep_models(objects, recipe, before.models if before is not None else (), apart)
    apart(checked, recipe, records, existing=cells, seed=recipe.seed)
    return records


def _with_baseline(
    recipe: Recipe, objects: Objects, manifest: Manifest, records: list[ModelRecord], apart: Apart
) -> tuple[Recipe, list[ModelRecord]]:
    """Recipe and records with the baseline of this corpus. The study stores the recipe without it."""
    assert manifest.samples is not None
    entries = baseline_entries(recipe, manifest.samples, records, manifest.models)
    if not entries:
        return recipe, records
    only = recipe.model_copy(update={"models": entries})
    kept = known_models(objects, only, manifest.models)
    if kept is None:
        kept = keep_models(objects, only, manifest.models, apart)
    return recipe.model_copy(update={"models": [*recipe.models, *entries]}), [*records, *kept]


def _planned(
    recipe: Recipe, objects: Objects, manifest: Manifest, options: Options, spec: WorkerSpec, records: Sequence[ModelRecord], apart: Apart
) -> tuple[Manifest, Plan]:
    device = "any" if options.any_device else _planned_device(manifest, options, spec, apart)
    assert manifest.samples is not None
    mark = plan_mark(recipe, manifest, records, device)
    notes = tuple(remarks(recipe.corpus, manifest.samples)) if options.limit is None else ()
    notes += tuple(notes_on(records))
    if mark == manifest.planned and not options.replace:
        plan = Plan(manifest.cells, kept=tuple(cell.id for cell in manifest.cells), notes=notes)
        kept = replace(manifest, models=with_models(records, manifest.models))
        return kept, replace(plan, notes=(*plan.notes, *check_fit(Archive(objects, kept)), *check_asked(asked(recipe.analyses), kept)))
    plan = plan_apart(
        apart, recipe.measured(), manifest.samples, records, existing=manifest.cells, device=device, replace_ids=options.replace
    )
    check_names(objects, plan.cells)  # layers are also names of folders
    plan = replace(plan, notes=(*notes, *plan.notes))
    models = with_models(records, manifest.models)
    planned = replace(
        manifest, models=models, cells=plan.cells, device=device, planned=mark, kinds=kind_records(plan.cells, manifest.kinds)
    )
    unfit = check_fit(Archive(objects, planned), {*plan.added, *plan.replaced})
    return planned, replace(plan, notes=(*plan.notes, *unfit, *check_asked(asked(recipe.analyses), planned)))


def _planned_device(manifest: Manifest, options: Options, spec: WorkerSpec, apart: Apart) -> str:
    """The device model of the plan: the study's if it has cells, else this machine's (or the first GPU worker's)."""
    if manifest.cells:
        return manifest.device
    if spec.device.startswith("cuda") and options.address is not None and options.workers != 0:
        from xlli_ray.engine.pools.ray_pool import join

        join(options.address)
        import ray

        check_cluster(ray.nodes, f"the cluster at {options.address}", threads=1, gpus=options.gpus_per_worker)
        reply = ray.remote(num_gpus=options.gpus_per_worker)(device_name).remote(spec.device)
        try:
            return str(ray.get(reply, timeout=DEVICE_SECONDS))
        except ray.exceptions.GetTimeoutError as error:
            ray.cancel(reply, force=True)
            raise EnvironmentFailure(
                11, f"no GPU of the cluster at {options.address} became free within {DEVICE_SECONDS:.0f} s to determine its model: wait "
                "for others to end, or request a smaller --gpus-per-worker",
            ) from error  # fmt: skip
    return apart(device_of, options.device)
