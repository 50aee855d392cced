"""Peak memory of decoding a PNG of a few kilobytes that holds 10,000 × 10,000 pixels: one JSON line a kind of PNG.

    python tests/benchmarks/decode_memory.py [--side 10000]

`scan`: what the scan of a corpus does with it by default. `peak`: growth of the largest resident set (VmHWM) of a process of its own while
`decode` runs with `max_pixels` raised; `of its pixels`: that over the image as float32 RGB. Bar: at most 3, or refused. Linux only.
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

from memory import peak

KINDS = {
    "1 bit grey": (1, 0), "8 bit grey": (8, 0), "8 bit RGB": (8, 2), "8 bit RGBA": (8, 6), "16 bit grey": (16, 0), "16 bit RGB": (16, 2),
}  # fmt: skip
"""Name → (bits, PNG's colour type)."""
CHANNELS = {0: 1, 2: 3, 6: 4}


def bomb(side: int, bits: int, colour: int) -> bytes:
    """A PNG of side² black pixels, as small as deflate makes it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer, row = zlib.compressobj(9), bytes(1 + (side * bits * CHANNELS[colour] + 7) // 8)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def child(path: Path, what: str) -> None:
    import os

    from xlli_ray.corpus.decode import decode
    from xlli_ray.corpus.scan import CorpusSpec, Source, scan_source

    before, out = peak(os.getpid()), {}
    if what == "scan":
        row = scan_source(Source("inputs", str(path)), CorpusSpec(inputs=["x"]), 0)
        out = {"scan": row["status"], "reason": row["reason"]}
    else:
        decode(path.read_bytes(), max_pixels=2**31)
    print(json.dumps({**out, "peak": peak(os.getpid()) - before}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(Path(asked.child[0]), asked.child[1])
        sys.exit()
    with tempfile.TemporaryDirectory() as folder:
        for name, (bits, colour) in KINDS.items():
            path = Path(folder) / "bomb.png"
            path.write_bytes(bomb(asked.side, bits, colour))
            scan, decoded = (json.loads(subprocess.check_output([sys.executable, __file__, "--child", str(path), what]))
                             for what in ("scan", "decode"))  # fmt: skip
            line = {"png": name, "bytes": path.stat().st_size, "scan": scan["scan"], "scan's peak": scan["peak"], "peak": decoded["peak"]}
            print(json.dumps(line | {"of its pixels": round(decoded["peak"] / (12 * asked.side**2), 3)}), flush=True)
