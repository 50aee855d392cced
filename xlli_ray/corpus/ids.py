"""What a sample is called: short hashes that are the same on any machine and for any order of files.

`content` names what is seen, before any degradation: all degraded copies of one patch share it, which is what makes
paired comparisons possible. `sample_id` names one of those copies. Both are 16 hex digits (64 bits): among 10^7 samples
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
    """The text whose hash is the content id: `image|target|top,left,size`, with `-` for what is absent."""
    where = "-" if box is None else f"{box.top},{box.left},{box.size}"
    return f"{image_sha}|{target_sha or '-'}|{where}"


def sample_text(content: str, scale: int, mixture: str, seed: int) -> str:
    """The text whose hash is the sample id: `content|scale|mixture|seed`."""
    return f"{content}|{scale}|{mixture}|{seed}"


def given_text(label: str, image_sha: str, mask_sha: str | None) -> str:
    """What stands for the degradation of an input that is not made here: its label; of a pair that has one, or a mask, its bytes, too."""
    return f"{label}|{image_sha}|{mask_sha or '-'}"


def short(text: str) -> str:
    """First 16 hex digits of the sha256 of `text`."""
    return sha256(text.encode()).hexdigest()[:ID_DIGITS]


def content_id(image_sha: str, target_sha: str | None = None, box: Box | None = None) -> str:
    """Identity of what is seen.

    `image_sha`: sha256 of the bytes of the image or input; `target_sha`: of a pair's target.
    `box`: the patch, in pixels of the target (of the input where there is no target); None for the whole image.
    """
    return short(content_text(image_sha, target_sha, box))


def sample_id(content: str, scale: int, mixture: str, seed: int) -> str:
    """Identity of one degraded copy. `mixture`: `Mixture.identity`, as `blur2+noise10`, or what `given_text` says of what is not made here;
    `seed`: the study's."""
    return short(sample_text(content, scale, mixture, seed))


def seen(image_sha: str, target_sha: str | None, label: str, twin: int = 0) -> str:
    """What stands for the input in `content_id`: its sha256; `-` of a pair with a label, whose target alone is what is seen.

    `twin`: so many other inputs of this target and label come before it.
    """
    return image_sha if not label or target_sha is None else f"-{twin or ''}"


def order_key(seed: int, content: str) -> bytes:
    """Random but reproducible rank of a content within a study: compare these to choose or to cap."""
    return sha256(f"{seed}|{content}".encode()).digest()


def drawn_key(seed: int, image_sha: str, input_sha: str | None) -> str:
    """Rank of an image among those that `corpus.count` of a training takes: the first so many by this key.

    `image_sha`: of the target's file, or of the only one; `input_sha`: of the input file of a pair, "" or None without one.
    """
    return sha256_hex(f"{seed}|count|{image_sha}|{input_sha or ''}".encode())
