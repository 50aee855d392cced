"""Kind `clips`: short sequences of frames, cut from folders of frames or from video files.

A window of frames is one sample (frame, channel, y, x). With targets alone, the input is made frame by frame as for an image
(`images`): draws in the target domain are keyed by the study's seed and each frame's sha256, draws in the input domain by the seed, the
clip's content and the position of the frame in its window. So noise differs from frame to frame, but is the same for the same clip
everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from xlli_ray.corpus.decode import Decoded
from xlli_ray.corpus.files import video
from xlli_ray.corpus.files.frames import Clip, clips_of, gap, is_video
from xlli_ray.corpus.files.sources import list_files, pair_files
from xlli_ray.corpus.ids import sha256_hex
from xlli_ray.corpus.kinds.images import check_scale, make
from xlli_ray.corpus.kinds.kind import CorpusKind, Source, one_or_many
from xlli_ray.corpus.kinds.pairs import scale_of
from xlli_ray.corpus.sample import Loaded, Loader, Sample, cut, planes
from xlli_ray.corpus.scan import Look, Tiles
from xlli_ray.corpus.spec import CorpusSpec
from xlli_ray.errors import RecipeError, SampleError, counted

_TEXTS = pa.list_(pa.string())
_FRAMES = ("frame_sources", "frame_shas", "target_frame_sources", "target_frame_shas")


class ClipSpec(BaseModel):
    """Folders or globs of frames with a number in their names, or video files; and how they are divided into samples.

    `frames: GLOBS` and `videos: GLOBS` are written for `target`, `window` for the number of frames; validated, there are only the
    first four fields, so that both ways of writing a corpus are the same corpus.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: list[str] | None = Field(default=None, description="given inputs, used unchanged; null: made from the target")
    target: list[str] | None = Field(default=None, description="clean frames; null: none")
    frames: int = Field(default=7, ge=1, le=10_000, description="number of frames of a sample; globs: the clean frames, as `target`")
    stride: int | None = Field(default=None, ge=1, description="frames from the start of one sample to the next; null: `frames`")
    window: None = Field(default=None, exclude=True, description="number of frames of a sample, where `frames` are globs")
    videos: None = Field(default=None, exclude=True, description="clean video files, as `target`")

    @model_validator(mode="before")
    @classmethod
    def _written(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        if told := [name for name in ("label", "parameters", "mask") if data.get(name) is not None]:
            raise ValueError(f"{told[0]} goes only with pairs of images; of clips neither labels nor masks are known: leave it out")
        given = {key: value for key, value in data.items() if key not in ("window", "videos")}
        clean = {name: data[name] for name in ("frames", "videos", "target") if isinstance(data.get(name), str | Sequence)}
        if len(clean) > 1:
            raise ValueError(f"{' and '.join(clean)} both name the clean frames; give one of them")
        length = data.get("window")
        if length is not None and "frames" in given and "frames" not in clean:
            raise ValueError(
                f"window: {length!r} and frames: {given['frames']!r} are both the number of frames of a sample; give window with "
                "frames: GLOBS, or frames: NUMBER with target: GLOBS"
            )
        if clean:
            ((name, globs),) = clean.items()
            given = {key: value for key, value in given.items() if key != name} | {"target": globs}
        return given if length is None else given | {"frames": _number(length)}

    @field_validator("input", "target", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return one_or_many(value)

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.input is None and self.target is None:
            raise ValueError("expected input, target, or both: no files are named; clean ones may be written frames: GLOBS, window: NUMBER")
        return self


def _number(window: Any) -> Any:
    if isinstance(window, bool) or not isinstance(window, int):
        raise ValueError(f"window: {window!r} is not a number of frames; expected an integer such as 7")
    return window


class Clips(CorpusKind):
    """`clips: {frames: "Vid4/*/*.png", window: 7, stride: 1}`, with `scale`; or `input`; or both."""

    Given: ClassVar[Any] = ClipSpec
    CLIPS: ClassVar[bool] = True
    FILES_SHARED: ClassVar[bool] = True
    COLUMNS: ClassVar[Mapping[str, pa.DataType]] = {
        "clip": pa.string(), "first_frame": pa.int64(), "frames": pa.int32(), **dict.fromkeys(_FRAMES, _TEXTS),
    }  # fmt: skip

    def makes(self, corpus: CorpusSpec) -> bool:
        """Whether only targets are given."""
        return corpus.given.input is None

    def check(self, corpus: CorpusSpec) -> None:
        super().check(corpus)
        if corpus.pies is not None:
            raise ValueError("pies is only for images: omit it")

    def fixed(self, given: Any) -> Any:
        return {"frames": given["frames"], "stride": given["stride"], "given": [name for name in ("input", "target") if given[name]]}

    def sources(self, given: ClipSpec, corpus: CorpusSpec, base: Path | str) -> list[Source]:
        clips: list[tuple[Clip, Clip | None]]
        if given.input is None or given.target is None:
            clips = [(clip, None) for clip in clips_of(list_files(given.input or given.target or [], base))]
        else:
            clips = _paired(pair_files(given.input, given.target, base))
        for clip, _ in clips:
            if not clip.frames:
                video.check_installed(clip.uri)
        cutting = (given.frames, given.stride or given.frames)
        return [
            Source("clips", clip.uri, None if target is None else target.uri, clip=clip, target_clip=target, windows=cutting)
            for clip, target in clips
        ]

    def scan(self, source: Source, look: Look, row: dict[str, Any]) -> None:
        clip, target = source.clip, source.target_clip
        assert clip is not None
        if missing := gap(clip.numbers):
            raise SampleError(missing)
        frames, stride = source.windows
        made = target is None and look.corpus.made
        tiles: dict[int, Tiles] = {}  # of the middle frame of each window
        count = 0
        targets = _read(target, look, row, "target_") if target is not None else None
        for count, decoded in enumerate(_read(clip, look, row, ""), 1):
            full = next(targets) if targets is not None else decoded
            row |= {"bits": decoded.bits, "mode": decoded.mode, "made": made}
            if made:
                row["scale"] = look.corpus.scale or 1
                check_scale(row["height"], row["width"], row["scale"])
            else:
                sizes = (row["height"], row["width"], row["target_height"], row["target_width"])
                row["scale"] = 0 if targets is None else scale_of(*sizes)
            if look.patches is not None and (count - 1 - frames // 2) % stride == 0:
                tiles[count - 1 - frames // 2] = look.tiles(row, full)
        if targets is not None and next(targets, None) is not None:
            raise SampleError(f"the target {source.target} has more frames than the input")
        firsts = range(0, count - frames + 1, stride)
        row |= {"clip": clip.name, "frames": frames, "numbers": list(clip.numbers) or list(range(count))}
        row["windows"] = [[first, None] for first in firsts]
        if look.patches is not None:
            row["windows"] = [[first, look.pick(tiles[first], *_shas(row, first))] for first in firsts if tiles[first].varied]
        if not row["windows"]:
            short = f"the clip has {counted(count, 'frame')}, a sample has {frames}"
            why = "the middle frames are too small or too flat" if firsts else short
            row |= {"status": "skipped", "reason": f"no sample: {why}"}

    def unfold(self, row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """One row per window."""
        count = row["frames"]
        for first, boxes in row["windows"]:
            sha, target_sha = _shas(row, first)
            extra: dict[str, Any] = {"clip": row["clip"], "first_frame": row["numbers"][first], "frames": count}
            for name in _FRAMES:
                files = row.get(name)
                extra[name] = files if files is None or len(files) < len(row["numbers"]) else files[first : first + count]
            yield {**row, "sha": sha, "target_sha": target_sha, "boxes": boxes, "extra": extra}

    def load(self, sample: Sample, loader: Loader, into: NDArray[np.float32] | None) -> Loaded:
        given = _pixels(sample, sample.frame_files, loader)
        scale = max(1, sample.scale)
        if sample.target_files:
            pairs = zip(given, _pixels(sample, sample.target_files, loader), strict=True)
            parts = [
                Loaded(planes(cut(small, sample.box, scale=scale), _place(into, i)), planes(cut(whole, sample.box)))
                for i, ((_, small), (_, whole)) in enumerate(pairs)
            ]
        elif sample.scale:
            key = f"{sample.seed}|{sample.content}"
            parts = [make(loader, sample, whole, sha, f"{key}|{i}", _place(into, i)) for i, (sha, whole) in enumerate(given)]
        else:
            parts = [Loaded(planes(cut(frame, sample.box), _place(into, i)), None) for i, (_, frame) in enumerate(given)]
        ours = into is not None and all(np.shares_memory(part.input, into) for part in parts)
        return Loaded(
            input=into if ours and into is not None else np.stack([part.input for part in parts]),
            target=None if parts[0].target is None else np.stack([part.target for part in parts if part.target is not None]),
            extras={name: np.stack([part.extras[name] for part in parts]) for name in parts[0].extras},
        )


def _paired(files: Sequence[tuple[str, str]]) -> list[tuple[Clip, Clip | None]]:
    """Clips of inputs with those of their targets, matched file by file."""
    target_of = dict(files)
    out: list[tuple[Clip, Clip | None]] = []
    for clip in clips_of([source for source, _ in files]):
        frames = tuple(target_of[uri] for uri in clip.frames)
        mixed = [uri for uri in frames or (target_of[clip.uri],) if is_video(uri) != (not clip.frames)]
        if mixed:
            raise RecipeError(f"clips: {clip.uri} and its target {mixed[0]}: expected frames for frames, or a video for a video")
        if not frames:
            out.append((clip, replace(clip, uri=target_of[clip.uri])))
            continue
        out.append((clip, replace(clips_of(frames)[0], frames=frames, numbers=clip.numbers)))
    return out


def _read(clip: Clip, look: Look, row: dict[str, Any], prefix: str) -> Iterator[Decoded]:
    """The frames of a clip, one after the other; their files, sha256s and size go into `row` under keys beginning with `prefix`."""
    row |= {f"{prefix}frame_sources": list(clip.frames or (clip.uri,)), f"{prefix}frame_shas": []}
    for number, decoded in enumerate(_decoded(clip, look, row[f"{prefix}frame_shas"])):
        height, width = decoded.pixels.shape[:2]
        if number and (height, width) != (row[f"{prefix}height"], row[f"{prefix}width"]):
            raise SampleError(
                f"frame {(clip.numbers or range(number + 1))[number]} has {width} x {height} pixels, those before it "
                f"{row[f'{prefix}width']} x {row[f'{prefix}height']}"
            )
        row |= {f"{prefix}height": height, f"{prefix}width": width}
        yield decoded


def _decoded(clip: Clip, look: Look, shas: list[str]) -> Iterator[Decoded]:
    if not clip.frames:
        data = look.bytes_of(clip.uri)
        shas.append(sha256_hex(data))
        yield from video.frames(data, max_pixels=look.max_pixels)
    for uri in clip.frames:
        try:
            sha, decoded = look.read(uri)
        except SampleError as error:
            raise SampleError(f"frame {uri}: {error}") from error
        shas.append(sha)
        yield decoded


def _shas(row: Mapping[str, Any], first: int) -> tuple[str, str | None]:
    """The hashes that identify the bytes of a window: of its input, and of its target."""
    count, total = row["frames"], len(row["numbers"])

    def one(shas: Sequence[str]) -> str:
        text = "\n".join(shas[first : first + count]) if len(shas) == total else f"{shas[0]}|{first}|{count}"
        return sha256(text.encode()).hexdigest()

    return one(row["frame_shas"]), one(row["target_frame_shas"]) if row.get("target_frame_shas") else None


def _pixels(sample: Sample, files: Sequence[tuple[str, str]], loader: Loader) -> list[tuple[str, NDArray[np.float32]]]:
    """(hash of its bytes, pixels) of each frame of the sample."""
    if not is_video(files[0][0]):
        return [(sha, loader.pixels(uri, sha)) for uri, sha in files]
    ((uri, sha),) = files
    first, count = sample.first_frame, sample.frames
    file = loader.remember(("video", sha), lambda: video.Windows(loader.bytes_of(uri, sha), max_pixels=loader.max_pixels))
    frames = loader.remember(("clip", sha, first, count), lambda: file.window(first, count))
    return [(f"{sha}|{first + i}", frame) for i, frame in enumerate(frames)]


def _place(into: NDArray[np.float32] | None, index: int) -> NDArray[np.float32] | None:
    """Destination of one frame of the input."""
    return into[index] if into is not None and into.ndim == 4 and index < len(into) else None
