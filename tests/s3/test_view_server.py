"""`xlli view s3://…`: a study in a bucket is explored from this machine, arrays and all; nothing is written into it."""

from __future__ import annotations

import base64
import http.client
import json
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty import Faulty, Request
from server import STUDIES

from xlli_ray.report.view_server.server import ViewServer
from xlli_ray.report.view_server.shown_study import ShownStudy
from xlli_ray.store.objects.client import open_objects
from xlli_ray.study import open_study

SHAPE = (16, 8, 8)


def ask(server: ViewServer, path: str, fields: dict[str, str] | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request("GET", f"/{server.token}{path}", headers=fields or {})
    answer = connection.getresponse()
    return answer.status, answer.read()


def put(data: bytes) -> Any:
    return json.loads(data.decode().partition(",")[2].removesuffix(");\n"))


def test_a_study_in_a_bucket_is_explored_and_nothing_is_written_into_it(proxy: Faulty, tmp_path: Path) -> None:
    sys.path.append(str(Path(__file__).parents[1] / "report"))
    from toy_studies import Recipe, Stage, write_study

    place = f"s3://{STUDIES}/{uuid.uuid4().hex}"
    stage = Stage("features", "features", (), ["body.0.out"], shape=SHAPE)
    write_study(open_objects(place), Recipe([Stage("restore"), stage]), tmp_path / "images")
    changed: list[str] = []

    def watch(request: Request) -> str:
        if request.method not in ("GET", "HEAD"):
            changed.append(f"{request.method} {request.path}")
        return ""

    proxy.rule = watch
    server = ViewServer(ShownStudy(place))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        assert b"explorer.js" in ask(server, "/report/index.html")[1]
        about = put(ask(server, "/report/data/study.js")[1])
        index = next(i for i, array in enumerate(about["arrays"]) if array["key"] == "features/net1/body.0.out:features")
        planes = put(ask(server, f"/report/data/array-3-{index}.js")[1])
        study = open_study(place)
        (stored,) = study.array("features/net1/body.0.out").rows([study.sample_rows(3, 4)["sample_id"][0].as_py()])
        assert np.array_equal(np.frombuffer(base64.b64decode(planes["f4"]), "<f4").reshape(SHAPE), stored)
        assert put(ask(server, "/report/data/sample-5.js")[1])["missing"] == []
        objects = open_objects(place)
        key = next(key for key in objects.list("arrays.zarr/features/net1") if "/c/" in key)
        status, end = ask(server, f"/study/{key}", {"Range": "bytes=-24"})
        assert (status, end) == (206, objects.get_range(key, -24, 24))
        assert ask(server, f"/study/{key}")[1] == objects.get(key)
        assert ask(server, "/study/nothing")[0] == 404
        assert changed == []
        proxy.rule = lambda request: "503"
        assert ask(server, "/study/study.json")[0] == 500, "a bucket that is away is said, and the server goes on"
        proxy.rule = lambda request: ""
        assert ask(server, "/study/study.json")[0] == 200
    finally:
        server.shutdown()
        server.server_close()
        server.shown.close()
        thread.join(10)


def test_no_study_in_a_bucket_is_an_error_with_its_address(proxy: Faulty) -> None:
    place = f"s3://{STUDIES}/{uuid.uuid4().hex}"
    with pytest.raises(ValueError, match=f"{place}: not a study"):
        ShownStudy(place)
