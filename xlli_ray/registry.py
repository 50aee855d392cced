"""Everything that a recipe can name, and the location of its code.

A registry maps names to `module:attribute`; nothing is imported before it is needed, so that the recipe's schema and `--help` stay
fast. There are three kinds of entries:

- a line below, for built-in ones;
- an entry point of an installed package, without changes here::

      [project.entry-points."xlli_ray.degradations"]
      rain = "my_package.rain:Rain"

- a place in a recipe, `my_package.rain:Rain` or `rain.py:Rain`. Loading a name runs code, so such a name must have been allowed first,
  which only happens when a user's own recipe is read (`allow`): a study from elsewhere cannot name code to run.

A place is looked up like a network's factory, in this order: the recipe's folder, installed packages, the current folder. A file's folder
is at the front of the import path while it is imported, and only then, so that it may import its neighbours; neighbours of the same name in
two folders are two modules.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import importlib.util
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from xlli_ray.errors import RecipeError, XlliError, closest

PLACE = re.compile(r"(?:[A-Za-z_][\w.]*|[\w./~-]+\.py):[A-Za-z_]\w*")
"""`package.module:Name` or `FILE.py:Name`."""
MODULE = re.compile(r"[A-Za-z_][\w.]*")
_allowed: set[str] = set()
_folders: dict[str, str] = {}  # place → the folder of the last recipe that named it
_LOADED: dict[str, dict[str, ModuleType]] = {}  # folder → the modules imported from it
LOCK = threading.RLock()
"""Held while a user's code is imported: the import path and `sys.modules` are global."""


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
        for entry in sorted(entry_points(group=self.group), key=lambda entry: (self._fits(entry), entry.value)):
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
        return name in self or (name in _allowed and PLACE.fullmatch(name) is not None)

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
            return _load_place(self.noun, name)
        module, _, attribute = self[name].partition(":")
        try:
            return getattr(import_module(module), attribute) if attribute else import_module(module)
        except (ImportError, AttributeError) as error:
            raise RecipeError(f"{self.noun} {name!r} cannot be loaded: {error}. Is its package installed here?") from error


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "unknown"


def allow(names: Iterable[str | tuple[str, str]], folder: str = "") -> None:
    """Allow this process to import the places among `names`, looked up in `folder` first. Call only with names from the user's own recipe.
    Also accepts the result of `allowed`, pairs of a place and its folder."""
    for name in names:
        place, first = (name, folder) if isinstance(name, str) else name
        if PLACE.fullmatch(place):
            _allowed.add(place)
            _folders[place] = first


def allowed() -> tuple[tuple[str, str], ...]:
    """The places that this process may import, each with the folder where it is looked up first: to be passed to the workers of a run."""
    return tuple((place, _folders.get(place, "")) for place in sorted(_allowed))


def places_in(document: object) -> set[str]:
    """All strings in a recipe that look like a place: keys and values at any depth."""
    if isinstance(document, str):
        return {document} if PLACE.fullmatch(document) else set()
    if isinstance(document, Mapping):
        return {place for pair in document.items() for item in pair for place in places_in(item)}
    return {place for item in document for place in places_in(item)} if isinstance(document, list | tuple) else set()


def _load_place(noun: str, place: str) -> Any:
    path, _, attribute = place.rpartition(":")
    folder = _folders.get(place, "")
    what = f"{noun} {place!r}"
    places = list(dict.fromkeys([*([str(Path(folder).absolute())] if folder else []), str(Path.cwd())]))
    module, _, _ = find_module(what, path, places[0] if folder else None, places, RecipeError)
    if not hasattr(module, attribute):
        near = closest(attribute, [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise RecipeError(f"{what} cannot be loaded: {getattr(module, '__file__', path)} has no {attribute!r}.{hint}")
    return getattr(module, attribute)


def find_module(what: str, path: str, first: str | None, places: list[str], raises: type[XlliError]) -> tuple[ModuleType, str, str]:
    """Import the module `path` (`FILE.py` or `package.module`): the module, the place where it was found and the folder of its file, both
    "" for an installed one.

    `what`: its description in messages. `first`: the one of `places` that precedes installed packages. Raises `raises`, with the places
    searched, or the error of the import.
    """
    with LOCK:
        return _find_module(what, path, first, places, raises)


def _find_module(what: str, path: str, first: str | None, places: list[str], raises: type[XlliError]) -> tuple[ModuleType, str, str]:
    looked = " and ".join(places) or "no folder: this study had it among installed packages"
    try:
        if path.endswith(".py") or "/" in path:
            for place in places:
                file = Path(place, Path(path).expanduser())
                if file.is_file():
                    beside = str(file.parent.absolute())
                    return _from_file(file.resolve().stem, file, beside), place, beside
            raise raises(f"{what}: there is no file {path}; it was looked for in {looked}.")
        if path.partition(".")[0] == __package__.partition(".")[0]:
            return importlib.import_module(path), "", ""  # of this package: never a file of that name in a folder
        inside = Path(*path.split("."))
        # The current folder may be an untrusted study: installed packages precede it.
        before = [place for place in places if place == first]
        for place in [*before, "", *(place for place in places if place != first)]:
            if not place and _installed(path):
                break
            for file in (Path(place, inside).with_suffix(".py"), Path(place, inside, "__init__.py")) if place else ():
                if file.is_file():
                    return _from_file(path, file, place), place, place
        return importlib.import_module(path), "", ""
    except (XlliError, KeyboardInterrupt):
        raise
    except ModuleNotFoundError as error:
        if error.name and (path == error.name or path.startswith(f"{error.name}.")):
            name = what.rsplit(":", 1)[-1].strip("'") or "Name"
            raise raises(
                f"{what} cannot be imported: {said(error)}. It was looked for"
                + (f" as {inside}.py in {looked}, and" if places else "")
                + f" among installed packages. Write FILE.py:{'factory' if what.startswith('network') else name} with the path from the "
                "recipe's folder, or install the package."
            ) from error
        raise raises(f"{what} cannot be imported: it imports a missing module: {said(error)}.") from error
    except BaseException as error:  # importing a user's file can raise anything
        raise raises(f"{what} cannot be imported: {said(error)}.") from error


def said(error: BaseException) -> str:
    """The type of an error and the first line of its message."""
    text = (str(error).strip() or "no message").splitlines()[0][:300]
    return f"{type(error).__name__}: {text}"


def _installed(path: str) -> bool:
    """Whether the module's package is on the import path."""
    return importlib.machinery.PathFinder.find_spec(path.partition(".")[0]) is not None


def _from_file(name: str, file: Path, folder: str) -> ModuleType:
    """The module in `file`, imported as `name` if that name is free, or already is this file; else under a unique name."""
    wanted = file.resolve()
    with beside(folder):
        known = sys.modules.get(name)
        if known is not None and _file_of(known) == wanted:
            return known
        if known is None and all(part.isidentifier() for part in name.split(".")):
            module = importlib.import_module(name)
            if _file_of(module) == wanted:
                return module
        alias = f"_xlli_{hashlib.sha256(str(wanted).encode()).hexdigest()[:12]}_{wanted.stem}"
        if alias in sys.modules:
            return sys.modules[alias]
        spec = importlib.util.spec_from_file_location(alias, wanted)
        assert spec is not None  # the file ends in .py
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[alias] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[alias]
            raise
        return module


@contextmanager
def beside(folder: str) -> Iterator[None]:
    """Within the context, `folder` is first on the import path, and modules from other factories' folders are hidden."""
    if not folder:
        yield
        return
    with LOCK:
        away = {
            name: module
            for other, modules in _LOADED.items()
            if other != folder
            for name, module in modules.items()
            if sys.modules.get(name) is module
        }
        for name in away:
            del sys.modules[name]
        own = _LOADED.setdefault(folder, {})
        sys.modules.update(own)
        before = set(sys.modules.copy())
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        try:
            yield
        finally:
            if folder in sys.path:
                sys.path.remove(folder)
            own.update({name: module for name, module in sys.modules.copy().items() if name not in before and _below(module, folder)})
            for name, module in away.items():
                sys.modules.setdefault(name, module)


def _below(module: ModuleType, folder: str) -> bool:
    """Whether a module's file is in the folder, and not in a package installed below it."""
    file = _file_of(module)
    return file is not None and file.is_relative_to(Path(folder).resolve()) and "site-packages" not in file.parts


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if isinstance(file, str) else None


CORPORA = Registry(
    "xlli_ray.corpora", "corpus kind",
    {
        "images": "xlli_ray.corpus.kinds.images:Images",
        "inputs": "xlli_ray.corpus.kinds.inputs:Inputs",
        "pairs": "xlli_ray.corpus.kinds.pairs:Pairs",
        "list": "xlli_ray.corpus.kinds.listed:Listed",
        "clips": "xlli_ray.corpus.kinds.clips:Clips",
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
        "derain": "xlli_ray.probes.derain:Derain",
    },
)  # fmt: skip
"""Probes, by the kind of their stage."""
ANALYSES = Registry(
    "xlli_ray.analyses", "analysis",
    {
        "complexity_summary": "xlli_ray.analyses.complexity_summary.analysis:ComplexitySummary",
        "ddr": "xlli_ray.analyses.ddr.analysis:Ddr",
        "derain_summary": "xlli_ray.analyses.derain_summary.analysis:DerainSummary",
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
        "lam": "xlli_ray.report.sections.lam_gallery:lam_section",
        "derain": "xlli_ray.report.sections.derain_gallery:derain_section",
    },
)  # fmt: skip
"""Additional sections of a page, by the kind of probe or analysis, for kinds without a section of their own (`report.section`)."""
