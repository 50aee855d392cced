"""Mutated images through scan and decode: a row that is good or says why not, within seconds, and never a wrong image.

    python tests/fuzz/fuzz_images.py --trials 5000 --seed 0

Seeds are small images of all formats and kinds: PNG (grey, palette, alpha, 16 bit, interlaced, EXIF, ICC), JPEG (RGB, grey, CMYK,
progressive, EXIF), TIFF (8 and 16 bit, tiled, compressed, big-endian, pages), WebP, BMP, GIF (animated, too), PPM, bombs,
    and files that are
none. A trial flips, cuts, inserts or swaps bytes, or writes sizes into headers. A finding is an exception that is neither SampleError nor
EnvironmentFailure, more than five seconds of work, memory above the limit, or a decoded image that is not finite float32 (H, W, 3) in
0..1; and a seed that should be read and is not. Prints one JSON object; the exit code is 1 when something was found.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import struct
import sys
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent))

from limits import Hang, less_memory, limited

SECONDS = 5
MEMORY = 6 * 2**30


def saved(image: Image.Image, fmt: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format=fmt, **options)
    return file.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of side² black pixels, as small as deflate makes it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + 3 * side)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def seeds() -> dict[str, tuple[bytes, bool]]:
    """Files by name, and whether each is to be read as it stands."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (24, 33, 3), dtype=np.uint8))
    grey, deep = rgb.convert("L"), Image.fromarray(rng.integers(0, 65536, (24, 33), dtype=np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    found = {
        "png": (saved(rgb, "PNG"), True), "png grey": (saved(grey, "PNG"), True), "png alpha": (saved(rgb.convert("RGBA"), "PNG"), True),
        "png palette": (saved(rgb.quantize(16), "PNG", transparency=0), True), "png bits": (saved(grey.convert("1"), "PNG"), True),
        "png 16": (saved(deep, "PNG"), True), "png exif": (saved(rgb, "PNG", exif=exif), True),
        "png icc": (saved(rgb, "PNG", icc_profile=rng.bytes(300)), True), "png la": (saved(rgb.convert("LA"), "PNG"), True),
        "apng": (saved(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90)]), False),
        "jpeg": (saved(rgb, "JPEG"), True), "jpeg grey": (saved(grey, "JPEG"), True), "jpeg cmyk": (saved(rgb.convert("CMYK"), "JPEG"),
    False),
        "jpeg progressive": (saved(rgb, "JPEG", progressive=True, exif=exif), True), "webp": (saved(rgb, "WEBP"), True),
        "webp lossless": (saved(rgb.convert("RGBA"), "WEBP", lossless=True, exif=exif), True),
        "webp animated": (saved(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)]), False),
        "tiff": (saved(rgb, "TIFF"), True), "tiff deflate": (saved(rgb, "TIFF", compression="tiff_deflate"), True),
        "tiff lzw": (saved(rgb, "TIFF", compression="tiff_lzw"), True), "tiff jpeg": (saved(rgb, "TIFF", compression="jpeg"), True),
        "tiff 16": (saved(deep, "TIFF"), True), "tiff cmyk": (saved(rgb.convert("CMYK"), "TIFF"), False),
        "tiff lab": (saved(rgb.convert("LAB"), "TIFF"), False), "tiff float": (saved(grey.convert("F"), "TIFF"), False),
        "tiff pages": (saved(rgb, "TIFF", save_all=True, append_images=[rgb]), False), "bmp": (saved(rgb, "BMP"), True),
        "bmp palette": (saved(rgb.quantize(16), "BMP"), True), "gif": (saved(rgb, "GIF"), True),
        "gif animated": (saved(rgb, "GIF", save_all=True, append_images=[rgb.rotate(180)]), False), "ppm": (saved(rgb, "PPM"), True),
        "pgm": (saved(grey, "PPM"), True), "bomb": (bomb(10_000), False), "large": (bomb(1200), True), "empty": (b"", False),
        "text": (b"no image at all", False), "html": (b"<!DOCTYPE html><html>", False), "zip": (b"PK\x03\x04" + rng.bytes(80), False),
    }  # fmt: skip
    with contextlib.suppress(ImportError):
        import tifffile

        values = rng.integers(0, 65536, (24, 33, 3), dtype=np.uint16)
        for name, options in (("", {}), (" big-endian", {"byteorder": ">"}), (" deflate", {"compression": "zlib"}), (" tiled",
    {"tile": (16, 16)})):
            file = io.BytesIO()
            tifffile.imwrite(file, values, photometric="rgb", **options)
            found[f"tiff rgb 16{name}"] = file.getvalue(), True
    return found


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to four changes of bytes."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not out:
            return bytes(rng.randbytes(rng.randrange(40)))
        at = rng.randrange(min(len(out), 400)) if rng.random() < 0.6 else rng.randrange(len(out))
        what = rng.randrange(8)
        if what == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            out[at] = rng.choice((0, 1, 127, 128, 255))
        elif what == 2:
            del out[at:]
        elif what == 3:
            del out[at : at + rng.randrange(1, 16)]
        elif what == 4:
            out[at:at] = rng.randbytes(rng.randrange(1, 16))
        elif what == 5:  # a size, an offset, a count
            out[at : at + 4] = struct.pack(rng.choice("<>") + "I", rng.choice((0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 65536, 20000)))
        elif what == 6:
            end = rng.randrange(len(out))
            out[at : at + 20], out[end : end + 20] = out[end : end + 20], out[at : at + 20]
        else:
            out += out[at : at + 64]
    return _checked(bytes(out)) if out.startswith(b"\x89PNG") and rng.random() < 0.5 else bytes(out)


def _checked(data: bytes) -> bytes:
    """A PNG whose checksums fit again, so that what stands in its chunks is believed."""
    out, position = bytearray(data[:8]), 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        if position + 12 + length > len(data):
            break
        body = data[position + 4 : position + 8 + length]
        out += data[position : position + 4] + body + struct.pack(">I", zlib.crc32(body))
        position += 12 + length
    return bytes(out) + data[position:]


def trial(data: bytes, path: str) -> str:
    """Scan one file, and decode it; what came of it."""
    from xlli_ray.corpus.decode import decode
    from xlli_ray.corpus.scan import CorpusSpec, PatchSpec, Source, scan_source

    spec = CorpusSpec(inputs=[path], patches=PatchSpec(size=8, min_std=0.0))
    row = scan_source(Source("inputs", path), spec, 0, lambda _: data)
    json.dumps(row, allow_nan=False).encode()
    if row["status"] == "failed":
        assert row["reason"], "a bad file without a reason"
        return f"refused: {row['reason'].split(':')[0].split(' file')[0][:30]}"
    if row["status"] == "skipped":
        return "skipped"
    pixels = decode(data).pixels
    assert pixels.dtype == np.float32, pixels.dtype
    assert pixels.shape == (row["height"], row["width"], 3), pixels.shape
    assert np.isfinite(pixels).all(), "not finite"
    assert 0.0 <= pixels.min() <= pixels.max() <= 1.0, "outside of 0..1"
    return "read"


def trials(count: int, seed: int) -> Iterator[tuple[int, str, bytes, bool | None]]:
    """(number, name of the seed, bytes, whether it must be read; None for a mutant)."""
    known = seeds()
    names = sorted(known)
    for number in range(count):
        name = names[number % len(names)]
        data, good = known[name]
        if number < len(names):
            yield number, name, data, good
        else:
            yield number, name, mutated(data, random.Random(f"{seed}/{number}")), None


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the trials; returns the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for images with findings")
    options = parser.parse_args(arguments)
    begun, slowest = time.monotonic(), 0.0
    outcomes: Counter[str] = Counter()
    findings: list[dict[str, Any]] = []
    with less_memory(MEMORY):
        for number, name, data, good in trials(options.trials, options.seed):
            start, problem = time.process_time(), ""
            try:
                with limited(SECONDS):
                    outcome = trial(data, f"/{name}")
                outcomes[outcome] += 1
                if good is not None and good != (outcome == "read"):
                    problem = f"as it stands: {outcome}"
            except (Exception, Hang) as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                problem = f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})"[:300]
            if problem:
                findings.append({"trial": number, "seed": name, "problem": problem})
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / f"{options.seed}-{number}").write_bytes(data)
            slowest = max(slowest, time.process_time() - start)
    return {
        "trials": options.trials, "seed": options.seed, "images": len(seeds()), "outcomes": dict(outcomes.most_common()),
        "findings": findings, "slowest_cpu_seconds": round(slowest, 2), "seconds": round(time.monotonic() - begun, 1),
    }  # fmt: skip


if __name__ == "__main__":
    summary = main()
    print(json.dumps(summary, indent=1))
    sys.exit(1 if summary["findings"] else 0)
