"""Files that people give as weights and that are none: each is called by its name, with what to do, and no advice to run code."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from xlli_ray.errors import WeightsError
from xlli_ray.models.checkpoint import read_state_dict

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:8a81c864bcdb5ba772a15d0a2108782e132355afc765\nsize 108404\n"


def zipped(names: list[str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "content")
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights"))
    return file.getvalue()


def numpy_file(*, many: bool) -> bytes:
    file = io.BytesIO()
    (np.savez if many else np.save)(file, np.ones(3))
    return file.getvalue()


FILES = {
    "web page": (b"<!DOCTYPE html>\n<html><head><title>Drive - Quota exceeded</title>", r"a web page \('Drive - Quota exceeded'\)"),
    "web page without a title": (b"\n  <HTML lang=en><body>", "a web page, not a checkpoint.*download button"),
    "xml error": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a web page"),
    "lfs pointer": (LFS, "the Git LFS pointer to a file of 108,404 bytes.*git lfs pull"),
    "zeros": (bytes(5000), "5,000 zero bytes"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG image"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(100), "a JPEG image"),
    "gzip": (b"\x1f\x8b\x08" + bytes(50), "compressed with gzip. Unpack it"),
    "tar": (tarred(), "a tar archive. Unpack it"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file, as Keras writes it.*converted"),
    "gguf": (b"GGUF" + bytes(50), "a GGUF file"),
    "npy": (numpy_file(many=False), "an array of NumPy"),
    "npz": (numpy_file(many=True), "arrays of NumPy"),
    "onnx": (b"\x08\x07\x12\x07pytorch\x1a\x051.9:" + bytes(50), "an ONNX model"),
    "tflite": (b"\x1c\x00\x00\x00TFL3" + bytes(50), "a TensorFlow Lite model"),
    "tensorflow index": (bytes([0, 3, 9]) * 30 + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb", "the index of a TensorFlow checkpoint"),
    "json": (json.dumps({"lr": 1}).encode(), "JSON text"),
    "index of shards": (json.dumps({"weight_map": {"a": "m-1.safetensors"}}).encode(), "the index of a checkpoint in several files"),
    "card": (json.dumps({"card_sha256": "0"}).encode(), "the card of trained weights.*safetensors"),
    "text": (b"Not Found\n", "text that starts with 'Not Found'"),
    "yaml": (b"name: x\nmodels: []\n", "text that starts with 'name: x"),
    "zip of a checkpoint": (zipped(["model/net_g.pth"]), r"a zip archive with 'model/net_g\.pth' inside. Unpack it"),
    "zip of something": (zipped(["word/document.xml"]), r"a zip archive, but not from torch\.save: it holds 'word/document\.xml'"),
    "keras": (zipped(["config.json", "model.weights.h5"]), "a Keras model"),
    "torchscript": (zipped(["m/data.pkl", "m/code/__torch__.py", "m/constants.pkl"]), "a TorchScript program"),
    "empty zip": (zipped([]), r"a zip archive, but not from torch\.save: it holds nothing"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_what_is_no_checkpoint_is_called_what_it_is(name: str, ending: str, tmp_path: Path) -> None:
    data, words = FILES[name]
    path = tmp_path / f"weights{ending}"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=rf"weights\{ending}: the file is {words}") as caught:
        read_state_dict(path)
    assert "weights_only" not in str(caught.value)  # PyTorch's advice, which would run code from the file
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)
