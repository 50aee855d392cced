"""The recipe: parsed strictly, resolved once, and every refusal names the place and the way out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from xlli_ray.errors import RecipeError
from xlli_ray.recipe import ModelEntry, Recipe, Stage, apply_override, load_recipe, parse_bytes, parse_recipe, resolve_path

PLAIN: dict[str, Any] = {
    "name": "x",
    "corpus": {"images": ["images/*.png"], "scale": 4},
    "models": [{"id": "a", "weights": "weights/a.pth", "network": "imdn"}],
    "stages": [{"restore": {}}],
}


@pytest.fixture
def raw() -> dict[str, Any]:
    return copy.deepcopy(PLAIN)


@pytest.fixture
def parse(tmp_path: Path) -> Callable[[dict[str, Any]], Recipe]:
    return lambda data: parse_recipe(data, base=tmp_path, where="x.yaml")


Parse = Callable[[dict[str, Any]], Recipe]


# -- keys -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(thread=2), r"thread: there is no key 'thread': did you mean 'threads'\?"),
        (lambda r: r["corpus"].update(patchs={}), r"corpus\.patchs: .*did you mean 'patches'\?"),
        (lambda r: r["corpus"].update(patches={"siz": 64}), r"corpus\.patches\.siz: .*did you mean 'size'\?"),
        (lambda r: r["models"][0].update(weigths="a"), r"models\[0\]\.weigths: .*did you mean 'weights'\?"),
        (lambda r: r.update(limits={"byte": 1}), r"limits\.byte: .*did you mean 'bytes'\?"),
        (lambda r: r.update(stages=[{"restore": {"sav": True}}]), r"stages\[0\]\.restore\.sav: .*did you mean 'save'\?"),
        (lambda r: r.update(stages=[{"features": {"layers": ["a"], "dtyp": "float32"}}]), r"stages\[0\]\.features\.dtyp: .*'dtype'"),
        (
            lambda r: r.update(stages=[{"features": {"layers": ["a"], "pool": {"strid": 2}}}]),
            r"stages\[0\]\.features\.pool\.strid: there is no key 'strid'.*stride",
        ),
    ],
    ids=["top", "corpus", "patches", "model", "limits", "restore", "features", "pool"],
)
def test_an_unknown_key_is_refused_at_every_level_with_the_nearest_one(
    raw: dict[str, Any], parse: Parse, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    change(raw)
    with pytest.raises(RecipeError, match=message) as caught:
        parse(raw)
    assert str(caught.value).startswith("x.yaml: ")


def test_an_unknown_stage_is_refused_with_the_nearest_and_all_of_them(raw: dict[str, Any], parse: Parse) -> None:
    raw["stages"] = [{"feature": {"layers": ["a"]}}]
    with pytest.raises(RecipeError, match=r"no stage 'feature'. Did you mean 'features'\? Stages: .*features, .*restore"):
        parse(raw)


def test_an_analysis_is_a_stage_that_measures_nothing(raw: dict[str, Any], parse: Parse) -> None:
    measuring = list(raw["stages"])
    raw["stages"] = [*measuring, {"lam_summary": {"of": "maps", "models": "all"}}]
    recipe = parse(raw)
    (stage,) = recipe.analyses
    assert (stage.kind, stage.id, stage.params) == ("lam_summary", "lam_summary", {"of": "maps"})
    raw["stages"] = measuring
    assert recipe.measured() == parse(raw), "what a plan is made of does not know it"
    assert stage.parsed().model_dump()["resamples"] == 4000


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"lam_sumary": {}}, r"no stage 'lam_sumary'. Did you mean 'lam_summary'\? Stages: .*restore.*; analyses: .*lam_summary"),
        ({"lam_summary": {"off": "lam"}}, r"stages\[1\]\.lam_summary\.off: there is no key 'off': did you mean 'of'\?"),
        ({"lam_summary": {"level": 95}}, r"stages\[1\]\.lam_summary\.level: .*less than 1"),
        ({"lam_summary": {"id": "restore"}}, "duplicate id 'restore'"),
        ({"lam_summary": {"models": ["nobody"]}}, "no model has the id 'nobody'"),
    ],
)
def test_an_analysis_is_parsed_as_strictly_as_a_probe(raw: dict[str, Any], parse: Parse, stage: dict[str, Any], message: str) -> None:
    raw["stages"] = [{"restore": {}}, stage]
    with pytest.raises(RecipeError, match=message):
        parse(raw)


def test_keys_of_nothing_like_it_list_what_is_valid(raw: dict[str, Any], parse: Parse) -> None:
    raw["zzzzzz"] = 1
    with pytest.raises(RecipeError, match="there is no key 'zzzzzz': Valid here: name, seed, corpus, models, stages"):
        parse(raw)


def test_all_problems_are_told_at_once(raw: dict[str, Any], parse: Parse) -> None:
    raw["thread"] = 1
    raw["limits"] = {"houres": 2}
    with pytest.raises(RecipeError) as caught:
        parse(raw)
    assert "thread:" in str(caught.value)
    assert "limits.houres:" in str(caught.value)


# -- missing and contradictory ----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["models", "stages"])
@pytest.mark.parametrize("value", [None, [], {}, "all"])
def test_a_list_that_is_absent_or_empty_is_refused(raw: dict[str, Any], parse: Parse, key: str, value: object) -> None:
    raw[key] = value
    with pytest.raises(RecipeError, match=f"{key}: expected a list with at least one entry"):
        parse(raw)


@pytest.mark.parametrize("key", ["name", "corpus"])
def test_a_missing_section_is_named(raw: dict[str, Any], parse: Parse, key: str) -> None:
    del raw[key]
    with pytest.raises(RecipeError, match=f"{key}: missing"):
        parse(raw)


def test_a_missing_field_of_a_stage_is_named(raw: dict[str, Any], parse: Parse) -> None:
    raw["stages"] = [{"features": {}}]
    with pytest.raises(RecipeError, match=r"stages\[0\]\.features\.layers: missing"):
        parse(raw)


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ({}, "exactly one source of images, inputs, pairs, list, clips, motion; found none"),
        ({"images": ["a"], "inputs": ["b"], "scale": 2}, "found images and inputs"),
        ({"images": ["a"]}, "scale is missing"),
        ({"inputs": ["a"], "scale": 2}, "scale is only for images"),
        ({"pairs": {"input": "a", "target": "b"}, "degradations": ["clean"]}, "degradations is only for images"),
        ({"images": ["a"], "scale": 3, "patches": {"size": 128}}, "size must be a multiple of scale 3, got 128"),
        ({"images": ["a"], "scale": 2, "degradations": ["clean", "clean"]}, "clean is listed twice"),
        ({"images": ["a"], "scale": 2, "degradations": ["celan"]}, "celan"),
        ({"images": [], "scale": 2}, "the list is empty"),
        ({"images": ["a"], "scale": 0}, "scale"),
        ("images", "corpus"),
    ],
)
def test_a_corpus_that_contradicts_itself_is_refused(raw: dict[str, Any], parse: Parse, corpus: Any, message: str) -> None:
    raw["corpus"] = corpus
    with pytest.raises(RecipeError, match=message):
        parse(raw)


def test_ids_given_twice_are_refused(raw: dict[str, Any], parse: Parse) -> None:
    twice = copy.deepcopy(raw)
    twice["models"] *= 2
    with pytest.raises(RecipeError, match="models: duplicate id 'a'"):
        parse(twice)
    raw["stages"] = [{"restore": {}}, {"restore": {"save": True}}]
    with pytest.raises(RecipeError, match="stages: duplicate id 'restore'"):
        parse(raw)
    raw["stages"][1]["restore"]["id"] = "kept"
    assert [stage.id for stage in parse(raw).stages] == ["restore", "kept"]


def test_ids_that_differ_in_case_only_are_refused_by_name(raw: dict[str, Any], parse: Parse) -> None:
    """They name folders: on exFAT, on macOS and on Windows the second would overwrite the first."""
    raw["stages"] = [{"restore": {}}, {"restore": {"id": "Restore"}}]
    with pytest.raises(RecipeError, match="stages: the ids 'restore' and 'Restore' differ only in case"):
        parse(raw)
    raw["stages"] = [{"restore": {}}]
    raw["models"] = [{**raw["models"][0], "id": name} for name in ("edsr", "EDSR")]
    with pytest.raises(RecipeError, match="models: the ids 'edsr' and 'EDSR' differ only in case"):
        parse(raw)
    raw["models"][1]["id"] = "e\u0301dsr"  # é in two signs: no name that could be written in two ways
    with pytest.raises(RecipeError, match="names are made of letters, digits"):
        parse(raw)


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".hidden", "ä", "a b", "a..b"])
def test_names_that_could_not_be_folders_are_refused(raw: dict[str, Any], parse: Parse, name: str) -> None:
    for change in ({"name": name}, {"models": [{**raw["models"][0], "id": name}]}, {"stages": [{"restore": {"id": name}}]}):
        with pytest.raises(RecipeError, match="names are made of letters"):
            parse({**raw, **change})


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"feature": 2}, "'feature' is not a stage"),
        ({"lam_summary": 2}, "'lam_summary' is an analysis"),
        ({"restore": 0}, "must be an integer ≥ 1 or auto, got 0"),
        ({"restore": "many"}, r"batch\.restore"),
    ],
)
def test_a_batch_that_cannot_be_is_refused(raw: dict[str, Any], parse: Parse, batch: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse({**raw, "batch": batch})


def test_a_stage_that_is_not_written_as_one_item_is_refused(raw: dict[str, Any], parse: Parse) -> None:
    for wrong in ("restore", {"restore": {}, "features": {"layers": ["a"]}}, 3):
        with pytest.raises(RecipeError, match=r"stages\[0\]: write one stage per list item, as `- restore: \{\}`"):
            parse({**raw, "stages": [wrong]})
    assert parse({**raw, "stages": [{"restore": None}]}).stages[0].id == "restore"


def test_a_model_that_is_not_a_mapping_is_refused(raw: dict[str, Any], parse: Parse) -> None:
    with pytest.raises(RecipeError, match=r"models: expected a mapping such as \{id: a, weights: a.pth\}, got 'a.pth'"):
        parse({**raw, "models": ["a.pth"]})


# -- which models a stage looks at ------------------------------------------------------------------------------

FOUR = [
    ModelEntry(id=f"{kind}{depth}", network="imdn", tags={"family": kind, "depth": depth}) for kind in ("res", "gan") for depth in (2, 4)
]


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        ("all", ["res2", "res4", "gan2", "gan4"]),
        (["gan4", "res2"], ["res2", "gan4"]),
        ({"family": "gan"}, ["gan2", "gan4"]),
        ({"family": "gan", "depth": 2}, ["gan2"]),
        ({"depth": "2"}, []),
        ({"colour": "red"}, []),
    ],
)
def test_a_stage_looks_at_all_models_or_those_named_or_those_with_the_tags(choice: Any, chosen: list[str]) -> None:
    stage = Stage(kind="restore", id="restore", models=choice)
    assert [model.id for model in FOUR if stage.chooses(model)] == chosen


def test_a_stage_that_names_an_unknown_model_is_refused_with_the_nearest(raw: dict[str, Any], parse: Parse) -> None:
    raw["models"] = [{"id": "imdn", "network": "imdn", "weights": "a"}]
    raw["stages"] = [{"restore": {"models": ["imnd"]}}]
    with pytest.raises(RecipeError, match=r"stages\.restore\.models: no model has the id 'imnd'\. Did you mean 'imdn'\?"):
        parse(raw)


# -- models: - from: --------------------------------------------------------------------------------------------


def test_models_from_a_training_are_read_and_their_paths_are_relative_to_their_own_file(
    raw: dict[str, Any], parse: Parse, tmp_path: Path
) -> None:
    trained = tmp_path / "trained"
    trained.mkdir()
    files = [{"id": f"m{i}", "weights": f"w{i}.safetensors", "sha256": "ab" * 32, "tags": {"seed": i}} for i in (0, 1)]
    listed = [{**file, "network": "srresnet"} for file in files]
    (trained / "models.yaml").write_text(yaml.safe_dump({"models": listed}))
    raw["models"] = [*raw["models"], {"from": "trained/models.yaml"}]
    models = parse(raw).models
    assert [model.id for model in models] == ["a", "m0", "m1"]
    assert models[1].weights == str(trained / "w0.safetensors")
    assert models[2].tags == {"seed": 1}
    (trained / "models.yaml").write_text(yaml.safe_dump(listed))
    assert [model.id for model in parse(raw).models] == ["a", "m0", "m1"], "a bare list does as well"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="absent"), pytest.param("models: [", id="no yaml"), pytest.param("{}", id="empty"),
        pytest.param("- 3", id="no mapping"), pytest.param("models:", id="null"),
    ],
)  # fmt: skip
def test_a_models_file_that_cannot_be_used_is_refused_by_name(
    raw: dict[str, Any], parse: Parse, tmp_path: Path, text: str | None
) -> None:
    if text is not None:
        (tmp_path / "models.yaml").write_text(text)
    raw["models"] = [{"from": "models.yaml"}]
    with pytest.raises(RecipeError, match=r"models"):
        parse(raw)


# -- paths ------------------------------------------------------------------------------------------------------


def test_paths_are_relative_to_the_recipe_and_made_absolute_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "x.yaml").write_text(yaml.safe_dump(PLAIN | {"corpus": {"images": ["../images/*.png", "s3://bucket/*.png"], "scale": 4}}))
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("recipes/x.yaml")
    assert recipe.corpus.images == [f"{tmp_path}/images/*.png", "s3://bucket/*.png"]
    assert recipe.models[0].weights == f"{folder}/weights/a.pth"
    assert load_recipe(folder / "x.yaml") == recipe


def test_pairs_lists_urls_home_and_built_in_weights_resolve(raw: dict[str, Any], parse: Parse, tmp_path: Path) -> None:
    raw["models"][0]["weights"] = "builtin:srresnet-gr-clean"
    raw["corpus"] = {"pairs": {"input": "lr/*.png", "target": ["hr/*.png", "gs://b/*.png"]}}
    recipe = parse(raw)
    assert recipe.corpus.pairs is not None
    assert recipe.corpus.pairs.input == [f"{tmp_path}/lr/*.png"]
    assert recipe.corpus.pairs.target == [f"{tmp_path}/hr/*.png", "gs://b/*.png"]
    assert recipe.models[0].weights == "builtin:srresnet-gr-clean"
    raw["corpus"] = {"list": "files.parquet", "scale": 4}
    assert parse(raw).corpus.list == f"{tmp_path}/files.parquet"
    assert resolve_path("~/a.pth", tmp_path) == str(Path.home() / "a.pth")


def test_real_sets_resolve_named_or_called_after_their_folders(raw: dict[str, Any], parse: Parse, tmp_path: Path) -> None:
    raw["corpus"]["pies"] = {"real": {"web": ["a/*.png", "s3://b/*.png"], "camera": "c/*.png"}}
    recipe = parse(raw)
    assert recipe.corpus.pies is not None
    assert recipe.corpus.pies.real == {"web": [f"{tmp_path}/a/*.png", "s3://b/*.png"], "camera": [f"{tmp_path}/c/*.png"]}
    assert parse_recipe(recipe.dump(), base=Path("/elsewhere")) == recipe
    raw["corpus"]["pies"] = {"real": ["camera/*.png", "../lens/**/*.png"]}
    recipe = parse(raw)
    assert recipe.corpus.pies is not None
    assert recipe.corpus.pies.real == {"camera": [f"{tmp_path}/camera/*.png"], "lens": [f"{tmp_path.parent}/lens/**/*.png"]}
    raw["corpus"]["pies"] = {"real": ["https://me:secret@host/a/x.png"]}
    with pytest.raises(RecipeError, match="credentials"):
        parse(raw)


@pytest.mark.parametrize(
    ("pies", "message"),
    [
        ({"patchs": 800}, r"corpus\.pies\.patchs: there is no key 'patchs': did you mean 'patches'\?"),
        ({"sets": ["blurr2"]}, r"corpus\.pies\.sets: degradation 'blurr' does not exist\. Closest: blur"),
        ({"window": 4}, r"corpus\.pies: degradation blur: window must be an odd number"),
        ({"real": ["a/x/*.png", "b/x/*.png"]}, r"corpus\.pies\.real: two sets would be named 'x'"),
    ],
)
def test_mistakes_in_a_pies_set_name_their_place(raw: dict[str, Any], parse: Parse, pies: dict[str, Any], message: str) -> None:
    raw["corpus"]["pies"] = pies
    with pytest.raises(RecipeError, match=message):
        parse(raw)


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:geheim@bucket/a.png", "https://user:geheim@host/a.png", "https://host/a.png?X-Amz-Signature=geheim",
        "https://host/a.png?token=geheim", "az://c/a.png?sv=1&sig=geheim",
    ],
)  # fmt: skip
def test_credentials_in_urls_are_refused_and_not_repeated(raw: dict[str, Any], parse: Parse, url: str) -> None:
    for change in (
        {"corpus": {"images": [url], "scale": 4}},
        {"corpus": {"pairs": {"input": url, "target": "b"}}},
        {"models": [{"id": "a", "weights": url, "network": "imdn"}]},
        {"models": [{"from": url}]},
    ):
        with pytest.raises(RecipeError, match="contains credentials") as caught:
            parse({**raw, **change})
        assert "geheim" not in str(caught.value)


def test_reading_a_recipe_that_is_absent_or_no_mapping_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"gone\.yaml: No such file or directory\. Give the path of a YAML file"):
        load_recipe(tmp_path / "gone.yaml")
    with pytest.raises(RecipeError, match="Is a directory"):
        load_recipe(tmp_path)
    (tmp_path / "x.yaml").write_text("- a\n- b\n")
    with pytest.raises(RecipeError, match="expected a mapping with name, corpus, models, stages"):
        load_recipe(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_text("name: [")
    with pytest.raises(RecipeError, match="not YAML"):
        load_recipe(tmp_path / "x.yaml")


def test_a_recipe_that_is_no_text_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"x\.yaml: not"):
        load_recipe(tmp_path / "x.yaml")


# -- overrides --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("seed=3", ("seed",), 3),
        ("limits.bytes=1TB", ("limits", "bytes"), "1TB"),
        ("limits.hours=0.5", ("limits", "hours"), 0.5),
        ("corpus.patches.size=64", ("corpus", "patches", "size"), 64),
        ("corpus.degradations=[clean, {blur: 2}]", ("corpus", "degradations"), ["clean", {"blur": 2}]),
        ("models.0.id=b", ("models", 0, "id"), "b"),
        ("stages.0.restore.save=true", ("stages", 0, "restore", "save"), True),
        ("corpus.patches=null", ("corpus", "patches"), None),
        ("models.0.weights=a=b.pth", ("models", 0, "weights"), "a=b.pth"),
    ],
)
def test_an_override_sets_one_field_with_a_value_in_yaml(raw: dict[str, Any], override: str, path: tuple[Any, ...], value: Any) -> None:
    apply_override(raw, override)
    place: Any = raw
    for key in path:
        place = place[key]
    assert place == value


def test_an_override_with_a_plus_adds_an_item_to_a_list(raw: dict[str, Any]) -> None:
    before = len(raw["stages"])
    assert apply_override(raw, "stages.+={lam: {id: lam_1, windows: [{top: 8, left: 16, size: 4}]}}") == ("stages", before)
    assert raw["stages"][before] == {"lam": {"id": "lam_1", "windows": [{"top": 8, "left": 16, "size": 4}]}}
    apply_override(raw, f"stages.{before}.lam.id=lam_2")
    assert [len(raw["stages"]), raw["stages"][before]["lam"]["id"]] == [before + 1, "lam_2"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.+.lam.id=b", r"'\+' is not an item of the list stages"),
        ("seed", "write key.path=value"),
        ("models.7.id=b", r"'7' is not an item of the list models; items by number: 0 \(a\)"),
        ("models.-1.id=b", "'-1' is not an item of the list models"),
        ("=3", "write key.path=value"),
        ("corpus..size=3", "write key.path=value"),
        ("models.first.id=b", "'first' is not an item of the list models"),
        ("models.9=b", "'9' is not an item of the list"),
        ("name.first=b", "name is a plain value without fields"),
        ("name.first.second=b", "no 'second' to go into|no 'first' to go into|plain value"),
        ("seed=[", "not YAML"),
    ],
)
def test_an_override_that_leads_nowhere_is_refused(raw: dict[str, Any], override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        apply_override(raw, override)


def test_overrides_are_validated_like_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(PLAIN))
    recipe = load_recipe(tmp_path / "x.yaml", overrides=["limits.bytes=2GB", "models.0.weights=b.pth"])
    assert recipe.limits.bytes == 2 * 10**9
    assert recipe.models[0].weights == f"{tmp_path}/b.pth"
    with pytest.raises(RecipeError, match=r"did you mean 'limits'\?"):
        load_recipe(tmp_path / "x.yaml", overrides=["limit.bytes=2GB"])


# -- sizes and copies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096), ("200GB", 200 * 10**9), ("1.5 TiB", 3 * 2**39), ("1.5TB", 1.5 * 10**12), ("10 kB", 10_000), ("3MiB", 3 << 20),
        ("7b", 7), (" 2 gib ", 2 << 30), ("1e3", 1000),
    ],
)  # fmt: skip
def test_sizes_are_read_with_their_units(text: str, size: float) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "many", "3 GX", "1.2.3GB", "-", "inf", "nan"])
def test_what_is_no_size_is_refused(raw: dict[str, Any], parse: Parse, text: str) -> None:
    with pytest.raises(RecipeError, match=r"limits\.bytes"):
        parse({**raw, "limits": {"bytes": text}})


def test_limits_below_nothing_are_refused(raw: dict[str, Any], parse: Parse) -> None:
    for limits in ({"bytes": -1}, {"bytes": "-3GB"}, {"hours": -2}):
        with pytest.raises(RecipeError, match="limits"):
            parse({**raw, "limits": limits})


def test_what_study_json_keeps_parses_back_to_the_same(raw: dict[str, Any], parse: Parse) -> None:
    raw["stages"] = [{"features": {"id": "f", "layers": ["a"], "pool": {"stride": 2}, "models": ["a"]}}, {"restore": {}}]
    raw["models"][0]["range"] = [0, 255]
    recipe = parse(raw)
    assert parse_recipe(recipe.dump(), base=Path("/elsewhere")) == recipe


def test_the_recipes_that_come_with_the_package_parse(root: Path) -> None:
    from xlli_ray.cli import builtin_recipe

    assert load_recipe(builtin_recipe(Path("quickstart"))).name == "quickstart"
    for name in ("derain_public", "derain_public_full", "faithfulness"):
        assert load_recipe(root / f"pipelines/{name}.yaml").name == name
    for name in ("set5", "degraded_patches", "pies", "derain_public", "faithfulness", "attention_forty", "replicate_attention"):
        assert load_recipe(root / f"tests/recipes/{name}.yaml").name == name.replace("_", "-")


# -- analyses that bring their measurements along ------------------------------------------------------------------


@pytest.fixture
def bringing(monkeypatch: pytest.MonkeyPatch) -> None:
    """lam_summary, as if it brought a lam stage of its own and a restore stage for the networks that give images."""
    from xlli_ray.analyses.lam_summary.analysis import LamSummary

    def brings(cls: type, params: dict[str, Any], stage_id: str, models: list[dict[str, Any]]) -> tuple[dict[str, Any], list[Any]]:
        if "of" in params:
            return params, []
        images = [model["id"] for model in models if model.get("output") != "none"]
        return {**params, "of": f"{stage_id}-lam"}, [{"lam": {"id": f"{stage_id}-lam"}}, {"restore": {"models": images}}]

    monkeypatch.setattr(LamSummary, "brings", classmethod(brings), raising=False)


@pytest.mark.usefixtures("bringing")
def test_an_analysis_brings_what_it_needs_and_nothing_twice(raw: dict[str, Any], parse: Parse) -> None:
    raw["models"].append({"id": "b", "network": "my:classifier", "output": "none"})
    raw["stages"] = [{"lam_summary": {"id": "s", "resamples": 500}}]
    alone = parse(raw)
    assert [(stage.kind, stage.id) for stage in alone.stages] == [("lam", "s-lam"), ("restore", "restore"), ("lam_summary", "s")]
    assert alone.stages[1].models == ["a"]
    assert alone.stages[2].params == {"resamples": 500, "of": "s-lam"}
    raw["stages"] = [{"restore": {"id": "mine"}}, {"lam_summary": {}}, {"lam_summary": {"id": "t", "of": "lam_summary-lam"}}]
    assert [stage.id for stage in parse(raw).stages] == ["mine", "lam_summary-lam", "lam_summary", "t"]


@pytest.mark.usefixtures("bringing")
def test_what_was_brought_is_looked_at_with_the_analysis_own_models_and_study_json_parses_to_the_same(
    raw: dict[str, Any], parse: Parse
) -> None:
    raw["models"].append({"id": "b", "weights": "b.pth", "network": "imdn"})
    raw["stages"] = [{"lam_summary": {"models": ["b"]}}]
    recipe = parse(raw)
    assert [stage.models for stage in recipe.stages] == [["b"], ["b"], ["b"]]
    assert parse(recipe.dump()).dump() == recipe.dump()
