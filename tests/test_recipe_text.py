"""What a recipe's text may hold: YAML's surprises are refused with their line, and a path in the recipe stands in every refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from xlli_ray.errors import RecipeError
from xlli_ray.recipe import load_recipe, parse_recipe
from xlli_ray.recipe.yaml_text import MAX_DEPTH, MAX_VALUES, check_plain, read_text
from xlli_ray.training.recipe import load_recipe as load_training

HEAD = "name: x\ncorpus: {images: ['*.png'], scale: 4}\nmodels:\n- {id: a, weights: a.pth, network: imdn}\n"


def refused(tmp_path: Path, text: str | bytes, *, loader=load_recipe, **options: object) -> str:
    path = tmp_path / "x.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(RecipeError) as caught:
        loader(path, **options)
    return str(caught.value).replace(str(path), "x.yaml")


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        ("- restore: 5", r"x.yaml: stages[0].restore (line 6): expected the stage's fields, as `- restore: {}`, got 5"),
        ("- 5", "stages[0] (line 6): write one stage per list item"),
        ("- {kind: null, id: a, params: {}}", "stages[0].kind (line 6): Input should be a valid string"),
        ("- {kind: restore, id: a, params: null}", "stages[0].params (line 6): Input should be a valid dictionary"),
        ("- restore:\n    id: [a]", "stages[0].restore.id (line 7): Input should be a valid string"),
        ("- restore: {}\n- features:\n    layers: [a]\n    sav: true", "stages[1].features.sav (line 9): there is no key 'sav'"),
        ("- restore:\n    models: {a: [1]}\n    save: 3.7", "stages[0].restore.save (line 8): Input should be a valid boolean"),
        ("- restore: {1: 2}", "the key 1 is not a string"),
        ("- ? [a]\n  : b", "line 6, column 5: a key must be a string"),
    ],
)
def test_a_stage_that_cannot_be_is_refused_with_its_path_and_line(tmp_path: Path, stages: str, told: str) -> None:
    assert told in refused(tmp_path, f"{HEAD}stages:\n{stages}\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seed: 1\nseed: 2", "line 6, column 1: duplicate key 'seed', first in line 5; remove one"),
        ("limits:\n  hours: 1\n  bytes: 3\n  hours: 2", "duplicate key 'hours', first in line 6"),
        ("seed: " + "1" * 6000, "an integer of more than 18 digits"),
        ("seed: 010", "write '010' as a plain number"),
        ("seed: 1:30", "write '1:30' as a plain number"),
        ("seed: !!float x", "write 'x' as a plain number"),
        ("limits: {hours: .inf}", "limits.hours (line 5): inf is not a finite number"),
        ("limits: {hours: .nan}", "limits.hours (line 5): nan is not a finite number"),
        ("limits: {hours: -1}\nstages: [restore: {}]", "limits.hours (line 5): Input should be greater than or equal to 0"),
        ("seed: 2001-01-01", "timestamp is not allowed in recipes"),
        ("seed: !!binary aGk=", "binary is not allowed in recipes"),
        ("seed: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("\tseed: 1", "indent with spaces, not tabs"),
        ("seed: " + "[" * 5000, f"nested more than {MAX_DEPTH} deep"),
        ("seed:\n" + "".join(" " * n + "-\n" for n in range(100)), f"nested more than {MAX_DEPTH} deep"),
        ("seed: &a [*a]", f"nested more than {MAX_DEPTH} deep"),
        ("seed: *nothing", "found undefined alias"),
        ('seed: "\\ud800"', "half of a surrogate pair"),
        ('seed: "\\0"', "a null character"),
        ("stages: []", "stages (line 5): expected a list with at least one entry"),
    ],
)
def test_what_yaml_allows_and_nobody_means_is_refused_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    assert told in refused(tmp_path, f"{HEAD}{text}\n")


def test_an_alias_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )
    assert f"more than {MAX_VALUES} values after expanding aliases" in refused(tmp_path, bomb)


def test_a_bomb_of_merged_mappings_is_refused(tmp_path: Path) -> None:
    many = ", ".join(f"k{n}: {n}" for n in range(50))
    bomb = f"a0: &a0 {{{many}}}\n" + "".join(f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 16)}]\n" for n in range(1, 30))
    assert "there is no" in refused(tmp_path, bomb) or "expected a list" in refused(tmp_path, bomb), "merging keeps each key once"
    wide = f"a0: &a0 {{{many}}}\nb:\n  <<: [{', '.join(['*a0'] * 17)}]\n"
    assert "a list of at most 16" in refused(tmp_path, wide)


def test_defaults_may_be_laid_under_a_mapping_and_its_own_keys_win(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "name: x\ncorpus: {images: ['*.png'], scale: 4}\n"
        "models:\n- &a {id: a, weights: a.pth, network: imdn, tags: {t: 1}}\n- {<<: *a, id: b}\nstages: [restore: {}]\n"
    )
    a, b = load_recipe(tmp_path / "x.yaml").models
    assert (a.id, b.id) == ("a", "b")
    assert a.weights == b.weights == str(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "expected a mapping"),
        (b"\x89PNG\r\n\x1a\n\0\0", "not text in UTF-8 (byte 0)"),
        (b"name: \xe9", "not text in UTF-8 (byte 6)"),
        (b"- a\n", "expected a mapping with name, corpus, models, stages"),
        (b"a: 1\n---\nb: 2\n", "not YAML: line 2"),
        (b"x" * (5 << 20), "larger than 4 MiB"),
    ],
    ids=["empty", "image", "latin-1", "list", "two documents", "large"],
)
def test_a_file_that_is_no_recipe_says_what_it_is(tmp_path: Path, data: bytes, told: str) -> None:
    assert told in refused(tmp_path, data)


def test_a_byte_order_mark_and_utf16_are_read(tmp_path: Path) -> None:
    text = HEAD + "stages: [restore: {}]\n"
    for data in (text.encode("utf-8-sig"), text.encode("utf-16")):
        (tmp_path / "x.yaml").write_bytes(data)
        assert load_recipe(tmp_path / "x.yaml").name == "x"


def test_a_training_recipe_is_read_as_strictly(tmp_path: Path) -> None:
    head = "name: x\ncorpus: {images: ['*.png']}\ntrain: {network: srresnet, iterations: 1}\n"
    assert "duplicate key 'seed', first in line 4" in refused(tmp_path, head + "seed: 1\nseed: 2\n", loader=load_training)
    assert "train.lr (--set): Input should be greater than 0" in refused(tmp_path, head, loader=load_training, overrides=["train.lr=-1"])
    assert "not YAML" in refused(tmp_path, head, loader=load_training, overrides=["train.lr=["])
    wrong = "name: x\ncorpus: 3\ntrain: {}\n"
    assert "corpus (line 2): Input should be a valid dictionary" in refused(tmp_path, wrong, loader=load_training)


def test_each_command_names_the_other_when_it_is_given_its_recipe(tmp_path: Path) -> None:
    train = "name: x\ncorpus: {images: ['*.png']}\ntrain: {network: srresnet, iterations: 1}\n"
    assert "this recipe trains networks (it has `train`): xlli train x.yaml" in refused(tmp_path, train)
    study = HEAD + "stages: [restore: {}]\n"
    assert "this recipe is a study (it has `stages`): xlli run x.yaml" in refused(tmp_path, study, loader=load_training)


def test_an_override_is_named_as_the_place_of_its_mistake(tmp_path: Path) -> None:
    text = HEAD + "stages:\n- restore: {}\n"
    assert "seed (--set): Input should be a valid integer" in refused(tmp_path, text, overrides=["seed=x"])
    assert "'seed=1\\nseed: 2'" in refused(tmp_path, text, overrides=["seed=1\nseed: 2"])
    (tmp_path / "x.yaml").write_text(text + "limits: null\n")
    assert load_recipe(tmp_path / "x.yaml", overrides=["limits.hours=2"]).limits.hours == 2, "null is a place that can be filled"


def test_models_of_another_file_are_refused_with_that_files_lines_and_files_in_a_circle_are(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text("models:\n- id: a\n  weights: a.pth\n- id: b\n  weight: b.pth\n")
    text = "name: x\ncorpus: {images: ['*.png'], scale: 4}\nmodels: [from: models.yaml]\nstages: [restore: {}]\n"
    assert f"in {tmp_path}/models.yaml: models[1].weight (line 5): there is no key 'weight'" in refused(tmp_path, text)
    (tmp_path / "models.yaml").write_text("- from: models.yaml\n")
    assert "files of models refer to each other" in refused(tmp_path, text)
    assert "expected the path of a file of models, got 3" in refused(tmp_path, text.replace("models.yaml", "3"))


def test_plain_data_is_held_to_the_same_rules(tmp_path: Path) -> None:
    data = yaml.safe_load(HEAD) | {"stages": [{"restore": {}}]}
    hostile = (
        (float("nan"), "not a finite number"),
        (10**30, "more than 18 digits"),
        (b"x", "bytes is not allowed"),
        ({1: 2}, "is not a string"),
    )
    for wrong, told in hostile:
        with pytest.raises(RecipeError, match=f"here: seed: .*{told}"):
            parse_recipe({**data, "seed": wrong}, base=tmp_path, where="here")
    with pytest.raises(RecipeError, match="expected a mapping"):
        parse_recipe([], base=tmp_path)  # type: ignore[arg-type]
    check_plain({"a": [1, 2.5, "x", None, True]}, "here")


def test_lines_are_those_of_the_text() -> None:
    value, lines = read_text("a:\n- b: 1\n- c:\n    d: 2\n", "here")
    assert value == {"a": [{"b": 1}, {"c": {"d": 2}}]}
    assert lines.of(("a", 1, "c", "d")) == 4
    assert lines.of(("a", 0)) == 2
    assert lines.of(("a", 0, "b", "nothing", 7)) == 2, "the last part that is there"
    assert lines.of(("z",)) is None
