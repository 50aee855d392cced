"""Which files are the frames of one clip, and in which order, according to the numbers in their names."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from xlli_ray.errors import RecipeError

VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".y4m")
"""Extensions of files that contain a whole clip, in lower case."""
_DIGITS = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class Clip:
    """The frames of a clip. `uri`: their address, with `*` for the frame number, or that of a video file."""

    name: str
    """For people: the folder, with the files' name if the folder contains several clips."""
    uri: str
    frames: tuple[str, ...]
    """URIs by frame number; empty for a video file."""
    numbers: tuple[int, ...]


def is_video(uri: str) -> bool:
    """Whether a file contains a whole clip."""
    return uri.lower().endswith(VIDEOS)


def clips_of(uris: Sequence[str]) -> list[Clip]:
    """The clips formed by these files.

    Files of one folder whose names differ in numbers only are frames of clips: the last number that differs is the frame number, the
    others distinguish the clips of the folder. Raises RecipeError for a name without number, and for two files of one number.
    """
    alike: dict[tuple[str, ...], list[tuple[tuple[str, ...], str]]] = defaultdict(list)
    clips = []
    for uri in uris:
        folder, name = posixpath.split(uri)
        stem, ending = posixpath.splitext(name)
        if is_video(uri):
            clips.append(Clip(f"{posixpath.basename(folder)}/{stem}", uri, (), ()))
        elif not (numbers := _DIGITS.findall(stem)):
            raise RecipeError(f"clips: {uri} has no frame number in its name")
        else:
            alike[(folder, ending, *_DIGITS.split(stem))].append((tuple(numbers), uri))
    for (folder, ending, *texts), members in alike.items():
        clips += _clips_alike(folder, ending, texts, members)
    several = [posixpath.dirname(clip.uri) for clip in clips]
    named = [
        Clip(posixpath.basename(folder), clip.uri, clip.frames, clip.numbers) if clip.frames and several.count(folder) == 1 else clip
        for clip, folder in zip(clips, several)
    ]
    return sorted(named, key=lambda clip: clip.uri)


def _clips_alike(folder: str, ending: str, texts: Sequence[str], members: Iterable[tuple[tuple[str, ...], str]]) -> list[Clip]:
    """Clips of files whose names have the same `texts` around their numbers."""
    columns = list(zip(*(numbers for numbers, _ in members)))
    varying = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    place = varying[-1] if varying else len(columns) - 1
    groups: dict[tuple[str, ...], dict[int, str]] = defaultdict(dict)
    for numbers, uri in members:
        frames = groups[(*numbers[:place], "*", *numbers[place + 1 :])]
        if (other := frames.setdefault(int(numbers[place]), uri)) != uri:
            raise RecipeError(f"clips: {other} and {uri} are both frame {int(numbers[place])} of one clip")
    out = []
    for key, frames in groups.items():
        stem = texts[0] + "".join(number + text for number, text in zip(key, texts[1:]))
        ordered = sorted(frames)
        name = f"{posixpath.basename(folder)}/{stem}"
        out.append(Clip(name, f"{folder}/{stem}{ending}", tuple(frames[number] for number in ordered), tuple(ordered)))
    return out


def gap(numbers: Sequence[int]) -> str:
    """A message about missing frame numbers of a clip, '' if they are evenly spaced."""
    steps = [after - before for before, after in pairwise(numbers)]
    for before, step in zip(numbers, steps):
        if step != min(steps):
            return f"between frames {before} and {before + step} some are missing: the others are {min(steps)} apart"
    return ""
