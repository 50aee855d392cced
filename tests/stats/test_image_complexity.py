"""Each measure of one image against its library or a naive loop, and values that are known."""

from __future__ import annotations

import io
import math
import zlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from skimage.feature import canny, graycomatrix, graycoprops
from skimage.measure import shannon_entropy

from xlli_ray.stats import image_complexity as ic
from xlli_ray.stats.code_length import bpp_jpeg75, bpp_lzma, bpp_png, bpp_webp


def blobs(seed: int = 0, height: int = 40, width: int = 52) -> np.ndarray:
    """An image with flat parts, edges and a little noise: int64 in 0..255."""
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.integers(0, 200, (height // 4, width // 4)), np.ones((4, 4), int))
    return np.asarray(coarse + rng.integers(0, 20, (height, width)))


def bits(values: list[object]) -> float:
    counts = Counter(values).values()
    return -sum(n / len(values) * math.log2(n / len(values)) for n in counts)


# -- code lengths -----------------------------------------------------------------------------------------------


def saved(grey: np.ndarray, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(grey).save(out, kind, **options)
    return out.getvalue()


def test_png_counts_the_deflate_stream_alone() -> None:
    grey = blobs().astype(np.uint8)
    data = saved(grey, "PNG", compress_level=6)
    start = data.index(b"IDAT") + 4
    stream = zlib.decompressobj()
    rows = stream.decompress(data[start:])
    assert len(rows) == 40 * (52 + 1), "every row has the byte of its filter"
    assert bpp_png(grey) == 8 * (len(data) - start - len(stream.unused_data)) / grey.size


def test_webp_and_jpeg_count_their_data_without_container_and_tables() -> None:
    grey = blobs().astype(np.uint8)
    webp = saved(grey, "WEBP", lossless=True, quality=75, method=4)
    assert bpp_webp(grey) == 8 * int.from_bytes(webp[16:20], "little") / grey.size
    jpeg = saved(grey, "JPEG", quality=75)
    scan = jpeg.index(b"\xff\xda")
    header = 2 + int.from_bytes(jpeg[scan + 2 : scan + 4], "big")
    assert bpp_jpeg75(grey) == 8 * (len(jpeg) - scan - header - len(b"\xff\xd9")) / grey.size
    assert 8 * len(jpeg) / grey.size > bpp_jpeg75(grey) + 0.5, "the tables of so small an image"


def test_a_set_of_copies_costs_little_more_than_one_of_them() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32), np.uint8)
    assert bpp_lzma(np.repeat(image, 50, axis=0)) < 0.05 * bpp_lzma(image)
    assert math.isnan(bpp_lzma(image[:0]))


# -- naive loops and libraries ----------------------------------------------------------------------------------


def test_entropy_is_that_of_scikit_image() -> None:
    assert ic.entropy(blobs()) == pytest.approx(shannon_entropy(blobs()), abs=1e-12)


def test_spatial_information_is_that_of_a_loop_over_sobel_windows() -> None:
    image = blobs().astype(float)
    kernel = np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]])
    windows = np.array([[image[y - 1 : y + 2, x - 1 : x + 2] for x in range(1, 51)] for y in range(1, 39)])
    loop = np.array([[math.hypot((w * kernel).sum(), (w * kernel.T).sum()) for w in row] for row in windows])
    np.testing.assert_allclose(ic.sobel(image), loop, rtol=1e-12)
    found = ic.measures(blobs())
    assert found["si_std"] == pytest.approx(loop.std())
    assert found["si_mean"] == pytest.approx(loop.mean())
    assert found["si_rms"] == pytest.approx(math.sqrt((loop**2).mean()))
    counts = np.histogram(loop, 256, (0, ic.GRADIENT))[0]
    assert found["gradient_entropy"] == pytest.approx(shannon_entropy(np.repeat(np.arange(256), counts)))


def test_delentropy_is_half_the_entropy_of_pairs_of_central_differences() -> None:
    image = blobs().tolist()
    pairs = [(image[y][x + 1] - image[y][x - 1], image[y + 1][x] - image[y - 1][x]) for y in range(1, 39) for x in range(1, 51)]
    assert ic.delentropy(blobs()) == pytest.approx(bits(pairs) / 2)


def test_the_spectral_slope_is_that_of_a_loop_over_rings() -> None:
    image = blobs().astype(float)
    window = np.outer(np.hanning(40), np.hanning(52))
    power = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2
    rings: dict[int, list[float]] = {}
    for y in range(40):
        for x in range(52):
            fy, fx = (y if y <= 20 else y - 40) / 40, (x if x <= 26 else x - 52) / 52
            rings.setdefault(round(40 * math.hypot(fy, fx)), []).append(power[y, x])
    line = np.polyfit(np.log([r / 40 for r in range(3, 21)]), np.log([np.mean(rings[r]) for r in range(3, 21)]), 1)
    assert ic.spectral_slope(image) == pytest.approx(-line[0], rel=1e-9)


@pytest.mark.parametrize("slope", [0.0, 2.0])
def test_a_random_field_of_a_known_spectrum_has_its_slope(slope: float) -> None:
    rng = np.random.default_rng(1)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    f[0, 0] = 1
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((256, 256))) * f ** (-slope / 2)).real
    assert ic.spectral_slope(field) == pytest.approx(slope, abs=0.1)


def test_edges_are_those_of_canny_on_8_bits_and_boxes_are_counted_as_by_hand() -> None:
    image = blobs().astype(np.uint8)
    edges = ic.canny(image.astype(float))
    np.testing.assert_array_equal(edges, canny(image, sigma=1.0))
    counts = [len({(y // s, x // s) for y, x in zip(*np.nonzero(edges))}) for s in ic.SIDES]
    assert ic.box_dimension(edges) == pytest.approx(np.polyfit(-np.log(ic.SIDES), np.log(counts), 1)[0])
    line = np.zeros((64, 64), bool)
    line[20] = True
    assert ic.box_dimension(line) == pytest.approx(1.0)
    assert ic.box_dimension(~np.zeros((64, 64), bool)) == pytest.approx(2.0)


def test_the_entropy_of_singular_values_is_1_for_equal_ones_and_0_for_one() -> None:
    orthogonal = np.linalg.qr(np.random.default_rng(0).standard_normal((32, 32)))[0]
    assert ic.svd_entropy(orthogonal) == pytest.approx(1.0, abs=1e-2)
    assert ic.svd_entropy(np.outer(np.arange(32.0) - 15.5, np.ones(40))) == pytest.approx(0.0, abs=1e-6)


def test_cooccurrence_is_that_of_scikit_image() -> None:
    grey = blobs().astype(np.uint8)
    matrix = graycomatrix(grey // 8, [1, 4], [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4], 32, symmetric=True, normed=True)
    entropy, contrast, homogeneity = ic.cooccurrence(grey)
    assert contrast == pytest.approx(graycoprops(matrix, "contrast").mean())
    assert homogeneity == pytest.approx(graycoprops(matrix, "homogeneity").mean())
    share = matrix[:, :, 1, 2]
    assert entropy == pytest.approx(np.mean([shannon(matrix[:, :, d, a]) for d in range(2) for a in range(4)]))
    pairs = Counter((int(grey[y, x]) // 8, int(grey[y + 4, x]) // 8) for y in range(36) for x in range(52))
    total = 2 * sum(pairs.values())
    assert share[3, 7] == pytest.approx((pairs[3, 7] + pairs[7, 3]) / total), "the matrix of distance 4 downwards, by hand"


def shannon(share: np.ndarray) -> float:
    return -sum(p * math.log2(p) for p in share.ravel() if p > 0)


def test_total_variation_is_the_mean_difference_of_neighbours() -> None:
    assert ic.total_variation(np.add.outer(2.0 * np.arange(9), 3.0 * np.arange(7))) == 5.0


# -- residuals, and what has no value ---------------------------------------------------------------------------


def test_a_residual_has_the_differences_and_the_spectrum_of_the_same_image_at_another_brightness() -> None:
    one, other = ic.measures(blobs()), ic.measures(blobs() - 130)
    for name in ("entropy", "si_std", "si_mean", "delentropy", "spectral_slope", "edge_density", "svd_entropy", "tv"):
        assert one[name] == pytest.approx(other[name], rel=1e-9), name


def test_what_has_no_negative_values_is_coded_as_it_is_and_else_shifted_and_clamped() -> None:
    assert ic.eight_bit(np.array([[0, 250]])).tolist() == [[0, 250]]
    assert ic.eight_bit(np.array([[-200, -1, 0, 200]])).tolist() == [[0, 127, 128, 255]]
    assert ic.clamped(np.array([[-200, -1, 0, 200]])) == 0.5
    assert ic.clamped(np.array([[0, 250]])) == 0.0


def test_a_flat_image_has_no_slope_no_singular_values_and_no_boxes_and_everything_else() -> None:
    found = ic.measures(np.full((24, 24), 9))
    assert {name for name, value in found.items() if math.isnan(value)} == {"spectral_slope", "box_dimension", "svd_entropy"}
    assert found["entropy"] == found["delentropy"] == found["tv"] == found["glcm_entropy"] == 0.0


def test_what_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match=r"15×40 pixels, expected 16"):
        ic.measures(np.zeros((40, 15), int))
