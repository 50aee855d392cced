"""Loading samples: the order of operations written out again by hand, the checks, the cache."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from xlli_ray.corpus import sample as sample_module
from xlli_ray.corpus.cache import Cache
from xlli_ray.corpus.decode import decode, to_u8
from xlli_ray.corpus.degradations import get
from xlli_ray.corpus.files.sources import read_bytes
from xlli_ray.corpus.resize import downscale
from xlli_ray.corpus.sample import Loader, Sample, sample_from_row
from xlli_ray.corpus.scan import SCHEMA, CorpusSpec, expand, list_sources, scan_source
from xlli_ray.errors import SampleError

ROOT = Path(__file__).parents[2]
DEGRADATIONS = ["clean", {"blur": 2}, {"noise": 20}, {"jpeg": 50}, {"blur": 2, "noise": 20}]


def image(height: int, width: int, seed: int) -> np.ndarray:
    smooth = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return np.kron(smooth, np.ones((4, 4, 1), np.uint8))[:height, :width]


def samples(spec: CorpusSpec, base: Path, seed: int = 0) -> list[Sample]:
    rows = [scan_source(source, spec, seed) for source in list_sources(spec, base)]
    assert {row["status"] for row in rows} == {"ok"}
    return [sample_from_row(row) for row in pa.Table.from_batches(expand(rows, spec, seed), SCHEMA).to_pylist()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for k in range(2):
        Image.fromarray(image(70 + k, 90, k)).save(tmp_path / f"{k}.png")
    return tmp_path


def images(**options: Any) -> CorpusSpec:
    return CorpusSpec(**{"images": ["*.png"], "scale": 4, "degradations": DEGRADATIONS} | options)


def planes(image: np.ndarray) -> np.ndarray:
    return image.transpose(2, 0, 1)


@pytest.mark.parametrize("patches", [None, {"size": 32, "per_image": 2}])
def test_images_are_degraded_in_the_literatures_order(folder: Path, patches: dict[str, Any] | None) -> None:
    loader = Loader()
    made = samples(images(patches=patches), folder, seed=5)
    assert len(made) == 2 * len(DEGRADATIONS) * (2 if patches else 1)
    for sample in made:
        found = loader.load(sample)
        whole = decode(Path(sample.source).read_bytes()).pixels[:68, :88]
        key = f"5|{sample.content}"
        small = downscale(get("blur").of(2).apply(whole, key="").image if "blur" in sample.label else whole, 4)
        target = whole
        if sample.box is not None:
            top, left, size = sample.box.top, sample.box.left, sample.box.size
            target = whole[top : top + size, left : left + size]
            small = small[top // 4 : (top + size) // 4, left // 4 : (left + size) // 4]
        if "noise" in sample.label:
            small = get("noise").of(20).apply(small, key=key).image
        if "jpeg" in sample.label:
            small = get("jpeg").of(50).apply(np.ascontiguousarray(small), key=key).image
        np.testing.assert_array_equal(found.input, planes(small.astype(np.float32) / np.float32(255)))
        np.testing.assert_array_equal(found.target, planes(target))
        for array in (found.input, found.target):
            assert array is not None
            assert array.dtype == np.float32
            assert array.flags.c_contiguous
        assert found.input.shape == (3, sample.height, sample.width)


def test_patches_of_a_degraded_image_have_no_borders_of_their_own(folder: Path) -> None:
    """A patch is what the whole image shows there: neither blur nor bicubic sees the patch's edge."""
    spec = images(degradations=[{"blur": 4}], patches={"size": 32, "per_image": 1})
    patch = samples(spec, folder)[0]
    whole = next(s for s in samples(images(degradations=[{"blur": 4}]), folder) if s.source == patch.source)
    assert patch.box is not None
    top, left = patch.box.top // 4, patch.box.left // 4
    loader = Loader()
    np.testing.assert_array_equal(loader.load(patch).input, loader.load(whole).input[:, top : top + 8, left : left + 8])


def test_at_scale_1_the_input_is_the_rounded_image(folder: Path) -> None:
    made = {sample.label: Loader().load(sample) for sample in samples(images(scale=1), folder)[:: len("ab")]}
    assert made["clean"].target is not None
    np.testing.assert_array_equal(made["clean"].input, made["clean"].target)
    assert made["noise20"].input.shape == made["noise20"].target.shape  # type: ignore[union-attr]
    assert not np.array_equal(made["noise20"].input, made["clean"].input)


def test_16_bit_targets_keep_their_bits_and_their_inputs_have_8(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (16, 16), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    (sample,) = samples(images(degradations=None, scale=2), tmp_path)
    found = Loader().load(sample)
    np.testing.assert_array_equal(found.target[1], deep.astype(np.float32) / np.float32(65535))  # type: ignore[index]
    np.testing.assert_array_equal(to_u8(found.input).astype(np.float32) / np.float32(255), found.input)


def test_pairs_are_cut_at_the_same_place(tmp_path: Path) -> None:
    large = image(64, 96, 0)
    Image.fromarray(large).save(tmp_path / "a_hr.png")
    Image.fromarray(large[::2, ::2]).save(tmp_path / "a_lr.png")
    spec = CorpusSpec(pairs={"input": "*_lr.png", "target": "*_hr.png"}, patches={"size": 32, "per_image": None})
    made = samples(spec, tmp_path)
    assert len(made) == 6
    for sample in made:
        found = Loader().load(sample)
        assert found.target is not None
        np.testing.assert_array_equal(found.input, found.target[:, ::2, ::2])
        assert found.input.shape == (3, 16, 16)
    (whole,) = samples(CorpusSpec(pairs={"input": "*_lr.png", "target": "*_hr.png"}), tmp_path)
    assert Loader().load(whole).target.shape == (3, 64, 96)  # type: ignore[union-attr]


def test_inputs_go_in_as_they_are(folder: Path) -> None:
    found = {sample.source: Loader().load(sample) for sample in samples(CorpusSpec(inputs=["*.png"]), folder)}
    for uri, loaded in found.items():
        assert loaded.target is None
        np.testing.assert_array_equal(loaded.input, planes(decode(Path(uri).read_bytes()).pixels))


def test_the_public_pairs_equal_the_inputs_we_make(fixtures: Path, tmp_path: Path) -> None:
    """Set5 as pairs and Set5 as images give the same input, borders aside."""
    base = fixtures / "images/Set5/x4"
    pairs = {s.target: s for s in samples(CorpusSpec(pairs={"input": "*_LR.png", "target": "*_HR.png"}), base)}
    loader = Loader()
    for made in samples(CorpusSpec(images=["*_HR.png"], scale=4), base):
        ours, theirs = loader.load(made), loader.load(pairs[made.source])
        np.testing.assert_array_equal(ours.input[:, 4:-4, 4:-4], theirs.input[:, 4:-4, 4:-4])
        np.testing.assert_array_equal(ours.target, theirs.target)


# -- checks -----------------------------------------------------------------------------------------------------------


def test_a_file_changed_since_the_scan_is_an_error_with_both_hashes(folder: Path) -> None:
    sample = samples(images(), folder)[0]
    old = sample.source_sha
    Image.fromarray(image(70, 90, 99)).save(sample.source)
    with pytest.raises(SampleError, match=f"changed since scan: .*expected sha256 {old}, found [0-9a-f]{{64}}"):
        Loader().load(sample)


def test_a_file_gone_since_the_scan_is_an_error(folder: Path) -> None:
    sample = samples(images(), folder)[0]
    Path(sample.source).unlink()
    with pytest.raises(SampleError, match="missing file"):
        Loader().load(sample)


def test_the_pixel_limit_holds_at_load_too(folder: Path) -> None:
    with pytest.raises(SampleError, match="limit is 100"):
        Loader(max_pixels=100).load(samples(images(), folder)[0])


def test_what_is_handed_out_is_the_callers(folder: Path) -> None:
    sample, loader = samples(images(), folder)[0], Loader()
    first = loader.load(sample)
    before = first.input.copy()
    first.input[:] = 7
    first.target[:] = 7  # type: ignore[index]
    np.testing.assert_array_equal(loader.load(sample).input, before)


# -- the cache --------------------------------------------------------------------------------------------------------


class Counting:
    """read_bytes that counts."""

    def __init__(self) -> None:
        self.reads: Counter[str] = Counter()

    def __call__(self, uri: str) -> bytes:
        self.reads[uri] += 1
        return read_bytes(uri)


def test_an_image_is_read_once_for_all_its_patches_and_degradations(folder: Path) -> None:
    made = samples(images(patches={"size": 32, "per_image": 2}), folder)
    read = Counting()
    loader = Loader(read=read)
    for sample in made:
        loader.load(sample)
    assert set(read.reads.values()) == {1}


def test_without_room_the_numbers_are_the_same_and_files_are_read_again(folder: Path) -> None:
    made = samples(images(patches={"size": 32, "per_image": 2}), folder)
    read = Counting()
    small, large = Loader(cache_bytes=0, read=read), Loader()
    for sample in made:
        np.testing.assert_array_equal(small.load(sample).input, large.load(sample).input)
    assert sum(read.reads.values()) == len(made)


def test_threads_that_want_one_image_wait_for_one_decoding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = samples(images(patches={"size": 32, "per_image": 2}), folder)
    calls: Counter[int] = Counter()
    lock = threading.Lock()

    def slow(data: bytes, *, max_pixels: int) -> Any:
        with lock:
            calls[len(data)] += 1
        time.sleep(0.02)
        return decode(data, max_pixels=max_pixels)

    monkeypatch.setattr(sample_module, "decode", slow)
    loader, alone = Loader(), Loader()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(loader.load, made * 3))
    assert sum(calls.values()) == 2
    for sample, loaded in zip(made * 3, found, strict=True):
        np.testing.assert_array_equal(loaded.input, alone.load(sample).input)


def test_cache_forgets_the_least_recently_used_and_counts_its_bytes() -> None:
    cache, made = Cache(1000), []

    def get_one(key: str, size: int) -> None:
        def make() -> np.ndarray:
            made.append(key)
            return np.zeros(size, np.uint8)

        cache.get(key, make)

    for key in ("a", "b", "a"):
        get_one(key, 400)
    assert not cache.get("a", lambda: np.empty(0)).flags.writeable
    get_one("c", 400)  # a was used last, so b goes
    get_one("a", 400)
    assert made == ["a", "b", "c"]
    get_one("b", 400)
    assert made == ["a", "b", "c", "b"]
    made.clear()
    for key in ("huge", "a", "huge", "vast", "huge", "giant", "huge", "vast"):  # two above the limit are kept, beside the others
        get_one(key, 400 if key == "a" else 5000)
    assert made == ["huge", "vast", "giant", "vast"]
    assert cache._bytes == 800
    nothing = Cache(0)
    nothing.get("a", lambda: np.zeros(5))
    assert not nothing.holds("a")


def test_a_failure_is_not_remembered_and_reaches_all_who_wait() -> None:
    cache, started = Cache(1000), threading.Event()

    def fail() -> np.ndarray:
        started.set()
        time.sleep(0.05)
        raise SampleError("broken")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, "k", fail)
        started.wait()
        second = pool.submit(cache.get, "k", fail)
        for future in (first, second):
            with pytest.raises(SampleError, match="broken"):
                future.result()
    assert cache.get("k", lambda: np.ones(3)).sum() == 3


# -- the package ------------------------------------------------------------------------------------------------------


def test_corpus_needs_neither_torch_nor_ray_nor_scikit_image() -> None:
    code = (
        "import sys\nfrom xlli_ray import corpus\n"
        "names = [getattr(corpus, name) for name in corpus.__all__]\n"
        "from xlli_ray.corpus.files.sources import list_files, read_bytes\n"
        "read_bytes(list_files(['skimage://coffee'], '/')[0])\n"
        "heavy = {'torch', 'ray', 'zarr', 'skimage', 'scipy'} & set(sys.modules)\n"
        "sys.exit(','.join(sorted(heavy)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_itself_loads_nothing() -> None:
    code = "import sys, xlli_ray.corpus; sys.exit('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_is_an_attribute_error() -> None:
    from xlli_ray import corpus

    assert "Loader" in dir(corpus)
    with pytest.raises(AttributeError, match="nonsense"):
        corpus.nonsense  # noqa: B018


@pytest.mark.parametrize("name", ["ids", "resize", "degradations.mixture", "pies_like_set"])
def test_examples_in_docstrings(name: str) -> None:
    import doctest
    import importlib

    result = doctest.testmod(importlib.import_module(f"xlli_ray.corpus.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("patches", [None, {"size": 32, "per_image": 2}])
def test_a_sample_loaded_into_its_place_is_the_same_and_another_size_goes_elsewhere(
    folder: Path, patches: dict[str, Any] | None
) -> None:
    loader = Loader()
    for sample in samples(images(patches=patches), folder) + samples(CorpusSpec(inputs=["*.png"]), folder):
        alone = loader.load(sample).input
        batch = np.full((3, *alone.shape), 7, np.float32)
        found = loader.load(sample, into=batch[1]).input
        assert np.shares_memory(found, batch)
        assert found.tobytes() == batch[1].tobytes() == alone.tobytes()
        assert (batch[[0, 2]] == 7).all()
        small = np.full((3, alone.shape[1] - 1, alone.shape[2]), 7, np.float32)
        assert loader.load(sample, into=small).input.tobytes() == alone.tobytes()
        assert (small == 7).all(), "a place of another size is left alone"
