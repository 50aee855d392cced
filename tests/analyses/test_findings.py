"""The sentences with which a page begins: exact, of tables with known numbers; they never say more than an interval does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from xlli_ray.analyses import analysis_class
from xlli_ray.analyses.shared.findings import LONGEST, Behind, Estimate, Finding, Outcome, fixed, group_named, listed, named
from xlli_ray.analyses.shared.untrained import untrained
from xlli_ray.registry import ANALYSES

_Row = dict[str, Any]


def told(
    kind: str, tables: dict[str, list[_Row]], figures: tuple[str, ...] = (), *, untrained: tuple[str, ...] = (), **params: Any
) -> list[Finding]:
    """The findings of a result with these rows; what a row lacks is null."""
    cls = analysis_class(kind)
    made = {table.name: pa.Table.from_pylist(tables.get(table.name, []), schema=table.schema) for table in cls.TABLES}
    return list(cls.findings(Outcome(params, made, figures, untrained)))  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [kind for kind, place in ANALYSES.items() if place.startswith("xlli_ray.")])
def test_every_analysis_tells_nothing_of_empty_tables(kind: str) -> None:
    assert told(kind, {}) == []
    assert list(analysis_class(kind).findings(Outcome({}, {}))) == []  # type: ignore[attr-defined]


def test_an_interval_over_zero_shows_no_difference_and_neither_does_none() -> None:
    def apart(value: float, low: float | None, high: float | None) -> str:
        return Estimate(value, low, high, "5 photographs", "dB").against("b", "the second")

    assert apart(0.5, 0.1, 0.9) == "0.50 dB more than b, the second (95 % interval 0.10 to 0.90; 5 photographs)"
    assert apart(-0.5, -0.9, -0.1) == "0.50 dB less than b, the second (95 % interval 0.10 to 0.90; 5 photographs)"
    assert apart(0.5, -0.1, 1.1) == "no difference from b, the second, is shown (0.50 dB, 95 % interval −0.10 to 1.10; 5 photographs)"
    assert apart(0.5, 0.0, 1.0).startswith("no difference from b")
    assert apart(0.5, None, None) == "no difference from b, the second, is shown (0.50 dB, no interval; 5 photographs)"


def test_a_ratio_is_turned_round_with_its_interval() -> None:
    ratio = Estimate(0.5, 0.25, 0.8, "9 photographs", neutral=1.0)
    assert ratio.flipped().times("a") == "2.00 times that of a (95 % interval 1.25 to 4.00; 9 photographs)"
    assert Estimate(1.2, 0.9, 1.6, "9 photographs", neutral=1.0).times("a").startswith("no difference from a is shown (ratio 1.20")


def test_decimals_keep_the_ends_of_an_interval_off_zero() -> None:
    assert Estimate(0.1, 0.0021, 0.2, "5 clips").text == "0.100 (95 % interval 0.002 to 0.200; 5 clips)"
    assert Estimate(0.0127, 0.0113, 0.014, "5 clips").text == "0.013 (95 % interval 0.011 to 0.014; 5 clips)", "not 0.01 to 0.01"
    assert fixed(-0.001) == "0.00"


def test_a_share_is_said_in_per_cent() -> None:
    assert Estimate(0.79, 0.759, 0.821, "37 photographs").percent("percentage points").text == (
        "79 percentage points (95 % interval 76 to 82; 37 photographs)"
    )
    assert "0.4 to 10" in Estimate(0.05, 0.004, 0.1, "").percent().text, "no interval is rounded to nothing"


def test_groups_are_named_in_words_and_not_as_tags() -> None:
    names = ["args=patch", "count=8", "rain=small, count=8", "global_residual=True", "net"]
    assert list(map(group_named, names)) == ["“patch”", "count 8", "rain small, count 8", "global_residual True", "net"]


def test_networks_that_learned_nothing_are_known_by_their_factory_or_tag() -> None:
    def model(name: str, network: str, **tags: Any) -> SimpleNamespace:
        return SimpleNamespace(id=name, network=network, tags=tags)

    tagged = [model("b", "rfdn", trained_on="nothing"), model("c", "rfdn", trained_on="clean")]
    models = [model("a", "x:untrained"), *tagged, model("d", "rfdn")]
    assert untrained(SimpleNamespace(models=models)) == {"a", "b"}  # type: ignore[arg-type]


def test_names_are_cut_and_hide_nothing() -> None:
    assert named("a\u202eb\n") == "a\ufffdb\ufffd"
    assert len(named("x" * 5000)) == LONGEST + 1
    assert listed("abcdef") == "a, b, c, d and 2 more"
    assert listed("ab") == "a and b"


def _di(model: str, di: float, half: float | None, *, images: int = 5, **more: Any) -> _Row:
    ends = {} if half is None else {"di_low": di - half, "di_high": di + half}
    return {"model": model, "label": "given", "height": 48, "width": 48, "images": images, "windows": 10, "di": di, "undefined": 0,
            "inexact": 0, **ends, **more}  # fmt: skip


PAIRS = [
    {"model": "a", "other": "b", "label": "given", "images": 5, "difference": 2.0, "low": 1.0, "high": 3.0},
    {"model": "a", "other": "c", "label": "given", "images": 5, "difference": -0.5, "low": -1.5, "high": 0.5},
    {"model": "b", "other": "c", "label": "given", "images": 5, "difference": -2.5, "low": -3.5, "high": -1.5},
]
_PASSED = [{"model": "a", "control": "randomised_weights", "maps": 10, "images": 5, "alike": 2, "flag": False}]


def test_lam_ranks_networks_and_says_where_no_difference_is_shown() -> None:
    summary = [_di("a", 6.0, 1.0), _di("b", 4.0, 1.0), _di("c", 6.5, 1.0)]
    first, second = told("lam_summary", {"lam_summary": summary, "lam_pairs": PAIRS, "lam_controls": _PASSED}, ("di", "controls"))
    assert first == Finding(
        "The attribution of c is the most spread: the diffusion index (DI, 0 to 100) of its local attribution maps (LAM) is 6.50 (95 % "
        "interval 5.50 to 7.50; 5 photographs); no difference from a, the second, is shown (0.50, interval −0.50 to 1.50); 2.50 more than "
        "b, the lowest (interval 1.50 to 3.50).", "di",
        behind=Behind("", "di", "c", "b"),
    )  # fmt: skip
    assert second == Finding(
        "No network has more than half of its maps fail a control; the most are 2 of 10 maps (a, randomised weights; 5 photographs).",
        "controls",
    )


def test_lam_flags_undefined_maps_and_maps_without_controls() -> None:
    (one,) = told("lam_summary", {"lam_summary": [_di("a", 6.0, None, images=2, undefined=3, inexact=1)]})
    assert one.text == "The diffusion index (DI, 0 to 100) of the local attribution maps (LAM) of a is 6.00 (no interval; 2 photographs)."
    assert one.flag == (
        "maps without a DI: a (3 of 13); maps with a large estimated error: a (1 of 13); whether the maps depend on the networks was not "
        "tested (no controls)"
    )
    failed = [{"model": "a", "control": "shifted_window", "maps": 10, "images": 5, "alike": 8, "flag": True}]
    first, last = told("lam_summary", {"lam_summary": [_di("a", 6.0, 1.0)], "lam_controls": failed})
    assert first.flag == "most maps of a do not follow their window"
    assert last.text == "The maps of a (8 of 10 maps do not follow their window) fail a control: they show the input, not the network."


def test_lam_tells_of_psnr_for_these_networks_and_for_others() -> None:
    def psnr(low: float, p: float) -> str:
        both = {"label": "given", "models": 4, "images": 15}
        within = {**both, "scope": "within images", "rho": 0.3, "low": low, "high": 0.6}
        across = {**both, "scope": "across models", "rho": 0.2, "p": p}
        return told("lam_summary", {"lam_psnr": [within, across]}, ("psnr",))[0].text

    assert psnr(0.1, 0.92) == (
        "Within a photograph, a higher DI goes with a higher PSNR: mean rank correlation (Spearman's ρ) of the 4 networks 0.30 (95 % "
        "interval 0.10 to 0.60; 15 photographs). Between the networks' means (figure) it is 0.20, which over 4 networks shows no "
        "relation (p = 0.92)."
    )
    assert psnr(0.1, 0.01).endswith("Between the networks' means (figure) it is 0.20, more than chance gives (p = 0.01).")
    assert psnr(-0.1, 0.92).startswith(
        "Within a photograph, no rank correlation of DI and PSNR over the 4 networks is shown: ρ 0.30 (95 % interval −0.10"
    )


def _set(model: str, label: str, srga: float, state: str = "ok", **more: Any) -> _Row:
    return {"model": model, "label": label, "srga": srga, "low": srga - 0.5, "high": srga + 0.5, "state": state, "images": 20, "n": 80,
            "clipped": False, "under_floor": False, **more}  # fmt: skip


def _family(model: str, srga: float, first: int, last: int) -> _Row:
    return {"model": model, "family": "all", "sets": 3, "srga": srga, "low": srga - 0.25, "high": srga + 0.25, "first": first, "last": last}


def _apart(model: str, other: str, difference: float, half: float) -> _Row:
    return {"model": model, "other": other, "family": "all", "difference": difference, "low": difference - half, "high": difference + half}


def _srga(untrained: tuple[str, ...] = ()) -> list[Finding]:
    sets = [_set(model, "clean", 0.0, "reference", psnr_y=psnr) for model, psnr in (("a", 20.0), ("b", 30.0), ("c", 29.0))]
    sets += [_set("a", "blur2", 1.0, under_floor=True), _set("b", "blur2", 2.0), _set("c", "blur2", 3.0)]
    families = [_family("a", 1.0, 1, 1), _family("b", 2.0, 2, 2), _family("c", 3.0, 3, 3)]
    pairs = [_apart("a", "b", -1.0, 0.25), _apart("a", "c", -2.0, 0.25), _apart("b", "c", -1.0, 0.25)]
    tables = {"srga": sets, "srga_families": families, "srga_pairs": pairs}
    return told("srga", tables, ("srga", "ranking"), reference="clean", gate=3.0, draw="images", untrained=untrained)


def test_srga_says_in_a_sentence_that_a_low_index_is_not_quality() -> None:
    first, warning, last = _srga()
    assert first == Finding(
        "a has the features that change least with degradation: mean generalization assessment index (SRGA, 0: as on clean) 1.00 (95 % "
        "interval 0.75 to 1.25; 3 degradations, 20 photographs); 1.00 less than b, the second (interval 0.75 to 1.25).", "ranking",
        "on blur2, the index of a cannot be told from chance",
    )  # fmt: skip
    assert warning == Finding(
        "A low SRGA is not quality: a (a poor network, 20.0 dB on clean) has 1.00 (95 % interval 0.75 to 1.25; 20 photographs), less than "
        "2 of 2 better networks (the best, b, 30.0 dB).", "ranking",
    )  # fmt: skip
    assert last == Finding(
        "The features of c change most: SRGA 3.00 (95 % interval 2.75 to 3.25; 20 photographs); 2.00 more than a (interval 1.75 to 2.25).",
        "srga",
    )


def test_srga_does_not_rank_untrained_networks() -> None:
    first, warning = _srga(untrained=("a",))
    assert first.text.startswith("Of 2 trained networks, b has the features that change least with degradation: mean ")
    assert first.text.endswith("1.00 less than c (interval 0.75 to 1.25).")
    assert "a (untrained, 20.0 dB on clean) has 1.00" in warning.text
    assert "less than 2 of 2 trained networks" in warning.text


def test_srga_calls_overlapping_ranks_no_difference() -> None:
    sets = [_set("a", "blur2", 1.0), _set("b", "blur2", 1.1)]
    families = [_family("a", 1.0, 1, 2), _family("b", 1.1, 1, 2)]
    (one,) = told("srga", {"srga": sets, "srga_families": families, "srga_pairs": [_apart("a", "b", -0.1, 0.25)]}, draw="samples")
    assert one.text.endswith("80 samples, these photographs only); no difference from b is shown.")


def _chi(model: str, depth: int, chi: float, null: float = 1.5) -> _Row:
    return {"model": model, "layer": f"conv{depth}", "depth": depth, "labels": "type", "space": "pca50", "images": 12, "chi": chi,
            "low": chi / 2, "high": chi * 2, "null_high": null}  # fmt: skip


def _ratio(kind: str, model: str, ratio: float, low: float, high: float, **more: Any) -> _Row:
    numbers = {"images": 12, "ratio": ratio, "low": low, "high": high}
    return {"kind": kind, "model": model, "labels": "type", "space": "pca50", **numbers, **more}


def test_ddr_compares_last_layers_depth_and_content() -> None:
    rows = [_chi("a", 0, 2.0), _chi("a", 1, 40.0), _chi("b", 0, 2.0), _chi("b", 1, 1.0)]
    contrasts = [
        _ratio("models", "b", 0.025, 0.02, 0.04, other="a", layer="(last)"),
        _ratio("depth", "a", 20.0, 10.0, 30.0), _ratio("depth", "b", 0.5, 0.2, 1.5),
        _ratio("labels", "a", 0.8, 0.5, 1.2, depth=1, subject="type", against="content"),
    ]  # fmt: skip
    first, second, third = told("ddr", {"ddr": rows, "ddr_contrasts": contrasts}, ("depth", "ratio_depth", "embedding"))
    assert first == Finding(
        "In the deep degradation representations (DDR) of its last layer, a separates the types of degradation most: Calinski–Harabasz "
        "index (CHI, 50 principal components) 40.00 (95 % interval 20.00 to 80.00; 12 photographs), against 1.50 of random labels. It is "
        "40.00 times that of b, the second of 2 networks (interval 25.00 to 50.00).", "depth", "separated no better than random labels: b",
        points="embedding",
    )  # fmt: skip
    assert second == Finding(
        "That separation grows with depth in 1 of 2 networks (no difference is shown in 1), a: from the first third of the layers to the "
        "last, CHI by a factor of 20.00 (95 % interval 10.00 to 30.00; 12 photographs; 1.30 on the figure's axis).", "ratio_depth",
        points="embedding",
    )  # fmt: skip
    assert third.text == (
        "In the last layer, no difference between separation by type of degradation and by content is shown; a: CHI by a factor of 0.80 "
        "(95 % interval 0.50 to 1.20; 12 photographs; −0.10 on the figure's axis)."
    )


def test_ddr_neither_counts_untrained_networks_nor_divides_by_next_to_nothing() -> None:
    rows = [_chi("a", 1, 40.0), _chi("b", 1, 20.0), _chi("first", 1, 0.05)]
    contrasts = [
        _ratio("models", "a", 2.0, 1.5, 3.0, other="b", layer="(last)"),
        _ratio("models", "a", 800.0, 400.0, 1600.0, other="first", layer="(last)"),
        _ratio("depth", "a", 500.0, 300.0, 900.0, chi=40.0, other_chi=0.08), _ratio("depth", "b", 4.0, 3.0, 5.0),
        _ratio("depth", "first", 1.9, 1.5, 2.3),
    ]  # fmt: skip
    first, second = told("ddr", {"ddr": rows, "ddr_contrasts": contrasts}, untrained=("first",))
    assert first.text.endswith("against 1.50 of random labels and 0.05 of the untrained network. It is 2.00 times that of b, the second of "
                               "2 trained networks (interval 1.50 to 3.00).")  # fmt: skip
    assert second.text == ("That separation grows with depth in all 2 trained networks, most in a: from the first third of the layers to "
                           "the last, CHI 0.08 to 40.00 (12 photographs).")  # fmt: skip


def test_ddr_below_its_null_separates_nothing() -> None:
    (one,) = told("ddr", {"ddr": [_chi("a", 0, 1.0)]}, ("depth",))
    assert one.text == (
        "In the deep degradation representations (DDR) of its last layer, a is not shown to separate the types of degradation: "
        "Calinski–Harabasz index (CHI, 50 principal components) 1.00 (95 % interval 0.50 to 2.00; 12 photographs), where random labels "
        "reach 1.50 (95 % quantile)."
    )


def _gap(group: str, gap: float, half: float | None, verdict: str, **more: Any) -> _Row:
    ends = {} if half is None else {"gap_low": gap - half, "gap_high": gap + half}
    return {"group": group, "seen": "small", "unseen": "large", "rho_seen": 0.9, "rho_unseen": 0.9 - gap, "gap": gap, "verdict": verdict,
            "alternative": "", "trainings": 3, "backgrounds": 37, "over": "trainings and photographs", **ends, **more}  # fmt: skip


def test_derain_tells_the_largest_gap_the_effect_of_the_images_and_kappa() -> None:
    gaps = [_gap("count=8", 0.02, 0.05, "generalizes"),
            _gap("count=512", 0.5, 0.1, "fits the rain", alternative="E_R inflated (95 % of unseen)")]  # fmt: skip
    tests = [{"unseen": "large", "measure": "k95", "points": 16, "rho": -0.4, "p": 0.14}]
    apart = {"group": "count=8", "other": "count=512", "measure": "rho", "trainings": 3, "backgrounds": 37}
    apart |= {"difference": 0.2, "difference_low": 0.1, "difference_high": 0.3}
    differences = [{**apart, "label": label} for label in ("small", "large")]
    tables = {"derain_gaps": gaps, "derain_differences": differences, "derain_kappa_tests": tests}
    first, second, third = told("derain_summary", tables, ("gaps", "along", "kappa"), of="derain")
    assert first == Finding(
        "Trained on 512 images of small rain, networks remove 90 % of it, but 40 % of large rain: a gap (Δρ in the figure) of 50 "
        "percentage points (95 % interval 40 to 60; 3 trainings, 37 photographs), the largest of 2. Verdicts: overfitting to the "
        "training rain 1, generalization 1.", "gaps",
        "in 95 % of the images with large rain, more than half of the change in the rain is damage, not "
        "removal, which could also explain the gap", Behind("derain", "rho", label="large"),
    )  # fmt: skip
    assert second == Finding(
        "With 8 training images, networks remove more of large rain than with 512: by 20 percentage points (95 % interval 10 to 30; 3 "
        "trainings, 37 photographs).", "along", behind=Behind("derain", "rho", label="large"),
    )  # fmt: skip
    assert third == Finding(
        "No association of the gap with the complexity of the rain relative to the images (κ by k95) is shown: rank correlation −0.40, "
        "p = 0.14, no interval; 16 groups, on large rain.", "kappa",
    )  # fmt: skip


def test_derain_tells_the_smallest_gap_where_there_is_room() -> None:
    gaps = [_gap("n=8", 0.02, 0.05, "generalizes"), _gap("n=512", 0.5, 0.1, "fits the rain")]
    _, second = told("derain_summary", {"derain_gaps": gaps})
    assert second.text == (
        "Trained on small rain, n 8 removes 90 % of it and 88 % of large rain; no gap is shown: 2 percentage points (95 % interval −3 to "
        "7; 3 trainings, 37 photographs), the smallest of 2."
    )


def test_derain_without_an_interval_shows_no_gap() -> None:
    (one,) = told("derain_summary", {"derain_gaps": [_gap("a", 0.5, None, "undecided", trainings=1, backgrounds=2, over="photographs")]})
    assert one.text.endswith(
        "and 40 % of large rain; no gap is shown: 50 percentage points (no interval; 2 photographs). Verdict: undecided."
    )
    assert one.flag == "the interval is for these trainings only"


def _bin(**row: Any) -> _Row:
    return {"stratum": "all", "motion_low": 0.0, "trainings": 3, "clips": 30, **row}


def _psnr(group: str, psnr: float) -> _Row:
    return _bin(group=group, psnr=psnr, psnr_low=psnr - 1, psnr_high=psnr + 1)


def _difference(group: str, other: str, value: float, half: float) -> _Row:
    return _bin(group=group, other=other, difference=value, difference_low=value - half, difference_high=value + half)


def _window(value: float, half: float, beyond: int) -> _Row:
    return {"group": "a", "other": "b", "window": 8.0, "inside": 0.5, "beyond": 0.5 + value, "change": value, "change_low": value - half,
            "change_high": value + half, "values_inside": 1000, "values_beyond": beyond, "trainings": 3, "clips": 30}  # fmt: skip


def test_alignment_ranks_groups_and_tells_what_a_window_changes() -> None:
    motion = [_psnr("a", 30.0), _psnr("b", 29.5), _psnr("one", 29.0)]
    apart = [_difference("a", "b", 0.5, 0.25), _difference("a", "one", 1.0, 0.25), _difference("b", "one", 0.5, 0.75)]
    tables = {"alignment_motion": motion, "alignment_differences": apart, "alignment_windows": [_window(-0.5, 0.25, 500)]}
    first, second, third = told("alignment_summary", tables, ("psnr_by_motion", "difference_by_motion"), single="one")
    assert first == Finding(
        "a has the highest PSNR over all pixels, 30.00 dB (95 % interval 29.00 to 31.00; 3 trainings, 30 clips); 0.50 dB more than b, the "
        "second (interval 0.25 to 0.75); 1.00 dB more than one, the lowest (interval 0.75 to 1.25).", "psnr_by_motion",
    )  # fmt: skip
    assert second.text == (
        "The lead of a over b in PSNR shrinks where motion is beyond 8 input pixels (a vertical line of the figure): 0.00 dB beyond, 0.50 "
        "dB up to there; change −0.50 dB (95 % interval −0.75 to −0.25; 3 trainings, 30 clips)."
    )
    assert third == Finding(
        "1 of 2 multi-frame variants have a higher PSNR than one, which sees one frame; the least, b: no difference from one is shown "
        "(0.50 dB, 95 % interval −0.25 to 1.25; 3 trainings, 30 clips).", "psnr_by_motion",
    )  # fmt: skip


def test_alignment_flags_few_pixels_and_networks_worse_than_one_frame() -> None:
    motion = [_psnr("one", 30.0), _psnr("a", 29.0)]
    tables = {"alignment_motion": motion, "alignment_differences": [_difference("a", "one", -1.0, 0.25)]}
    first, second, _ = told("alignment_summary", {**tables, "alignment_windows": [_window(0.1, 0.25, 5)]}, single="one")
    assert first.flag == "worse than the control that sees one frame only: a"
    assert second.text.startswith("The lead of a over b in PSNR is not shown to change where motion is beyond 8 input pixels (")
    assert second.flag == "0.5 % of the values move so far"


def _kappa(degradation: str, measure: str, kappa: float, verdict: str) -> _Row:
    ends = {"kappa_low": kappa - 0.2, "kappa_high": kappa + 0.2}
    return {"degradation": degradation, "set": "all", "measure": measure, "kappa": kappa, **ends, "verdict": verdict, "n": 40}


def test_complexity_tells_which_degradation_is_simpler_and_whether_measures_agree() -> None:
    rows = [
        _kappa("rain", "k95", -0.5, "fits the degradation"), _kappa("noise", "k95", 0.1, "undecided"),
        _kappa("rain", "preq", 0.5, "learns the image"), _kappa("noise", "preq", 0.1, "undecided"),
    ]  # fmt: skip
    first, second, third = told("complexity_summary", {"complexity_kappa": rows}, ("kappa",))
    assert first == Finding(
        "Relative complexity κ (k95) of rain, the lowest of 2: −0.50 (95 % interval −0.70 to −0.30; 40 photographs); simpler than the "
        "images, so a network is expected to fit it.", "kappa",
    )  # fmt: skip
    assert second.text.endswith("0.10 (95 % interval −0.10 to 0.30; 40 photographs); no difference between the complexity of the "
                                "degradation and of the images is shown.")  # fmt: skip
    assert third == Finding(
        "All 2 measures have the same verdict on 1 of 2 degradations.", "kappa", "opposite to k95 on some degradation: prequential, steps"
    )


def test_group_means_names_the_highest_group_and_where_else_it_is_that() -> None:
    def mean(group: str, label: str, value: float) -> _Row:
        return {"group": group, "column_name": "psnr_y", "label": label, "mean": value, "low": value - 1, "high": value + 1, "trainings": 3,
                "images": 9}  # fmt: skip

    means = [mean("x=1", "clean", 30.0), mean("x=2", "clean", 29.0), mean("x=1", "blur2", 20.0), mean("x=2", "blur2", 21.0)]
    apart = [{"group": "x=2", "other": "x=1", "column_name": "psnr_y", "label": "clean", "difference": -1.0, "low": -1.5, "high": -0.5,
              "trainings": 3, "images": 9}]  # fmt: skip
    (one,) = told("group_means", {"group_means": means, "group_differences": apart}, ("psnr_y",))
    assert one == Finding(
        "x 1 has the highest PSNR on luma (PSNR-Y) on clean, 30.00 dB (95 % interval 29.00 to 31.00; 3 trainings, 9 photographs); 1.00 dB "
        "more than x 2 (interval 0.50 to 1.50). Its mean is the highest in 1 of 2 degradations, clean included.", "psnr_y",
    )  # fmt: skip
