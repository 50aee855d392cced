"""Everything that a recipe can name, and the location of its code.

A registry maps names to `module:attribute`; nothing is imported before it is needed, so that the recipe's schema and `--help` stay
fast. There are three kinds of entries:

- a line below, for built-in ones;
- an entry point of an installed package, without changes here::

      [project.entry-points."xlli_ray.degradations"]
      rain = "my_package.rain:Rain"

- a place in a recipe, `my_package.rain:Rain` or `rain.py:Rain` (`user_code`).
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, MutableMapping
from functools import cache, cached_property, lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

from xlli_ray.errors import RecipeError, closest
from xlli_ray.user_code import PLACE, is_allowed, load_place

MODULE = re.compile(r"[A-Za-z_][\w.]*")


class Registry(MutableMapping[str, str]):
    """Names of one kind → `module:attribute`, or → a module if `modules`. `group` is the entry points' group, `noun` their name in
    messages."""

    def __init__(self, group: str, noun: str, entries: dict[str, str], *, modules: bool = False) -> None:
        self.group, self.noun = group, noun
        self._entries, self._pattern = entries, MODULE if modules else PLACE

    @cached_property
    def _installed(self) -> dict[str, tuple[EntryPoint, ...]]:
        """Entry points of installed packages by name, the one that counts last; also those whose value has the wrong form. They cannot
        override built-in names."""
        points: dict[str, dict[str, EntryPoint]] = {}
        for entry in sorted(_entry_points(tuple(sys.path)).select(group=self.group), key=lambda entry: (self._fits(entry), entry.value)):
            if entry.name not in self._entries:
                points.setdefault(entry.name, {})[entry.value] = entry  # the same package may be on the import path twice
        return {name: tuple(places.values()) for name, places in sorted(points.items())}

    def _fits(self, entry: EntryPoint) -> bool:
        return self._pattern.fullmatch(entry.value) is not None

    def __getitem__(self, name: str) -> str:
        if name in self._entries:
            return self._entries[name]
        entry = self._installed[name][-1]
        if not self._fits(entry):
            raise KeyError(name)
        return entry.value

    def __setitem__(self, name: str, place: str) -> None:
        self._entries[name] = place

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._entries
        yield from (name for name, entries in self._installed.items() if name not in self._entries and self._fits(entries[-1]))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def knows(self, name: str) -> bool:
        """Whether `name` can be loaded: it is registered, or a place that this process may import."""
        return name in self or is_allowed(name)

    def misformed(self, name: str) -> bool:
        """Whether an installed package has an entry point of this name whose value this registry cannot take; `in` is false then."""
        return name not in self and name in self._installed

    def check_form(self, name: str) -> None:
        """Raise RecipeError for a name that is `misformed`, or that several packages define, with entry points and packages."""
        entries = () if name in self._entries else self._installed.get(name, ())
        if len(entries) > 1:
            told = " and ".join(f"`{entry.value}` of package {_package(entry)}" for entry in entries)
            raise RecipeError(
                f"{self.noun} {name!r}: installed packages have several entry points of this name, {told}. Uninstall one, or name the "
                "location itself in the recipe."
            )
        if not self.misformed(name):
            return
        entry = entries[-1]
        form = "package.module, without a class or function" if self._pattern is MODULE else "package.module:Name"
        way_out = f" A recipe may also name {entry.value} itself." if PLACE.fullmatch(entry.value) else ""
        raise RecipeError(
            f"{self.noun} {name!r}: the entry point `{name} = {entry.value}` of package {_package(entry)}, group {self.group}, has the "
            f"wrong form; expected {form}. Fix it in that package and install it again.{way_out}"
        )

    def load(self, name: str) -> Any:
        """The object named `name`. Raises RecipeError with the nearest names, or with the reason why a place cannot be used."""
        self.check_form(name)
        if name not in self and not PLACE.fullmatch(name):
            near = closest(name, self, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise RecipeError(f"there is no {self.noun} {name!r}. {hint}There are: {', '.join(sorted(self))}; or package.module:Name.")
        if not self.knows(name):
            raise RecipeError(
                f"{self.noun} {name!r} is code that none of your recipes names: it is not run. Its results can be read; to compute with it "
                "run a recipe that names it."
            )
        if name not in self:
            return load_place(self.noun, name)
        module, _, attribute = self[name].partition(":")
        try:
            return getattr(import_module(module), attribute) if attribute else import_module(module)
        except (ImportError, AttributeError) as error:
            raise RecipeError(f"{self.noun} {name!r} cannot be loaded: {error}. Is its package installed here?") from error

    def version(self, name: str) -> int:
        """VERSION of what `name` names. Code of this package is not imported for it (`declared_version`). Raises RecipeError as `load`."""
        declared = declared_version(self._entries.get(name, ""))
        return int(self.load(name).VERSION) if declared is None else declared


def declared_version(place: str) -> int | None:
    """VERSION of a module of this package, or of a class in one (`module:Class`), read from its source, so that a study that has
    everything loads no torch only to see that nothing changed. None if that does not say: the code has to be imported."""
    module, _, attribute = place.partition(":")
    package = __package__.partition(".")[0]
    if module.partition(".")[0] != package or module in sys.modules:
        return None
    path = Path(__file__).parent.joinpath(*module.split(".")[1:])
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    try:
        stamp = path.stat()
    except OSError:
        return None
    said = _said_version(path, attribute, (stamp.st_mtime_ns, stamp.st_size))
    if isinstance(said, str):
        return int(known.VERSION) if (known := sys.modules.get(said)) is not None else declared_version(said)
    return said


@cache
def _said_version(path: Path, attribute: str, stamp: tuple[int, int]) -> int | str | None:
    """VERSION that a source file says for itself, or for its class `attribute`; the name of the module whose VERSION it takes; None if it
    does not say. `stamp`: of the file as it is now."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError):
        return None
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    body: list[ast.stmt] = tree.body
    found = classes.get(attribute)
    while found is not None:  # the class, or the one of this file that it extends
        body = found.body
        base = next((base.id for base in found.bases if isinstance(base, ast.Name)), "")
        found = None if any(map(_says_version, body)) else classes.get(base)
    value = next((node.value for node in body if isinstance(node, ast.Assign | ast.AnnAssign) and _says_version(node)), None)
    if isinstance(value, ast.Constant) and type(value.value) is int:
        return value.value
    if isinstance(value, ast.Attribute) and value.attr == "VERSION" and isinstance(value.value, ast.Name):  # that of a module it imports
        name = value.value.id
        for line in tree.body:
            if isinstance(line, ast.ImportFrom) and line.module and any(alias.name == name for alias in line.names):
                return f"{line.module}.{name}"
    return None


def _says_version(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id == "VERSION" for target in targets)


@lru_cache(maxsize=1)
def _entry_points(path: tuple[str, ...]) -> Any:
    """Those of all packages on the import path: all are read for one group."""
    return entry_points()


def version_of(package: str) -> str:
    """The version of an installed package; of this one also where it runs from its source folder. Raises PackageNotFoundError."""
    try:
        return version(package)
    except PackageNotFoundError:
        from xlli_ray import __version__

        if package == "xlli_ray":
            return __version__
        raise


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "unknown"


CORPORA = Registry(
    "xlli_ray.corpora", "corpus kind",
    {
        "images": "xlli_ray.corpus.kinds.images:Images",
        "inputs": "xlli_ray.corpus.kinds.inputs:Inputs",
        "pairs": "xlli_ray.corpus.kinds.pairs:Pairs",
        "list": "xlli_ray.corpus.kinds.listed:Listed",
        "clips": "xlli_ray.corpus.kinds.clips:Clips",
        "motion": "xlli_ray.corpus.kinds.motion:MotionClips",
    },
)  # fmt: skip
"""Sources of samples, by the key of the section `corpus`."""
DEGRADATIONS = Registry(
    "xlli_ray.degradations", "degradation",
    {
        "blur": "xlli_ray.corpus.degradations.blur:Blur",
        "rain": "xlli_ray.corpus.degradations.rain:Rain",
        "noise": "xlli_ray.corpus.degradations.noise:Noise",
        "jpeg": "xlli_ray.corpus.degradations.jpeg:Jpeg",
    },
)  # fmt: skip
PROBES = Registry(
    "xlli_ray.probes", "stage",
    {
        "restore": "xlli_ray.probes.restore:Restore",
        "features": "xlli_ray.probes.features:Features",
        "gram": "xlli_ray.probes.gram:Gram",
        "inputs": "xlli_ray.probes.inputs:Inputs",
        "complexity": "xlli_ray.probes.complexity:Complexity",
        "lam": "xlli_ray.probes.lam.probe:Lam",
        "cem": "xlli_ray.probes.cem.probe:Cem",
        "deletion": "xlli_ray.probes.deletion.probe:Deletion",
        "infidelity": "xlli_ray.probes.infidelity.probe:Infidelity",
        "derain": "xlli_ray.probes.derain:Derain",
        "flow": "xlli_ray.probes.flow.probe:Flow",
        "alignment_error": "xlli_ray.probes.alignment_error:AlignmentError",
        "motion_error": "xlli_ray.probes.motion_error:MotionError",
    },
)  # fmt: skip
"""Probes, by the kind of their stage."""
ANALYSES = Registry(
    "xlli_ray.analyses", "analysis",
    {
        "alignment_summary": "xlli_ray.analyses.alignment_summary.analysis:AlignmentSummary",
        "complexity_summary": "xlli_ray.analyses.complexity_summary.analysis:ComplexitySummary",
        "ddr": "xlli_ray.analyses.ddr.analysis:Ddr",
        "derain_summary": "xlli_ray.analyses.derain_summary.analysis:DerainSummary",
        "faithfulness": "xlli_ray.analyses.faithfulness.analysis:Faithfulness",
        "group_means": "xlli_ray.analyses.group_means.analysis:GroupMeans",
        "lam_summary": "xlli_ray.analyses.lam_summary.analysis:LamSummary",
        "srga": "xlli_ray.analyses.srga.analysis:Srga",
    },
)  # fmt: skip
"""Analyses, by the kind of their stage."""
NETWORKS = Registry(
    "xlli_ray.networks", "network",
    {
        "srresnet": "xlli_ray.models.networks.srresnet",
        "resnet": "xlli_ray.models.networks.resnet",
        "unet": "xlli_ray.models.networks.unet",
        "swinir_small": "xlli_ray.models.networks.swinir_small",
        "classifier": "xlli_ray.models.networks.classifier",
        "imdn": "xlli_ray.models.networks.imdn",
        "rfdn": "xlli_ray.models.networks.rfdn",
        "rlfn": "xlli_ray.models.networks.rlfn",
        "carn_m": "xlli_ray.models.networks.carn_m",
        "ffdnet": "xlli_ray.models.networks.ffdnet",
        "basicvsr": "xlli_ray.models.networks.basicvsr",
        "mobile_rrn": "xlli_ray.models.networks.mobile_rrn",
        "vespcn": "xlli_ray.models.networks.vespcn",
        "psrt": "xlli_ray.models.networks.psrt:RECURRENT",
        "psrt_sliding": "xlli_ray.models.networks.psrt:SLIDING",
        "prenet": "xlli_ray.models.networks.prenet:PRENET",
        "prenet_r": "xlli_ray.models.networks.prenet:PRENET_R",
        "prn": "xlli_ray.models.networks.prenet:PRN",
        "prn_r": "xlli_ray.models.networks.prenet:PRN_R",
        "drn": "xlli_ray.models.networks.prenet:DRN",
        "brn": "xlli_ray.models.networks.brn",
        "can_derain": "xlli_ray.models.networks.can_derain",
    },
    modules=True,
)  # fmt: skip
"""Networks whose widths and depths are inferred from their weights: a name is a module (`models.networks`), not a class in one; of a
family in one file, an object there with the same parts."""
ALIGNMENTS = Registry(
    "xlli_ray.alignments", "alignment",
    {
        "none": "xlli_ray.models.alignment.none:Unaligned",
        "image": "xlli_ray.models.alignment.warp:ImageWarp",
        "bilinear": "xlli_ray.models.alignment.warp:Bilinear",
        "nearest": "xlli_ray.models.alignment.warp:Nearest",
        "bicubic": "xlli_ray.models.alignment.warp:Bicubic",
        "patch": "xlli_ray.models.alignment.patch:Patch",
        "nearest4": "xlli_ray.models.alignment.nearest4:Nearest4",
        "fgdc": "xlli_ray.models.alignment.fgdc:FlowGuided",
    },
)  # fmt: skip
"""How a network for video brings a supporting frame onto the grid of the current one: the argument `alignment` of a network."""
LAM_PATHS = Registry(
    "xlli_ray.lam_paths", "path",
    {
        "blur": "xlli_ray.probes.lam.path_choices:Blur",
        "linear_black": "xlli_ray.probes.lam.path_choices:Black",
        "linear_mean": "xlli_ray.probes.lam.path_choices:Mean",
        "linear_blurred": "xlli_ray.probes.lam.path_choices:Blurred",
        "pair": "xlli_ray.probes.lam.path_choices:Pair",
    },
)  # fmt: skip
"""Baselines of `lam`, and the paths from them to the image."""
LAM_METHODS = Registry(
    "xlli_ray.lam_methods", "method",
    {
        "path": "xlli_ray.probes.lam.method_choices:Integral",
        "gradient_input": "xlli_ray.probes.lam.gradient_input:GradientInput",
        "smoothgrad": "xlli_ray.probes.lam.smoothgrad:SmoothGrad",
        "occlusion": "xlli_ray.probes.lam.occlusion:Occlusion",
    },
)  # fmt: skip
"""Methods of `lam`: along a path, or others to compare it with."""
FLOW_ESTIMATORS = Registry(
    "xlli_ray.flow_estimators", "flow estimator",
    {
        "dis": "xlli_ray.probes.flow.dis:Dis",
        "farneback": "xlli_ray.probes.flow.farneback:Farneback",
        "phase": "xlli_ray.probes.flow.phase:Phase",
        "spynet": "xlli_ray.probes.flow.spynet:Spynet",
        "known": "xlli_ray.probes.flow.known:Known",
    },
)  # fmt: skip
"""Estimators of motion, of the stage `flow`."""
METRICS = Registry(
    "xlli_ray.metrics", "metric",
    {
        "psnr_y": "xlli_ray.probes.metrics.psnr_ssim:PsnrY",
        "ssim_y": "xlli_ray.probes.metrics.psnr_ssim:SsimY",
        "psnr_rgb": "xlli_ray.probes.metrics.psnr_ssim:PsnrRgb",
        "lpips": "xlli_ray.probes.metrics.pyiqa:Lpips",
        "dists": "xlli_ray.probes.metrics.pyiqa:Dists",
        "niqe": "xlli_ray.probes.metrics.pyiqa:Niqe",
    },
)  # fmt: skip
"""Metrics of `restore`."""
SECTIONS = Registry(
    "xlli_ray.sections", "page section",
    {
        "complexity": "xlli_ray.report.sections.complexity_table:complexity_section",
        "cem": "xlli_ray.report.sections.cem_gallery:cem_section",
        "lam": "xlli_ray.report.sections.lam_gallery:lam_section",
        "alignment_error": "xlli_ray.report.sections.operator_table:operator_section",
        "derain": "xlli_ray.report.sections.derain_gallery:derain_section",
    },
)  # fmt: skip
"""Additional sections of a page, by the kind of probe or analysis, for kinds without a section of their own (`report.section`)."""
VIEWERS = Registry(
    "xlli_ray.viewers", "viewer",
    {
        "study": "xlli_ray.report.notebook.views:view_study",
        "lam": "xlli_ray.report.notebook.views:view_lam",
        "cem": "xlli_ray.report.notebook.views:view_cem",
    },
)  # fmt: skip
"""What `view()` opens in a notebook: the report knows studies, so that they name it here."""
