"""Photographs to train and to look at networks with: from Debian packages, with known bytes.

    python pipelines/photos.py photos          # writes photos/train, photos/unseen and photos/photos.json
    python pipelines/photos.py photos --patches 128     # and photos/patches: patches of the training photographs, a file each

Downloads nine packages of Debian 12 with `apt-get download` (260 MB; on another system put the .deb files into
DIR/packages by hand), refuses any whose sha256 differs, takes the photographs named below and nothing else (drawings,
renders, gradients and paintings in the same packages are left out; each image was looked at), downscales each one so
that its patches are sharp, and writes PNG files: sorted by the sha256 of the packaged file, every fourth goes to
`unseen` (validation, SRGA, DDR), the others to `train`.

Nothing here is in Set5, Set14, BSD100, Urban100 or scikit-image. What there is: landscapes, plants and water
(wallpapers), buildings, animals and musicians (GCompris), a few people (KPhotoAlbum's demonstration album). Licences
are those of the packages (`copyright` in each): GPL, LGPL, CC-BY, CC-BY-SA, CC0, FDL, public domain.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xlli_ray.corpus.decode import decode, to_u8
from xlli_ray.corpus.patches import choose, crop, tile_stds, tiles
from xlli_ray.corpus.resize import bicubic, modcrop

LONG_SIDE = 1400  # px: what a photograph is brought near to; a smaller one is still downscaled by 2
EVERY = 4  # of the sorted list, each 4th is unseen
PATCHES_PER_PHOTO = 6
MIN_STD = 10.0  # grey levels of luma: flatter patches teach nothing

# package, version, sha256 of the .deb, folder, names without folder (".jpg" where no suffix is given)
PACKAGES: list[tuple[str, str, str, str, str]] = [
    (
        "plasma-workspace-wallpapers", "4:5.27.5-2",
        "32cd18b71c8c938a18b3b351f217c02ac590e323caa3cf322fbb875ce8892f8b",
        "usr/share/wallpapers",
        "BytheWater ColdRipple ColorfulCups DarkestHour EveningGlow FallenLeaf Grey Kite OneStandsOut Path summer_1am",
    ),
    (
        "mate-backgrounds", "1.26.0-1",
        "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
        "usr/share/backgrounds/mate/nature",
        "Aqua Blinds Dune FreshFlower Garden GreenMeadow LadyBird RainDrops Storm TwoWings Wood YellowFlower",
    ),
    (
        "lomiri-wallpapers-16.04", "20.04.0-2",
        "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
        "usr/share/backgrounds",
        "Bridge_by_Sander_Klootwijk Dragonfly_by_Bolly Picture_0B_by_freespace Picture_1A_by_freespace"
        " Wine_by_Jakkub_Mede aitzgorri_by_Aitzol_Berasategi free_by_Peter_Nerlich friends_by_Aitzol_Berasategi"
        " greentock_by_Peter_Nerlich life_by_Aitzol_Berasategi picosdeeuropa_by_Aitzol_Berasategi"
        " seeding_by_Clements_Engelhardt sunset_by_Aitzol_Berasategi",
    ),
    (
        "lomiri-wallpapers-20.04", "20.04.0-2",
        "d44e89b8473aafe64a5b678f014862dc31335aaaf18665c544d985d854f1a709",
        "usr/share/backgrounds",
        "Kleiber_by_Lukas_Baubkus",
    ),
    (
        "lxqt-themes", "1.2.0-1",
        "d518df36b515b09d36cb00b12645dd8ce170bb82bb0966297741905ce3edc8e1",
        "usr/share/lxqt/wallpapers",
        "Butterfly-Kenneth-Wimer Valendas.png after-the-rain appleflower.png beam.png butterfly.png drop.png"
        " flowers.png this-is-not-windows",
    ),
    (
        "palapeli-data", "4:22.12.3-1",
        "69a15dce2ac25ed8708ac518cd0cee5f4eb0c70ed15da2fdb8899a19ac0ee058",
        "usr/share/palapeli/collection",
        "castle-maintenon cincinnati-bridge citrus-fruits european-honey-bee panther-chameleon-female",
    ),
    (
        "kphotoalbum", "5.9.1-1",
        "00f8b26b5db1beb30a822d15f464b3c68ffa556d267870aa98a59aaaaf81ec43",
        "usr/share/kphotoalbum/demo",
        "anne_helene bar55 bar55_2 blackie cold_water donna donna_2 grand_canyon_2 jesper jesper_2 new_wave_1"
        " new_wave_2 pool qt-logo skagen snow spiff spiff_2 wayne",
    ),
    (
        "python3-sklearn", "1.2.1+dfsg-1",
        "ca0c6be401d14871c7e93cfdd8d1f561595dc65e6e2ad2501d568aee7f7efc58",
        "usr/lib/python3/dist-packages/sklearn/datasets/images",
        "china flower",
    ),
]  # fmt: skip

# GCompris keeps its images in Qt resource files: (file, names inside, all .webp). castleClinton (grey) and
# georgeWashingtonBirthplace (a faded scan) are left out.
GCOMPRIS = ("gcompris-qt-data", "3.1-2", "e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f")
GCOMPRIS_FOLDER = "usr/share/gcompris-qt/rcc"
GCOMPRIS_PHOTOS: list[tuple[str, str]] = [
    (
        "explore_monuments",
        "ajantaCave arlesAmphitheater aulaPalatina bentPyramid berlinCathedral brandenburgGate cabrillo canyondeChelly"
        " castillodeSanMarcos charminar chateaudeChambord chateaudeChenonceau chichenItza christTheRedeemer"
        " citedeCarcassonne colosseum eiffelTower fortSumter gatewayofIndia goldenTemple greatPyramidOfGiza greatStupa"
        " greatWallofChina hawaMahal konarkSunTemple lincolnMemorial machuPicchu meidumPyramid montStMichel"
        " mountRushmore mysorePalace navajo neuschwansteinCastle palaisdesPapes petra pontduGard qutubMinar rangGhar"
        " redPyramid reimsCathedral rocamadour schwerinPalace statueofLiberty tajMahal trierImperialBaths"
        " victoriaMemorial wormsCathedral",
    ),
    (
        "explore_world_animals",
        "bison chameleon crocodile dragon giraffe hedgehog jaguar kangaroo koala lemur moose narwhal panda"
        " polar_bear scarlet_macaw",
    ),
    ("explore_farm_animals", "cat chicken cow dog duck horse owl pig sheep"),
    ("explore_world_music", "africa america australia ireland italy japan mexico orchestra"),
]


def main() -> int:
    parser = argparse.ArgumentParser(description="Fetch and prepare the training photographs.")
    parser.add_argument("dir", type=Path, help="where train/, unseen/ and photos.json are written")
    parser.add_argument("--packages", type=Path, help="folder of .deb files (default DIR/packages)")
    parser.add_argument("--patches", type=int, metavar="SIZE", help="only cut DIR/train into DIR/patches, SIZE x SIZE pixels each")
    options = parser.parse_args()
    if options.patches:
        written = cut(options.dir, options.patches)
        print(f"{written} patches of {options.patches}x{options.patches} pixels in {options.dir / 'patches'}")
        return 0
    packages = options.packages or options.dir / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    found = sorted(photographs(packages), key=lambda photo: photo[2])
    listed = []
    for part in ("train", "unseen"):
        folder = options.dir / part
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob("*.png"):
            stale.unlink()
    for index, (name, data, sha) in enumerate(found):
        part = "unseen" if index % EVERY == EVERY - 1 else "train"
        pixels, factor = prepared(data)
        target = options.dir / part / f"{name}.png"
        Image.fromarray(pixels).save(target)
        written = hashlib.sha256(target.read_bytes()).hexdigest()
        shape = {"height": pixels.shape[0], "width": pixels.shape[1], "downscaled": factor}
        listed.append({"file": f"{part}/{name}.png", "sha256": written, "packaged_sha256": sha, **shape})
    (options.dir / "photos.json").write_text(json.dumps(listed, indent=1) + "\n")
    unseen = sum(entry["file"].startswith("unseen/") for entry in listed)
    megapixels = sum(entry["height"] * entry["width"] for entry in listed) / 1e6
    print(
        f"{len(listed)} photographs, {len(listed) - unseen} to train and {unseen} unseen, {megapixels:.1f} megapixels"
    )
    return 0


def cut(folder: Path, size: int) -> int:
    """Write up to PATCHES_PER_PHOTO patches of each photograph in `folder`/train to `folder`/patches. Returns their number.

    They are backgrounds to count (`corpus.count` of a training recipe), where a whole photograph would hold hundreds of crops.
    """
    target = folder / "patches"
    target.mkdir(exist_ok=True)
    for stale in target.glob("*.png"):
        stale.unlink()
    number = 0
    for file in sorted((folder / "train").glob("*.png")):
        pixels = np.asarray(Image.open(file).convert("RGB"))
        boxes = tiles(*pixels.shape[:2], size)
        rich = [box for box, std in zip(boxes, tile_stds(pixels, size), strict=True) if std >= MIN_STD]
        names = [f"{file.name}|{box.top},{box.left}" for box in rich]
        for box in choose(rich, names, 0, PATCHES_PER_PHOTO):
            Image.fromarray(crop(pixels, box)).save(target / f"{file.stem}--{box.top}-{box.left}.png")
            number += 1
    return number


def photographs(packages: Path) -> Iterator[tuple[str, bytes, str]]:
    """(name, bytes as packaged, their sha256) of every photograph."""
    for package, version, sha, folder, names in PACKAGES:
        root = unpacked(packages, package, version, sha)
        for name in names.split():
            file = name if "." in name else f"{name}.jpg"
            if package == "plasma-workspace-wallpapers":
                file = f"{name}/contents/images/2560x1600.jpg"
            data = (root / folder / file).read_bytes()
            yield f"{package}--{Path(name).stem}", data, hashlib.sha256(data).hexdigest()
    root = unpacked(packages, *GCOMPRIS)
    for resource, names in GCOMPRIS_PHOTOS:
        files = dict(qt_resources((root / GCOMPRIS_FOLDER / f"{resource}.rcc").read_bytes()))
        for name in names.split():
            data = files[f"{name}.webp"]
            yield f"{GCOMPRIS[0]}--{name}", data, hashlib.sha256(data).hexdigest()


def unpacked(packages: Path, package: str, version: str, sha: str) -> Path:
    """The folder of one unpacked package; downloaded when it is not in `packages`. Stops when its bytes differ."""
    prefix = f"{package}_{version.replace(':', '%3a')}_"
    found = sorted(packages.glob(f"{prefix}*.deb"))
    if not found:
        subprocess.run(["apt-get", "-qq", "download", f"{package}={version}"], cwd=packages, check=True)
        found = sorted(packages.glob(f"{prefix}*.deb"))
    actual = hashlib.sha256(found[0].read_bytes()).hexdigest()
    if actual != sha:
        sys.exit(f"{found[0]}: sha256 is {actual}, expected {sha}. Not used. Delete it and run again.")
    root = packages / "unpacked" / package
    if not root.is_dir():
        root.parent.mkdir(exist_ok=True)
        subprocess.run(["dpkg-deb", "-x", str(found[0]), str(root)], check=True)
    return root


def prepared(data: bytes) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], int]:
    """Bytes of a packaged file to uint8 (H, W, 3), and the factor it was downscaled by; sides are multiples of 4."""
    image = decode(data).pixels
    factor = max(2, round(max(image.shape[:2]) / LONG_SIDE))
    small = bicubic(modcrop(image, factor), factor)
    return to_u8(modcrop(small, 4)), factor


def qt_resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of the uncompressed files in a Qt resource collection (`.rcc`), layout as `rcc --binary` writes it.

    Header: "qres", version, offsets of tree, data and names, all big-endian 32 bit. A tree entry: offset of the name,
    16-bit flags (1 compressed, 2 folder, 4 Zstandard), then for a folder the number of children and the first one's
    index, for a file country, language and the offset of its data (32-bit length, bytes).
    """
    if data[:4] != b"qres":
        sys.exit("not a Qt resource file")
    version, tree, payload, names = struct.unpack(">4I", data[4:20])
    size = 22 if version >= 2 else 14
    pending = [0]
    while pending:
        index = pending.pop()
        entry = tree + index * size
        name_offset, flags = struct.unpack(">IH", data[entry : entry + 6])
        if flags & 2:
            children, first = struct.unpack(">II", data[entry + 6 : entry + 14])
            pending.extend(range(first, first + children))
        elif not flags & 5:
            (offset,) = struct.unpack(">I", data[entry + 10 : entry + 14])
            start = payload + offset + 4
            (length,) = struct.unpack(">I", data[start - 4 : start])
            (letters,) = struct.unpack(">H", data[names + name_offset : names + name_offset + 2])
            text = data[names + name_offset + 6 : names + name_offset + 6 + 2 * letters]
            yield text.decode("utf-16-be"), data[start : start + length]


if __name__ == "__main__":
    sys.exit(main())
