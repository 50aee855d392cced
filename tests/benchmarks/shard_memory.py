"""Peak memory of a process that writes one large shard into a bucket, on a local S3 server (`tests/s3/server.py`).

    python tests/benchmarks/shard_memory.py [--megabytes 256] [--package DIR]

The shard grows by chunks of 256 KiB, as a worker's does. `--package`: another checkout of xlli_ray to measure. Prints one JSON object:
peak resident MB before the first chunk (`start`), of the whole life (`peak`), seconds, and the uploaded object's sha256 against that of the
chunks. Linux only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHUNK = 256 << 10


def child(megabytes: int) -> None:
    import random

    from xlli_ray.store.objects.client import open_objects

    place = open_objects("s3://studies/shard-memory")
    place.put("warm", b"1")
    start = resident()
    begin, chance, digest = time.monotonic(), random.Random(0), hashlib.sha256()
    shard = place.begin("arrays.zarr/c/0")
    for _ in range(megabytes << 20 >> 18):
        chunk = chance.randbytes(CHUNK)
        digest.update(chunk)
        shard.write(chunk)
    shard.commit()
    seconds, peak = time.monotonic() - begin, resident()
    stored = hashlib.sha256(place.get("arrays.zarr/c/0")).hexdigest()
    print(json.dumps({"megabytes": megabytes, "start_mb": start, "peak_mb": peak, "more_mb": round(peak - start, 1),
                      "seconds": round(seconds, 2), "same_bytes": stored == digest.hexdigest()}))  # fmt: skip


def resident() -> float:
    """VmHWM of this process, MB."""
    text = Path("/proc/self/status").read_text()
    return round(int(text.split("VmHWM:")[1].split()[0]) * 1024 / 1e6, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--package", type=Path, default=ROOT)
    parser.add_argument("--child", action="store_true")
    args = parser.parse_args()
    if args.child:
        child(args.megabytes)
        return
    sys.path.insert(0, str(ROOT / "tests" / "s3"))
    from server import KEY, REGION, SECRET, Server

    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "s3")
        server.start()
        try:
            server.make_buckets()
            env = {**os.environ, "PYTHONPATH": str(args.package), "AWS_ENDPOINT_URL": server.url, "AWS_ACCESS_KEY_ID": KEY,
                   "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION, "AWS_ALLOW_HTTP": "true"}  # fmt: skip
            command = [sys.executable, str(Path(__file__).resolve()), "--child", "--megabytes", str(args.megabytes)]
            subprocess.run(command, env=env, check=True, cwd=folder)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
