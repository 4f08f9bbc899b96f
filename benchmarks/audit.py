"""How many planted duplicates `imgtrain check` finds, and its speed relative to Pillow's decoder.

    python benchmarks/audit.py copies FOLDER     # recall and false positives, on a copy of the folder
    python benchmarks/audit.py rate [COUNT]      # synthetic 512×512 photos

`copies` moves a random half of each class to a test folder, and then adds altered copies of randomly chosen training
images to it. The seed is fixed.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from imgtrain.audit.check import check
from imgtrain.run.machine import available_cores

EACH = 100


def copied(file: Path, place: Path) -> None:
    shutil.copy(file, place.with_suffix(file.suffix))


def as_png(file: Path, place: Path) -> None:
    ImageOps.exif_transpose(Image.open(file)).save(place.with_suffix(".png"))


def turned_by_exif(file: Path, place: Path) -> None:
    note = Image.Exif()
    note[0x0112] = 6
    upright = ImageOps.exif_transpose(Image.open(file))
    upright.transpose(Image.Transpose.ROTATE_90).save(place.with_suffix(".png"), exif=note)


def recompressed(file: Path, place: Path) -> None:
    ImageOps.exif_transpose(Image.open(file)).convert("RGB").save(place.with_suffix(".jpg"), quality=60)


def halved(file: Path, place: Path) -> None:
    image = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
    image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC).save(
        place.with_suffix(".jpg"), quality=90
    )


def brightened(file: Path, place: Path) -> None:
    image = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
    ImageEnhance.Brightness(image).enhance(1.1).save(place.with_suffix(".jpg"), quality=90)


EXACT: list[Callable[[Path, Path], None]] = [copied, as_png, turned_by_exif]
NEAR: list[Callable[[Path, Path], None]] = [recompressed, halved, brightened]


def pairs(folder: Path, codes: set[str]) -> set[tuple[str, ...]]:
    return {
        item.paths for finding in check(folder).findings if finding.code in codes for item in finding.items
    }


def measure_copies(source: Path) -> None:
    rng = np.random.default_rng(0)
    near_codes = {"near-leak", "near-duplicate", "near-label-conflict"}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        train = []
        for folder in sorted(path for path in source.iterdir() if path.is_dir()):
            for file in sorted(folder.iterdir()):
                split = "train" if rng.random() < 0.5 else "test"
                place = root / split / folder.name / file.name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, place)
                train += [place] if split == "train" else []
        images = sum(1 for _ in root.rglob("*.*"))
        alarms = pairs(root, near_codes)
        print(f"{source}: {images:,} images, {images * (images - 1) // 2:,} pairs, original data")
        print(f"  groups of near duplicates reported: {len(alarms)}", *sorted(alarms), sep="\n    ")
        conflicts = pairs(root, {"label-conflict"})
        print(f"  label conflicts by identical pixels: {len(conflicts)}", *sorted(conflicts), sep="\n    ")
        planted: dict[str, tuple[str, str]] = {}
        chosen = rng.permutation(len(train))[: EACH * len(EXACT + NEAR)]
        for number, row in enumerate(chosen):
            file, alter = train[row], (EXACT + NEAR)[number // EACH]
            alter(file, root / "test" / file.parent.name / f"planted{number:04}")
            planted[f"planted{number:04}"] = (str(file.relative_to(root)), alter.__name__)
        found: Counter[str] = Counter()
        for exact in (True, False):
            groups = pairs(root, {"leak"} if exact else near_codes)
            for group in groups:
                for path in group:
                    original, kind = planted.get(Path(path).stem, ("", ""))
                    if original in group and (kind in {alter.__name__ for alter in EXACT}) == exact:
                        found[kind] += 1
        for alter in EXACT + NEAR:
            count = sum(kind == alter.__name__ for _, kind in planted.values())
            print(f"  {alter.__name__}: {found[alter.__name__]} of {count} found")


def measure_rate(count: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        files = []
        for number in range(count):
            rng = np.random.default_rng(number)
            blots = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).resize((512, 512), 3)
            pixels = np.asarray(blots) + rng.normal(0, 5, (512, 512, 1))
            file = root / f"class{number % 4}" / f"{number:05}.jpg"
            file.parent.mkdir(exist_ok=True)
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, quality=85)
            files.append(file)

        def decode(file: Path) -> None:
            with Image.open(io.BytesIO(file.read_bytes())) as image:
                image.load()

        cores = available_cores()

        def seconds(work: Callable[[], object]) -> float:
            started = time.perf_counter()
            work()
            return time.perf_counter() - started

        def decode_all() -> None:
            with ThreadPoolExecutor(cores) as pool:
                list(pool.map(decode, files))

        # Measured before and after, because the speed of the machine and of Pillow's allocator varies.
        before = seconds(decode_all)
        audit = count / seconds(lambda: check(root))
        pillow = count / min(before, seconds(decode_all))
        size = np.mean([file.stat().st_size for file in files]) / 1024
        print(f"{count:,} JPEG files of 512×512 ({size:.0f} KiB each), {cores} cores")
        print(
            f"  Pillow decodes {pillow:,.0f} images/s, check audits {audit:,.0f} images/s: {audit / pillow:.2f}"
        )
        print(f"  a second check takes {seconds(lambda: check(root)):.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["copies", "rate"])
    parser.add_argument("argument", nargs="?", default="10000")
    options = parser.parse_args()
    if options.what == "copies":
        measure_copies(Path(options.argument))
    else:
        measure_rate(int(options.argument))
