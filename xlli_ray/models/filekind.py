"""Type of a file that was given as weights but is not a checkpoint: recognised by its first bytes, before any checkpoint reader is tried.

Files that people save under a checkpoint's name: the web page around a download, the Git LFS pointer of a file that was not fetched, an
index of several files, another framework's format.
"""

from __future__ import annotations

import json
import re

_IMAGES = {
    b"\x89PNG\r\n\x1a\n": "a PNG image", b"\xff\xd8\xff": "a JPEG image", b"GIF8": "a GIF image", b"BM": "a BMP image",
    b"II*\x00": "a TIFF image", b"MM\x00*": "a TIFF image", b"RIFF": "a RIFF file (WebP, WAV or AVI)", b"%PDF": "a PDF document",
}  # fmt: skip
_PACKED = {
    b"\x1f\x8b": "compressed with gzip", b"BZh": "compressed with bzip2", b"\xfd7zXZ\x00": "compressed with xz",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive", b"Rar!": "a RAR archive", b"\x28\xb5\x2f\xfd": "compressed with zstandard",
}  # fmt: skip
_FRAMEWORKS = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file, as Keras writes it", b"GGUF": "a GGUF file of llama.cpp", b"\x93NUMPY": "an array of NumPy (.npy)",
    b"7767517": "a network description of ncnn (.param)", b"MATLAB": "a MATLAB file", b"\x7fELF": "a program", b"MZ": "a Windows program",
}  # fmt: skip
_CONVERT = "Its weights have to be converted to a PyTorch state dict, saved as safetensors or with torch.save"


def not_weights(data: bytes) -> str | None:
    """The type of the file and what to do, None if it may be a checkpoint. The text follows "NAME: the file is "."""
    head = data[:4096]
    if not data.strip(b"\x00"):
        return f"{len(data):,} zero bytes: an interrupted download. Download it again"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<script", b"<body", b"<svg")):
        title = re.search(rb"<title[^>]*>([^<]{1,80})", head, re.IGNORECASE)
        said = f" ({title[1].decode('utf-8', 'replace').strip()!r})" if title else ""
        return f"a web page{said}, not a checkpoint: the download page was saved. Use its download button to get the file"
    if head.startswith(b"version https://git-lfs"):
        size = re.search(rb"size (\d+)", head)
        kind = f" of {int(size[1][:18]):,} bytes" if size else ""
        return f"the Git LFS pointer to a file{kind}: fetch the file itself with `git lfs pull`"
    if head.startswith(b"ID of the file:") or head.startswith(b"oid sha256"):
        return "a pointer to a file stored elsewhere: fetch the file itself"
    for table, advice in ((_IMAGES, "Check the path of `weights`"), (_PACKED, "Unpack it and name the file inside")):
        for magic, kind in table.items():
            if head.startswith(magic):
                return f"{kind}. {advice}"
    for magic, kind in _FRAMEWORKS.items():
        if head.startswith(magic):
            return f"{kind}. {_CONVERT}"
    if data[257:262] == b"ustar":
        return (
            "a tar archive. Unpack it and name the file inside; if PyTorch before 0.2 wrote it, load it there and save the"
            " state dict again"
        )
    if data[4:8] == b"TFL3":
        return f"a TensorFlow Lite model. {_CONVERT}"
    if head[:1] == b"\x08" and (b"onnx" in head.lower() or b"pytorch" in head[:64].lower()):
        return f"an ONNX model. {_CONVERT}; most are exported from a PyTorch model"
    if data[-8:] == b"\x57\xfb\x80\x8b\x24\x75\x47\xdb" or data[-8:] == b"\xdb\x47\x75\x24\x8b\x80\xfb\x57":
        return f"the index of a TensorFlow checkpoint (its numbers are in .data-00000-of-…). {_CONVERT}"
    return _written(data, text)


def _written(data: bytes, start: bytes) -> str | None:
    """The same for text files."""
    head = data[:4096]
    if start[:1] in (b"{", b"["):
        try:
            content = json.loads(data) if len(data) < 1 << 24 else None
        except (ValueError, RecursionError):
            content = None
        if isinstance(content, dict) and "weight_map" in content:
            return "the index of a checkpoint in several files, which it lists. Merge them into one safetensors file and name that"
        if isinstance(content, dict) and "card_sha256" in content:
            return "the card of trained weights, not the weights: name the file beside it that ends in .safetensors"
        if content is not None or start.startswith((b'{"', b'[{', b"{\n", b"{ ", b"{}")):
            return "JSON text, not a checkpoint. Check the path of `weights`"
    printable = sum(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
    if printable == len(head) and not re.match(rb"[(cl\]}]|\x80", data):
        shown = " ".join(head[:60].decode("ascii").split())
        return f"text that starts with {shown!r}, not a checkpoint. Check the path of `weights`, or fetch the file again"
    return None
