"""Ids of samples: short hashes that are the same on every machine and for every order of files.

`content` identifies an image or patch before any degradation: all degraded copies of one patch share it, which makes
paired comparisons possible. `sample_id` identifies one of those copies. Both are 16 hex digits (64 bits): among 10^7 samples
the chance that any two collide is 3e-6.

>>> content_id("ab" * 32)
'c39c29eab7e852fa'
"""

from __future__ import annotations

from hashlib import sha256

from xlli_ray.corpus.box import Box

ID_DIGITS = 16


def sha256_hex(data: bytes) -> str:
    """The sha256 of `data`: 64 hex digits."""
    return sha256(data).hexdigest()


def content_text(image_sha: str, target_sha: str | None = None, box: Box | None = None) -> str:
    """The text whose hash is the content id: `image|target|top,left,size`, with `-` for missing parts."""
    where = "-" if box is None else f"{box.top},{box.left},{box.size}"
    return f"{image_sha}|{target_sha or '-'}|{where}"


def sample_text(content: str, scale: int, mixture: str, seed: int) -> str:
    """The text whose hash is the sample id: `content|scale|mixture|seed`."""
    return f"{content}|{scale}|{mixture}|{seed}"


def given_text(label: str, image_sha: str, mask_sha: str | None) -> str:
    """Replaces the degradation for a given input: its label, and for a pair with a label or a mask also its bytes."""
    return f"{label}|{image_sha}|{mask_sha or '-'}"


def short(text: str) -> str:
    """First 16 hex digits of the sha256 of `text`."""
    return sha256(text.encode()).hexdigest()[:ID_DIGITS]


def content_id(image_sha: str, target_sha: str | None = None, box: Box | None = None) -> str:
    """Identity of an image or patch, before any degradation.

    `image_sha`: sha256 of the bytes of the image or input; `target_sha`: of a pair's target.
    `box`: the patch, in pixels of the target (of the input if there is no target); None for the whole image.
    """
    return short(content_text(image_sha, target_sha, box))


def sample_id(content: str, scale: int, mixture: str, seed: int) -> str:
    """Identity of one degraded copy. `mixture`: `Mixture.identity`, as `blur2+noise10`, or `given_text` for given inputs;
    `seed`: the study's."""
    return short(sample_text(content, scale, mixture, seed))


def seen(image_sha: str, target_sha: str | None, label: str, twin: int = 0) -> str:
    """Represents the input in `content_id`: its sha256; `-` for a pair with a label, whose target alone is the content.

    `twin`: number of preceding inputs with this target and label.
    """
    return image_sha if not label or target_sha is None else f"-{twin or ''}"


def order_key(seed: int, content: str) -> bytes:
    """Random but reproducible rank of a content within a study: used to choose or to limit contents."""
    return sha256(f"{seed}|{content}".encode()).digest()


def drawn_key(seed: int, image_sha: str, input_sha: str | None) -> str:
    """Rank of an image among those that `corpus.count` of a training takes: the first so many by this key.

    `image_sha`: of the target's file, or of the only one; `input_sha`: of the input file of a pair, "" or None without one.
    """
    return sha256_hex(f"{seed}|count|{image_sha}|{input_sha or ''}".encode())
