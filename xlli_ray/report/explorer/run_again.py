"""The command that continues a study, for the commands that the page prints: its recipe, place and settings, without what a rerun would do
twice (`--replace`, `--takeover`) or what belongs to a machine (`--workers`)."""

from __future__ import annotations

import shlex

RECIPE = "RECIPE.yaml"
"""Stands for a recipe whose file is not known: of a study that Python started."""
KEPT = ("--set", "--limit")


def run_again(command: str, place: str) -> str:
    """`xlli run RECIPE --out PLACE …` for a shell.

    `command`: the study's, as its last driver recorded it: its words joined by blanks, so that one with blanks is several here."""
    words = command.split(" ")
    recipe = words[2] if words[:2] == ["xlli", "run"] and len(words) > 2 and words[2] and not words[2].startswith("-") else RECIPE
    again = ["xlli", "run", recipe, "--out", place]
    for flag, value in _flags(words[3:]):
        if flag == "--limit" and value.isdecimal():
            again[4] = place.removesuffix(f"-limit{value}")
        again += [flag, value]
    return " ".join(shlex.quote(word) for word in again)


def _flags(words: list[str]) -> list[tuple[str, str]]:
    """Those that are kept, with their values."""
    out: list[tuple[str, str]] = []
    value: list[str] | None = None
    for word in [*words, "--"]:
        flag, sign, first = word.partition("=") if word.startswith("--") else ("", "", word)
        if not flag:
            if value is not None:
                value.append(word)
            continue
        if value:
            out[-1] = (out[-1][0], " ".join(value))
        value = None
        if flag in KEPT:
            out.append((flag, ""))
            value = [first] if sign else []
    return out
