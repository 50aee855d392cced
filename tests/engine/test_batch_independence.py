"""A neighbour must not change a result: whatever else is in the batch, the number of a sample is its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from xlli_ray.engine.run.driver import Summary
from xlli_ray.errors import PlanError
from xlli_ray.models.batch_independence import Manners
from xlli_ray.recipe import Recipe
from xlli_ray.study import open_study

STAGES = [{"restore": {"save": True}}, {"features": {"layers": ["net.head"]}}]
ALONE = ("BatchNormalised", "ByMaximum", "OneOnly", "Dropping")


def asked(recipe: Callable[..., Recipe], kind: str, **sections: Any) -> Recipe:
    return recipe("toy:neighbours", args={"kind": kind}, **{"stages": STAGES, "batch": {"features": 4, "restore": 4}, **sections})


def scores(study: Path) -> dict[tuple[str, str], float]:
    table = open_study(study).sql("select source_sha, label, psnr_y from restore join samples using (sample_id) where status = 'ok'")
    return {(row["source_sha"], row["label"]): row["psnr_y"] for row in table.to_pylist()}


@pytest.mark.parametrize("kind", ALONE)
def test_a_sample_scores_the_same_with_any_neighbours(
    kind: str, recipe: Callable[..., Recipe], run: Callable[..., Summary], corpus: Path, tmp_path: Path
) -> None:
    """D3: with a batch's statistics an image's PSNR was 9.75 alone and 13.34 with a neighbour."""
    summary = run(asked(recipe, kind), "all")
    for path in sorted(corpus.glob("*.png"))[::2]:
        path.unlink()  # half of the neighbours go, and every place in a batch is another's
    few = run(asked(recipe, kind), "few")
    together, apart = scores(tmp_path / "all"), scores(tmp_path / "few")
    assert len(together) == 2 * len(apart) == 24
    assert {key: together[key] for key in apart} == apart
    assert all(cell.identity["batch"] == 1 for cell in open_study(tmp_path / "few").manifest.cells)
    assert any(note.startswith("small: batches of one: ") for note in (*summary.notes, *few.notes))


def test_a_network_that_draws_gets_draws_of_the_sample_and_so_the_same_again(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], tmp_path: Path
) -> None:
    torch.manual_seed(1)
    summary = run(asked(recipe, "Dropping"), "a")
    assert any("draws random numbers" in note for note in summary.notes)
    torch.manual_seed(2)
    run(asked(recipe, "Dropping"), "b")
    run(asked(recipe, "Dropping", seed=5), "c")
    assert scores(tmp_path / "a") == scores(tmp_path / "b")
    clean = {key for key in scores(tmp_path / "a") if key[1] == "clean"}
    assert all(scores(tmp_path / "a")[key] != scores(tmp_path / "c")[key] for key in clean)


def test_a_network_that_remembers_is_refused(recipe: Callable[..., Recipe], run: Callable[..., Summary]) -> None:
    with pytest.raises(PlanError, match=r"model small .*the same image gives a different result each time"):
        run(asked(recipe, "Remembering"))


def test_only_such_networks_get_batches_of_one_and_a_study_of_before_is_told_why(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run(asked(recipe, "Choosy"), "plain")
    assert all(cell.identity["batch"] == 4 for cell in open_study(tmp_path / "plain").manifest.cells)
    assert all("draws" not in cell.identity for cell in open_study(tmp_path / "plain").manifest.cells)
    assert not any("batches of one" in note for note in plain.notes)
    with monkeypatch.context() as patch:
        patch.setattr("xlli_ray.engine.run.network_trials.manners", lambda model, taps=(): Manners())  # as it was before anybody looked
        run(asked(recipe, "ByMaximum"), "old")
    with pytest.raises(PlanError, match=r"batch was 4, is now 1 \(a network whose results depend on the other images"):
        run(asked(recipe, "ByMaximum", stages=[*STAGES, {"restore": {"id": "more"}}]), "old")


def test_a_layer_that_one_image_does_not_pass_fails_for_that_image_alone(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], corpus: Path, tmp_path: Path
) -> None:
    """A8: a NetworkError of a batch failed all of its samples."""
    run(asked(recipe, "Choosy"))
    failed = open_study(tmp_path / "study").sql(
        "select distinct s.source from failures f join samples s using (sample_id) where f.stage = 'features'"
    )
    names = sorted(Path(source).name for source in failed["source"].to_pylist())
    assert names == ["03.png", "07.png"]


def test_other_images_in_the_batch_change_no_score(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], corpus: Path, tmp_path: Path
) -> None:
    """Other images in their batches, which the size alone decides: scores of the rest stay the same to the bit."""
    run(recipe(stages=STAGES[:1]), "before")
    rng = np.random.default_rng(9)
    spoilt = sorted(corpus.glob("*.png"))[1::3]
    before = scores(tmp_path / "before")
    for path in spoilt:
        size = Image.open(path).size[::-1]
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path)
    run(recipe(stages=STAGES[:1]), "after")
    after = scores(tmp_path / "after")
    common = before.keys() & after.keys()
    assert len(common) == 24 - 2 * len(spoilt)
    assert {key: before[key] for key in common} == {key: after[key] for key in common}
