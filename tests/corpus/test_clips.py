"""Clips: which files are frames of one, how they are cut into samples, and that every frame is the one that was asked for."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from PIL import Image

import xlli_ray
from xlli_ray.corpus.decode import decode
from xlli_ray.corpus.degradations.noise import Noise
from xlli_ray.corpus.files import video
from xlli_ray.corpus.files.frames import clips_of, gap
from xlli_ray.corpus.resize import downscale, modcrop
from xlli_ray.corpus.sample import Loader, Sample, sample_from_row, study_loader
from xlli_ray.corpus.scan import expand, list_sources, scan_source
from xlli_ray.corpus.spec import CorpusSpec
from xlli_ray.corpus.table import SCHEMA
from xlli_ray.errors import EnvironmentFailure, RecipeError, SampleError


def frame(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(folder: Path, count: int, *, seed: int = 0, size: tuple[int, int] = (16, 24), name: str = "hr_{:02d}.png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(frame(*size, seed + i)).save(folder / name.format(i + 1))
    return folder


def scan(spec: CorpusSpec, base: Path) -> tuple[list[dict[str, Any]], pa.Table]:
    rows = [scan_source(source, spec, 0) for source in list_sources(spec, base)]
    batches = list(expand(rows, spec, 0))
    return rows, pa.Table.from_batches(batches) if batches else pa.table({})


def samples(spec: CorpusSpec, base: Path) -> list[Sample]:
    return [sample_from_row(row) for row in scan(spec, base)[1].to_pylist()]


def test_numbers_tell_frames_and_clips_apart() -> None:
    assert [(clip.name, clip.numbers) for clip in clips_of(["/v/city/hr_02.png", "/v/city/hr_10.png", "/v/city/hr_9.png"])] == [
        ("city", (2, 9, 10))
    ]
    several = clips_of([f"/v/clip{k}_{i}x4.png" for k in (1, 2) for i in (3, 4, 5)])
    assert [(clip.name, clip.uri, clip.numbers) for clip in several] == [
        ("v/clip1_*x4", "/v/clip1_*x4.png", (3, 4, 5)), ("v/clip2_*x4", "/v/clip2_*x4.png", (3, 4, 5)),
    ]  # fmt: skip
    assert [clip.frames for clip in clips_of(["/v/a.MP4"])] == [()]
    with pytest.raises(RecipeError, match="no frame number in its name"):
        clips_of(["/v/a.png"])
    with pytest.raises(RecipeError, match="both frame 1 of one clip"):
        clips_of(["/v/1.png", "/v/01.png"])
    assert gap((1, 2, 3)) == gap((2, 4, 6)) == gap((7,)) == ""
    assert "between frames 2 and 5 some are missing" in gap((1, 2, 5, 6))


def test_windows_are_samples_with_columns_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "a", 8)
    spec = CorpusSpec(clips={"target": "a", "frames": 3, "stride": 2}, scale=2, degradations=["clean", {"noise": 20}])
    (row,), table = scan(spec, tmp_path)
    assert row["status"] == "ok"
    assert table.schema.names[: len(SCHEMA)] == SCHEMA.names
    assert table.schema.names[len(SCHEMA) : len(SCHEMA) + 3] == ["clip", "first_frame", "frames"]
    rows = table.to_pylist()
    assert {(one["bucket"], one["clip"], one["frames"], one["scale"]) for one in rows} == {("t0003h0008w0012", "a", 3, 2)}
    assert sorted(one["first_frame"] for one in rows if one["label"] == "clean") == [1, 3, 5]
    for one in rows:
        shas = [sha256((tmp_path / "a" / f"hr_{one['first_frame'] + i:02d}.png").read_bytes()).hexdigest() for i in range(3)]
        assert one["frame_shas"] == shas
        assert one["source_sha"] == sha256("\n".join(shas).encode()).hexdigest()


def test_inputs_are_made_frame_by_frame_and_draws_differ_between_frames_only(tmp_path: Path) -> None:
    write(tmp_path / "a", 5, size=(17, 26))
    spec = CorpusSpec(clips={"target": "a/*.png", "frames": 3, "stride": 1}, scale=2, degradations=["clean", {"noise": 20}, {"blur": 1}])
    alone = CorpusSpec(images="a/*.png", scale=2, degradations=[{"blur": 1}])
    blurred = {sample.source: Loader().load(sample).input for sample in samples(alone, tmp_path)}
    for sample in samples(spec, tmp_path):
        loaded = Loader().load(sample)
        assert loaded.input.shape == sample.size.shape() == (3, 3, 8, 13)
        assert loaded.target is not None
        assert loaded.target.shape == (3, 3, 16, 26)
        for i, (uri, _) in enumerate(sample.frame_files):
            clean = modcrop(decode(Path(uri).read_bytes()).pixels, 2)
            small = downscale(clean, 2)
            if sample.label == "noise20":
                small = Noise.of(20).apply(small, key=f"0|{sample.content}|{i}").image
            wanted = blurred[uri] if sample.label == "blur1" else small.transpose(2, 0, 1) / np.float32(255)
            assert np.array_equal(loaded.input[i], wanted)
            assert np.array_equal(loaded.target[i], clean.transpose(2, 0, 1))
        place = np.empty(sample.size.shape(), np.float32)
        assert Loader().load(sample, into=place).input is place
        assert np.array_equal(place, loaded.input)


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ({"frames": "a/*.png", "window": 3, "stride": 1}, {"target": "a/*.png", "frames": 3, "stride": 1}),
        ({"frames": ["a", "b"]}, {"target": ["a", "b"], "frames": 7}),
        ({"videos": "*.mp4", "window": 5}, {"target": "*.mp4", "frames": 5}),
        ({"target": "a", "window": 5}, {"target": "a", "frames": 5}),
        ({"frames": "hr", "input": "lr", "window": 2}, {"input": "lr", "target": "hr", "frames": 2}),
    ],
)
def test_both_ways_of_writing_clips_are_one_corpus(written: dict[str, Any], means: dict[str, Any]) -> None:
    scale = {} if "input" in means else {"scale": 2}
    first, second = CorpusSpec(clips=written, **scale), CorpusSpec(clips=means, **scale)
    assert first == second
    assert first.model_dump(mode="json") == second.model_dump(mode="json")
    assert set(first.model_dump()["clips"]) == {"input", "target", "frames", "stride"}, "what the hash of a corpus is made from"


def test_one_clip_under_two_names_is_one_sample_whatever_the_order(tmp_path: Path) -> None:
    write(tmp_path / "b", 6)
    shutil.copytree(tmp_path / "b", tmp_path / "a")
    write(tmp_path / "c", 6, seed=100)
    spec = CorpusSpec(clips={"input": "*/*.png", "frames": 3})
    rows, table = scan(spec, tmp_path)
    assert table.num_rows == 4
    assert {(one["clip"], tuple(one["aliases"])) for one in table.to_pylist()} == {("a", (str(tmp_path / "b" / "hr_*.png"),)), ("c", ())}
    assert pa.Table.from_batches(expand(rows[::-1], spec, 0)).equals(table)
    assert table["source_sha"].to_pylist() == sorted(table["source_sha"].to_pylist())


def test_both_given_are_pairs_and_patches_lie_in_the_same_place_of_every_frame(tmp_path: Path) -> None:
    write(tmp_path / "hr", 6, size=(32, 48))
    write(tmp_path / "lr", 6, seed=50, size=(16, 24), name="lr_{:02d}.png")
    spec = CorpusSpec(clips={"input": "lr/lr_*.png", "target": "hr/hr_*.png", "frames": 2}, patches={"size": 16, "per_image": 2})
    made = samples(spec, tmp_path)
    assert {(sample.scale, sample.size.bucket, sample.label) for sample in made} == {(2, "t0002h0008w0008", "given")}
    assert len(made) == 6
    for sample in made:
        loaded, box = Loader().load(sample), sample.box
        assert box is not None
        assert loaded.target is not None
        for i in range(2):
            number = sample.first_frame + i - 1
            high = frame(32, 48, number)[box.top : box.top + 16, box.left : box.left + 16]
            low = frame(16, 24, 50 + number)[box.top // 2 : box.top // 2 + 8, box.left // 2 : box.left // 2 + 8]
            assert np.array_equal(loaded.target[i], high.transpose(2, 0, 1) / np.float32(255))
            assert np.array_equal(loaded.input[i], low.transpose(2, 0, 1) / np.float32(255))


def test_bad_clips_are_rows_with_their_reasons(tmp_path: Path) -> None:
    write(tmp_path / "short", 2)
    write(tmp_path / "single", 1)
    (write(tmp_path / "gap", 5) / "hr_03.png").unlink()
    (write(tmp_path / "broken", 3) / "hr_02.png").write_bytes(b"no image")
    Image.fromarray(frame(8, 8, 0)).save(write(tmp_path / "sizes", 3) / "hr_03.png")
    rows, _ = scan(CorpusSpec(clips={"input": "*/*.png", "frames": 3}), tmp_path)
    assert {Path(row["uri"]).parent.name: (row["status"], row["reason"]) for row in rows} == {
        "short": ("skipped", "no sample: the clip has 2 frames, a sample has 3"),
        "single": ("skipped", "no sample: the clip has 1 frame, a sample has 3"),
        "gap": ("failed", "between frames 2 and 4 some are missing: the others are 1 apart"),
        "broken": ("failed", f"frame {tmp_path}/broken/hr_02.png: not an image: 8 bytes, beginning with b'no image'; expected one of "
                             "PNG, JPEG, WebP, TIFF, BMP, GIF, PPM"),
        "sizes": ("failed", "frame 3 has 8 x 8 pixels, those before it 24 x 16"),
    }  # fmt: skip


def test_a_frame_that_changed_since_the_scan_fails_its_samples_only(tmp_path: Path) -> None:
    write(tmp_path / "a", 4)
    first, second = samples(CorpusSpec(clips={"input": "a", "frames": 2}), tmp_path)
    changed = next(sample for sample in (first, second) if sample.first_frame == 3)
    Image.fromarray(frame(16, 24, 9)).save(tmp_path / "a" / "hr_04.png")
    with pytest.raises(SampleError, match=r"changed since scan: .*hr_04.png"):
        Loader().load(changed)
    Loader().load(first if changed is second else second)


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ({"clips": {"frames": 3}}, "expected input, target, or both"),
        ({"clips": {"target": "a"}}, "scale is missing"),
        ({"clips": {"input": "a"}, "scale": 2}, "scale is only for"),
        ({"clips": {"target": "a", "frame": 3}, "scale": 2}, "Extra inputs"),
        ({"clips": {"target": "a"}, "scale": 2, "pies": {}}, "pies is only for images"),
        ({"clips": {"target": "a", "label": "rain"}, "scale": 2}, "label goes only with pairs of images"),
        ({"clips": {"frames": "a", "target": "b"}, "scale": 2}, "frames and target both name the clean frames"),
        ({"clips": {"frames": ["a"], "videos": "b.mp4"}, "scale": 2}, "frames and videos both name the clean frames"),
        ({"clips": {"target": "a", "frames": 7, "window": 5}, "scale": 2}, "window: 5 and frames: 7 are both the number of frames"),
        ({"clips": {"frames": "a", "window": "b"}, "scale": 2}, "window: 'b' is not a number of frames"),
        ({"clips": {"frames": "a", "window": True}, "scale": 2}, "window: True is not a number of frames"),
        ({"clips": {"frames": "a", "window": 0}, "scale": 2}, "greater than or equal to 1"),
        ({"clips": {"frames": [], "window": 3}, "scale": 2}, "the list is empty"),
        ({"clips": {"frames": "a"}}, "scale is missing"),
    ],
)
def test_mistakes_are_told(corpus: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CorpusSpec(**corpus)


def test_a_study_over_clips_runs_with_a_network_of_images_frame_by_frame_and_continues(tmp_path: Path) -> None:
    write(tmp_path / "a", 5)
    (tmp_path / "net.py").write_text("from torch import nn\n\n\ndef make():\n    return nn.Upsample(scale_factor=2)\n")
    recipe = {
        "name": "clips", "baseline": False, "corpus": {"clips": {"frames": "a", "window": 3, "stride": 1}, "scale": 2},
        "models": [{"id": "net", "network": "net.py:make", "scale": 2, "frames": "each"}], "stages": [{"restore": {}}],
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    place = tmp_path / "study"
    xlli_ray.run(str(tmp_path / "recipe.yaml"), str(place))
    study = xlli_ray.open_study(place)
    found = study.sql("select s.clip, s.first_frame, r.status from samples s join restore r using (sample_id) order by 2").to_pylist()
    assert [(row["clip"], row["first_frame"], row["status"]) for row in found] == [("a", i, "ok") for i in (1, 2, 3)]
    assert [bucket.frames for bucket in study.manifest.samples.buckets] == [3]
    records = sorted((place / "records").rglob("*"))
    xlli_ray.run(str(tmp_path / "recipe.yaml"), str(place))
    assert sorted((place / "records").rglob("*")) == records, "nothing was computed again"
    recipe["corpus"]["clips"]["stride"] = 2  # type: ignore[index]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(xlli_ray.XlliError, match=r"corpus\.clips was"):
        xlli_ray.run(str(tmp_path / "recipe.yaml"), str(place))


def film(path: Path, times: Sequence[int], *, size: tuple[int, int] = (16, 32), turned: int = 0) -> None:
    """A lossless video whose frame i is of grey level 20 i and comes at times[i] / 25 s."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *size, "bgr0"
        if turned:
            stream.set_display_rotation(turned)
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), 20 * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 25)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def test_frames_of_a_video_are_those_of_its_numbers(tmp_path: Path) -> None:
    film(tmp_path / "v.mkv", range(9))
    spec = CorpusSpec(clips={"videos": "*.mkv", "window": 4, "stride": 2}, scale=2)
    made = samples(spec, tmp_path)
    assert sorted(sample.first_frame for sample in made) == [0, 2, 4]
    for sample in made:
        loaded = Loader().load(sample)
        assert loaded.target is not None
        assert loaded.input.shape == (4, 3, 8, 16)
        assert [round(float(one.mean()) * 255) for one in loaded.target] == [20 * (sample.first_frame + i) for i in range(4)]
    (tmp_path / "broken.mkv").write_bytes((tmp_path / "v.mkv").read_bytes()[:300])
    assert {row["status"] for row in scan(spec, tmp_path)[0]} == {"ok", "failed"}


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "ffv1"])
def test_windows_of_a_video_in_any_order_are_the_frames_that_decoding_from_its_beginning_gives(tmp_path: Path, codec: str) -> None:
    """Key frames every 12, frames between them predicted from both sides: a window is sought from the key frame before it."""
    av = pytest.importorskip("av")
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 255, (64, 400, 3), np.uint8)
    with av.open(str(tmp_path / "v.mkv"), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = 64, 64
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        stream.gop_size = 12
        stream.max_b_frames = 0 if codec == "ffv1" else 2
        for i in range(150):
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(scene[:, 2 * i : 2 * i + 64]), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    data = (tmp_path / "v.mkv").read_bytes()
    whole = np.stack([frame.pixels for frame in video.frames(data, max_pixels=10**6)])
    file = video.Windows(data, max_pixels=10**6)
    for first in (100, 3, 0, 145, 60, 62, 61, 130, 12, 143):
        assert np.array_equal(file.window(first, 5), whole[first : first + 5]), first
    with pytest.raises(SampleError, match="the video ends after 150 frames, expected 153"):
        file.window(148, 5)


def test_a_video_whose_header_asks_for_more_memory_than_there_is_is_a_damaged_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg's own MemoryError is Python's, too, which ended the scan."""
    import av

    def refuse(*_: object, **__: object) -> None:
        raise av.error.MemoryError(12, "Cannot allocate memory")

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(SampleError, match=r"damaged video: .*Cannot allocate memory"):
        list(video.frames(b"header", max_pixels=10**6))


def test_videos_that_are_turned_or_of_a_variable_rate_are_rows_with_reasons_and_one_frame_is_no_sample(tmp_path: Path) -> None:
    film(tmp_path / "even.mkv", range(0, 8, 2))
    film(tmp_path / "turned.mkv", range(4), turned=90)
    film(tmp_path / "gap.mkv", [0, 1, 2, 5, 6])
    film(tmp_path / "single.mkv", [0])
    rows, _ = scan(CorpusSpec(clips={"videos": "*.mkv", "window": 2}, scale=2), tmp_path)
    said = {Path(row["uri"]).stem: (row["status"], row["reason"]) for row in rows}
    assert said["even"] == ("ok", None)
    assert said["turned"][0] == "failed"
    assert re.match(r"rotation flag: players turn this video by (90|270) degrees", said["turned"][1])
    assert said["gap"][0] == "failed"
    assert said["gap"][1].startswith("variable frame rate: frame 3 comes 120 ms after the one before it, the first two are 40 ms apart")
    assert said["single"] == ("skipped", "no sample: the clip has 1 frame, a sample has 2")


def test_a_video_without_the_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "v.mp4").write_bytes(b"x")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvironmentFailure, match=r"pip install 'xlli_ray\[video\]'"):
        list_sources(CorpusSpec(clips={"input": "v.mp4"}), tmp_path)


def test_the_calendar_of_vid4_is_one_clip_in_windows_of_seven(fixtures: Path) -> None:
    spec = CorpusSpec(clips={"target": "Vid4/*/*.png", "frames": 7, "stride": 1}, scale=4)
    sources = list_sources(spec, fixtures / "video")
    calendar = next(source for source in sources if source.clip is not None and source.clip.name == "calendar")
    assert calendar.clip is not None
    assert calendar.clip.numbers == tuple(range(1, 9))
    row = scan_source(calendar, spec, 0)
    assert [first for first, _ in row["windows"]] == [0, 1]


def reads(spec: CorpusSpec, base: Path) -> list[str]:
    """URIs that a study's loader reads for all samples, one after the other."""
    uris: list[str] = []

    def read(uri: str) -> bytes:
        uris.append(uri)
        return Path(uri).read_bytes()

    loader = study_loader(spec.model_dump(mode="json", exclude_none=True), read=read)
    for sample in samples(spec, base):
        loader.load(sample)
    return uris


def test_windows_that_overlap_read_each_frame_once(tmp_path: Path) -> None:
    """Each window decoded all of its frames again: seven times the work for seven frames, one further each time."""
    write(tmp_path / "city", 9)
    spec = CorpusSpec(clips={"input": f"{tmp_path}/*/*.png", "frames": 5, "stride": 1})
    assert reads(spec, tmp_path) == sorted(str(file) for file in (tmp_path / "city").iterdir())


def test_clips_of_one_video_read_and_open_it_once(tmp_path: Path) -> None:
    """Each clip read, hashed and opened the whole file again."""
    film(tmp_path / "v.mkv", range(9))
    spec = CorpusSpec(clips={"input": str(tmp_path / "v.mkv"), "frames": 3, "stride": 3})
    assert reads(spec, tmp_path) == [str(tmp_path / "v.mkv")]


def test_a_video_larger_than_the_cache_is_kept_while_clips_are_cut_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film(tmp_path / "v.mkv", range(9))
    monkeypatch.setattr("xlli_ray.corpus.sample.CACHE_BYTES", 100)
    assert reads(CorpusSpec(clips={"input": str(tmp_path / "v.mkv"), "frames": 3}), tmp_path) == [str(tmp_path / "v.mkv")]


def test_patches_of_a_photograph_larger_than_the_cache_read_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was decoded for every patch."""
    Image.fromarray(frame(64, 64, 0)).save(tmp_path / "photo.png")
    monkeypatch.setattr("xlli_ray.corpus.sample.CACHE_BYTES", 100)
    spec = CorpusSpec(inputs=[f"{tmp_path}/*.png"], patches={"size": 16, "per_image": 4})
    assert len(samples(spec, tmp_path)) == 4
    assert reads(spec, tmp_path) == [str(tmp_path / "photo.png")]


def test_clips_over_one_photograph_read_it_once(tmp_path: Path) -> None:
    Image.fromarray(frame(64, 64, 0)).save(tmp_path / "photo.png")
    spec = CorpusSpec(motion={"images": f"{tmp_path}/*.png", "window": 2, "size": 32, "speeds": [0, 1], "per_image": 2}, scale=2)
    assert reads(spec, tmp_path) == [str(tmp_path / "photo.png")]


def test_images_that_are_needed_once_are_not_kept(tmp_path: Path) -> None:
    for seed in range(2):
        Image.fromarray(frame(8, 8, seed)).save(tmp_path / f"{seed}.png")
    spec = CorpusSpec(inputs=[f"{tmp_path}/*.png"])
    loader = study_loader(spec.model_dump(mode="json", exclude_none=True))
    first, *_ = samples(spec, tmp_path)
    loader.load(first)
    assert loader.files(first) == [first.source], "read again when needed again: memory is for what follows"
