"""What every probe in the registry must keep, whatever it measures (docs/extending.md walks through it).

A new probe is one file, one registry line, and one line in EXAMPLES.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel

from xlli_ray.corpus.size import Size
from xlli_ray.models.model import ClipModel, Model, frame_by_frame
from xlli_ray.probes import probe_class
from xlli_ray.probes.measurement import Batch, SetProbe, Staged
from xlli_ray.registry import PROBES
from xlli_ray.store.tables.study_tables import RESERVED

EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "restore": [{}, {"save": True}],
    "inputs": [{}, {"save": ["input", "target"]}],
    "features": [
        {"layers": ["head", "tail:input", "flat", "down"]},
        {"layers": ["head", "flat"], "dtype": "float32", "codec": "none"},
        {"layers": ["head", "flat"], "pool": "mean"},
        {"layers": ["head", "flat"], "pool": "moments", "dtype": "float32"},
        {"layers": ["head", "down", "flat"], "pool": {"stride": 3}},
    ],
    "cem": [
        {"windows": {"size": 6, "per_sample": 2}, "draws": {"first": 4, "most": 8}, "pool_size": 64},
        {"windows": [{"top": 2, "left": 3, "size": 4}], "block": 6, "rounded": False, "crop": "never", "draws": {"most": 4}},
    ],
    "deletion": [{"of": "lam"}, {"of": ["lam"], "baseline": "linear_mean", "random_orders": 1}],
    "infidelity": [{"of": "lam", "squares": 4, "noise": 2}, {"of": ["lam"], "squares": 3, "noise": 2, "sigma": 0.5}],
    "derain": [{}, {"mask": {"threshold": 50}, "save": True}, {"mask": "whole"}],
    "alignment_error": [{"border": 2}, {"operators": ["nearest", {"patch": {"size": 4}}], "gaps": [1, 3], "border": 0}],
    "complexity": [{"patches": 4}, {"patches": 9, "crop": 20}],
    "flow": [{}, {"estimator": "farneback", "args": {"window": 9}}, {"estimator": "phase", "args": {"tile": 8}}],
    "motion_error": [{}, {"scored": "all", "colour": "y", "span": 1, "border": 0}, {"scored": [0, 3]}],
    "gram": [{"layers": ["head", "tail:input", "flat", "down"]}],
    "lam": [
        {"nodes": 3, "windows": {"size": 6, "per_sample": 3}},
        {"nodes": 2, "windows": {"size": 8, "choose": "grid"}, "controls": ["randomised_weights", "shifted_window"], "signed": True},
        {"mode": "paper", "windows": [{"top": 2, "left": 3, "size": 4}], "objective": {"channel": 1}},
        {"tolerance": 0.3, "windows": {"size": 6, "per_sample": 1}, "path": "linear_mean", "objective": "error", "crop": "never"},
        {"gates": "averaged", "nodes": 3, "windows": {"size": 6, "per_sample": 2}, "signed": True},
        {"method": "gradient_input", "windows": {"size": 6, "per_sample": 2}, "controls": ["cascade"], "cascade": [0.5, 0.2]},
        {"method": {"smoothgrad": {"draws": 3}}, "windows": {"size": 6, "per_sample": 2}, "signed": True},
        {"method": {"occlusion": {"size": 7, "stride": 4}}, "windows": {"size": 6, "per_sample": 2}, "objective": "error", "signed": True},
    ],
}
"""Parameters under which each probe is tried on the small network of conftest.py."""

ENGINES_OWN = {
    "kind", "probe version", "sample table", "decode version", "degradation versions", "weights sha256", "network", "network version",
    "network args", "scale", "range", "output", "batch", "threads", "device", "frames",
}  # fmt: skip
"""Fields that the engine puts into every cell's identity."""

SAME_SIZE = {"derain"}
"""Probes of networks of scale 1, which refuse others."""
KINDS = sorted(PROBES)
LATER = {"inputs": {"save"}, "restore": {"metrics", "rounding", "benchmark"}, "lam": {"frame", "flow", "max_rows", "method"}}
"""Parameters that cells of earlier versions know nothing of: in the identity where they are used."""
CASES = [pytest.param(kind, params, id=f"{kind}-{i}") for kind in KINDS for i, params in enumerate(EXAMPLES.get(kind, []))]
DTYPES = {"float64": float, "int64": int, "string": str, "bool": bool}
NAME = re.compile(r"[A-Za-z0-9_.-]+")


CLIP = 4
"""Frames of a clip, for probes that measure nothing else."""


def scale_of(request: pytest.FixtureRequest) -> int:
    return 1 if request.node.callspec.params["kind"] in SAME_SIZE else 2


@pytest.fixture
def model(request: pytest.FixtureRequest, tools: Any, model: Model) -> Model:
    """The small network, of the scale that the probe takes."""
    if scale_of(request) != 2:
        return tools.as_model(tools.Upscaler(scale=1), scale=1)
    return model if images(request) else frame_by_frame(model)


@pytest.fixture
def make_batch(request: pytest.FixtureRequest, make_batch: Callable[..., Batch]) -> Callable[..., Batch]:
    return partial(make_batch, scale=scale_of(request), **({} if images(request) else {"frames": CLIP}))


def images(request: pytest.FixtureRequest) -> bool:
    return probe_class(request.node.callspec.params["kind"]).IMAGES


def over_clips(model: Model) -> Model:
    return model if isinstance(model, ClipModel) else frame_by_frame(model)


def example_of(model: Model) -> torch.Tensor:
    return torch.zeros(model.shape(Size(14, 18, CLIP if isinstance(model, ClipModel) else 0)))


def made(kind: str, params: dict[str, Any], model: Model) -> list[Any]:
    """One probe instance per cell."""
    cls = probe_class(kind)
    parsed = cls.Params(**params)
    return [cls(parsed, spec) for spec in cls.cells(parsed, model if cls.SUBJECT == "model" else None, example_of(model))]


def test_every_probe_has_examples_here() -> None:
    assert set(EXAMPLES) == set(PROBES), "give the new probe a line in EXAMPLES"


@pytest.mark.parametrize("kind", KINDS)
def test_a_probe_says_what_it_is_where_it_comes_from_and_which_version_it_has(kind: str) -> None:
    cls = probe_class(kind)
    assert kind == cls.KIND
    assert NAME.fullmatch(kind)
    assert kind not in {"samples", "models", "failures"}, "these are tables of every study"
    assert isinstance(cls.VERSION, int)
    assert cls.VERSION >= 1
    assert isinstance(cls.SHARES_FORWARD, bool)
    assert cls.REFERENCE.strip()
    assert inspect.getdoc(cls)
    module = import_module(cls.__module__)
    assert module.__doc__
    assert len(module.__doc__.strip().splitlines()) >= 3, "the module's docstring is the bridge to the paper"


@pytest.mark.parametrize("kind", KINDS)
def test_its_parameters_are_strict_frozen_and_documented(kind: str) -> None:
    params = probe_class(kind).Params
    assert issubclass(params, BaseModel)
    assert params.model_config.get("extra") == "forbid"
    assert params.model_config.get("frozen")
    assert params.__doc__
    assert not set(params.model_fields) & {"id", "models"}, "every stage has these already"


@pytest.mark.parametrize("kind", KINDS)
def test_its_columns_have_names_types_and_meanings(kind: str) -> None:
    columns = probe_class(kind).COLUMNS
    names = [column.name for column in columns]
    assert len(set(names)) == len(names)
    assert not set(names) & {"stage", "model", "sample_id", "row", "status"}, "every table has these already"
    for column in columns:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", column.name)
        assert column.dtype in DTYPES
        assert column.about.strip()
        assert "is better" not in column.about, "`better` says so"
    assert not (columns and kind in RESERVED), "its table would hide one of the study's own"


@pytest.mark.parametrize(("kind", "params"), CASES)
def test_what_it_declares_is_what_it_returns(
    kind: str, params: dict[str, Any], model: Model, make_batch: Callable[..., Batch], tools: Any
) -> None:
    cls = probe_class(kind)
    sizes = [(model, Size(14, 18)), (model, Size(17, 13))] if cls.IMAGES else []
    sizes += [(over_clips(model), Size(14, 18, CLIP))] if cls.CLIPS else []
    for seen, size in sizes:
        batch = make_batch(3, size.height, size.width, frames=size.frames)
        for probe in made(kind, params, seen):
            assert probe.cost > 0
            plans = probe.arrays(tools.shapes_of(seen, size, probe.taps()))
            measured = tools.measure(probe, seen, batch)
            assert set(measured.arrays) == {plan.name for plan in plans}
            for plan in plans:
                array = measured.arrays[plan.name]
                assert isinstance(array, np.ndarray)
                assert array.shape == (3, *plan.shape)
                assert array.dtype == np.dtype(plan.dtype)
                assert len(plan.dims) == len(plan.shape)
                assert len({"sample", *plan.dims}) == len(plan.dims) + 1
                assert NAME.fullmatch(plan.name)
                assert plan.name not in {"valid", "row"}, "every group has these already"
                json.dumps(dict(plan.attributes))
                if plan.stride is not None:
                    assert plan.dims[-2:] == ("y", "x"), "a stride belongs to arrays that lie over the image"
            columns = [column for column in probe.columns() if size.frames or not column.clips]
            assert set(measured.columns) == {column.name for column in columns}
            rows = len(batch.samples) if measured.positions is None else len(measured.positions)
            for column in columns:
                values = measured.columns[column.name]
                assert len(values) == rows
                assert all(value is None or isinstance(value, DTYPES[column.dtype]) for value in values), column
            assert measured.failed == {}


def stages_a_shared_pass(kind: str) -> bool:
    """Others, such as `lam`, prepare what they launch, and have wide passes on a GPU only."""
    return issubclass(probe_class(kind), Staged) and probe_class(kind).SHARES_FORWARD


@pytest.mark.parametrize(("kind", "params"), [case for case in CASES if stages_a_shared_pass(str(case.values[0]))])
def test_a_staged_probe_launches_without_waiting_for_the_device(
    kind: str, params: dict[str, Any], model: Model, make_batch: Callable[..., Batch], tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_batch(3)
    for probe in made(kind, params, model):
        forward = tools.forward_of(model, batch, probe.taps())
        with monkeypatch.context() as waits:
            for name in ("cpu", "item", "numpy", "tolist", "__float__", "__bool__", "__int__", "__array__"):
                waits.setattr(torch.Tensor, name, _waits)
            launched = probe.launch(model, batch, forward)
        results = {**launched.kept, **{name: values.cpu().numpy() for name, values in launched.read.items()}}
        found, wanted = probe.conclude(model, batch, results), probe.measure(model, batch, forward)
        assert json.dumps(found.columns) == json.dumps(wanted.columns)
        assert {name: array.tobytes() for name, array in found.arrays.items()} == {name: x.tobytes() for name, x in wanted.arrays.items()}


def _waits(*_: object, **__: object) -> None:
    raise AssertionError("this would wait for the device")


@pytest.mark.parametrize(("kind", "params"), CASES)
def test_the_same_input_gives_the_same_bytes(
    kind: str, params: dict[str, Any], model: Model, make_batch: Callable[..., Batch], tools: Any
) -> None:
    for probe, again in zip(made(kind, params, model), made(kind, params, model)):
        first, second = (tools.measure(p, model, make_batch(seed=4)) for p in (probe, again))
        for name, array in first.arrays.items():
            assert array.tobytes() == second.arrays[name].tobytes()
        assert json.dumps(first.columns) == json.dumps(second.columns)


@pytest.mark.parametrize(("kind", "params"), CASES)
def test_its_identity_is_its_own_and_only_its_own(kind: str, params: dict[str, Any], model: Model) -> None:
    probes = made(kind, params, model)
    identities = [json.dumps(probe.identity(), sort_keys=True) for probe in probes]
    assert len(set(identities)) == len(probes), "two cells of a stage could not be told apart"
    assert len({probe.what for probe in probes}) == len(probes)
    for probe in probes:
        assert NAME.fullmatch(probe.what)
        assert not set(probe.identity()) & ENGINES_OWN, "the engine says these itself"
        if "layers" in params:  # what else was asked for in the same list changes nothing
            (pattern,) = [name for name in params["layers"] if probe.tap.module == name.split(":")[0]]
            (alone,) = made(kind, {**params, "layers": [pattern]}, model)
            assert alone.identity() == probe.identity()


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_counts_in_the_identity_or_is_known_not_to(kind: str, model: Model) -> None:
    # each layer and each control is a cell of its own, and its identity names it
    harmless = {"layers", "controls", "cascade", "weights"}  # the bytes at a path of weights count, as `sha256`
    fields = set(probe_class(kind).Params.model_fields) - harmless
    for params in EXAMPLES[kind]:
        for probe in made(kind, params, model):
            defaults = {name: field.get_default(call_default_factory=True) for name, field in type(probe.params).model_fields.items()}
            unasked = {name for name in LATER.get(kind, ()) if getattr(probe.params, name) == defaults[name]}
            assert fields - unasked <= set(probe.identity())
            assert not unasked & set(probe.identity()), "cells of before would be of another identity"


@pytest.mark.parametrize(("kind", "params"), CASES)
def test_a_sample_that_failed_to_load_is_left_alone(
    kind: str, params: dict[str, Any], model: Model, make_batch: Callable[..., Batch], tools: Any
) -> None:
    whole = make_batch(3, seed=2)
    batch = make_batch(3, seed=2)
    batch.input[1] = 0
    batch.targets[1] = None  # type: ignore[index]
    batch.ok[1] = False
    for probe in made(kind, params, model):
        full, part = tools.measure(probe, model, whole), tools.measure(probe, model, batch)
        assert 1 not in part.failed, "the engine knows its reason already"
        for name, array in full.arrays.items():
            others = [0, 2]
            for i in others:
                whole_row, left_row = array[i], part.arrays[name][i]
                if isinstance(probe, SetProbe):  # what a set says of a sample may hold a place for each of the others
                    assert np.isnan(left_row[1])
                    whole_row, left_row = whole_row[others], left_row[others]
                assert whole_row.tobytes() == left_row.tobytes()


@pytest.mark.parametrize(("kind", "params"), CASES)
def test_specs_survive_json_because_they_travel_in_study_json(kind: str, params: dict[str, Any], model: Model) -> None:
    cls = probe_class(kind)
    parsed = cls.Params(**params)
    for spec in cls.cells(parsed, model, example_of(model)):
        again = cls(cls.Params(**json.loads(parsed.model_dump_json())), json.loads(json.dumps(spec)))
        first = cls(parsed, spec)
        assert (again.what, again.identity()) == (first.what, first.identity())
        assert [asdict(tap) for tap in again.taps()] == [asdict(tap) for tap in first.taps()]
