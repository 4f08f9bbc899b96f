"""Propose a commented configuration for a folder of images."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imgtrain.config.class_meaning import find_flip_problem
from imgtrain.config.render import render_value
from imgtrain.dataset.image_size import ImageSizes, read_sizes
from imgtrain.dataset.index import ImageFolder, index_folder
from imgtrain.dataset.layout import ClassRoot, count, find_class_roots, find_folder_problem, format_names
from imgtrain.dataset.recipe import Recipe, choose_recipe
from imgtrain.errors import DataError, Problem
from imgtrain.text import printable

__all__ = ["find_data", "propose_config"]

_UNBALANCED = 3
_MOST_CLASSES_LISTED = 60


@dataclass(frozen=True, slots=True)
class _Layout:
    """The folders of the splits; None if not found."""

    train: ImageFolder
    validation: ImageFolder | None
    test: ImageFolder | None


def propose_config(folder: Path | str, relative_to: Path | str = Path(), *, minutes: float = 3) -> str:
    """Return commented YAML that is ready to train.

    Args:
        folder: Contains class folders, or train/validation/test folders of them with common names; or a single
            such folder.
        relative_to: The folder that the configuration will be written to.
        minutes: Time budget for training, > 0, which determines image size and network.

    Raises:
        DataError: There are no images to train on, or the folders contradict each other.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 (resolve() would replace links by what they lead to)
    layout = _find_layout(folder)
    sizes = _read_sizes(layout.train)
    recipe = choose_recipe(len(layout.train), sizes.typical, gray=sizes.gray, minutes=minutes)
    sections = [
        _introduce(folder, layout, sizes),
        _propose_data(layout, sizes, recipe, Path(relative_to).resolve()),
        _propose_augmentation(layout.train.class_names, recipe),
        _propose_model(recipe),
        _propose_training(layout.train, recipe),
        _propose_evaluation(layout.train.class_names),
        _propose_output(),
    ]
    return "\n".join("".join(f"{line}\n" for line in section) for section in sections)


def find_data(folder: Path | str) -> dict[str, Path]:
    """Return the folders that `propose_config` would use, by their keys in the section `data`.

    Raises:
        DataError: As in `propose_config`.
    """
    layout = _find_layout(Path(os.path.abspath(folder)))  # noqa: PTH100 (as above)
    found = {"train": layout.train, "validation": layout.validation, "test": layout.test}
    return {key: split.root for key, split in found.items() if split is not None}


def _find_layout(folder: Path) -> _Layout:
    if reason := find_folder_problem(folder):
        raise DataError(Problem("", *reason))
    root = _choose_root(folder)
    train = index_folder(root)
    if len(train.class_names) < 2:
        what = f"{train.root} contains only one class, {format_names(train.class_names)}"
        raise DataError(Problem("", what, "classification needs at least two class folders"))
    siblings: dict[str, Path] = {}
    if root != folder:
        for other in find_class_roots(root.parent):
            if other.path.parent == root.parent and other.split in ("validation", "test"):
                siblings.setdefault(other.split, other.path)
    found = {split: index_folder(path, class_names=train.class_names) for split, path in siblings.items()}
    return _Layout(train, found.get("validation"), found.get("test"))


def _choose_root(folder: Path) -> Path:
    """Return the folder of class folders to train on."""
    roots = find_class_roots(folder)
    if not roots:
        # Raises an error that describes the contents of the folder.
        return folder
    candidates = [root for root in roots if root.split == "train"]
    candidates = candidates or [root for root in roots if root.path == folder]
    candidates = candidates or [root for root in roots if root.split is None] or roots
    depth = min(len(root.path.parts) for root in candidates)
    candidates = [root for root in candidates if len(root.path.parts) == depth]
    if len(candidates) > 1:
        raise DataError(Problem("", _several(folder, candidates), "give one of them"))
    return candidates[0].path


def _several(folder: Path, roots: Sequence[ClassRoot]) -> str:
    listed = "; ".join(str(root) for root in roots[:5])
    return f"{folder} contains several possible training folders: {listed}"


def _read_sizes(folder: ImageFolder) -> ImageSizes:
    found = read_sizes(folder)
    if not found.sizes:
        what = f"none of {count(found.unreadable, 'file')} from {folder.root} could be opened as an image"
        raise DataError(Problem("", what, f"such as {folder.paths[0]}"))
    return found


def _introduce(folder: Path, layout: _Layout, sizes: ImageSizes) -> Iterator[str]:
    yield f"# Generated by `imgtrain init {printable(folder.name)}`, ready for `imgtrain train`."
    yield "# docs/configuration.md documents all keys. Contents of the folder:"
    yield "#"
    for name, split in (("train", layout.train), ("validation", layout.validation), ("test", layout.test)):
        if split is not None:
            yield f"#   {name}: {count(len(split), 'image')} in {printable(str(split.root))}"
    yield f"#   {count(len(layout.train.class_names), 'class')}, with their number of training images:"
    pairs = list(zip(layout.train.class_names, layout.train.counts(), strict=True))
    named = [f"{printable(name)} {images:,}" for name, images in pairs[:_MOST_CLASSES_LISTED]]
    yield from _wrapped(named if len(named) == len(pairs) else [*named, "…"])
    yield f"#   {_describe_sizes(sizes)}"
    if sizes.unreadable:
        looked_at = len(sizes.sizes) + sizes.unreadable
        yield f"#   {count(sizes.unreadable, 'file')} of {looked_at:,} inspected cannot be opened"


def _describe_sizes(sizes: ImageSizes) -> str:
    kind = "grayscale " if sizes.gray else ""
    if sizes.equal:
        height, width = sizes.sizes[0]
        return f"{kind}images of height {height} and width {width}"
    heights, widths = zip(*sizes.sizes, strict=True)
    return (
        f"{kind}images of many sizes: height {min(heights)} to {max(heights)}, "
        f"width {min(widths)} to {max(widths)}, median {statistics.median_low(heights)} "
        f"and {statistics.median_low(widths)}"
    )


def _wrapped(items: Sequence[str], width: int = 90) -> Iterator[str]:
    line = items[0]
    for item in items[1:]:
        if len(line) + len(item) > width:
            yield f"#     {line},"
            line = item
        else:
            line += f", {item}"
    yield f"#     {line}"


def _propose_data(layout: _Layout, sizes: ImageSizes, recipe: Recipe, relative_to: Path) -> Iterator[str]:
    def written(folder: ImageFolder) -> str:
        return render_value(Path(os.path.relpath(folder.root, relative_to)).as_posix())

    yield "data:"
    yield f"  train: {written(layout.train)}"
    if layout.validation is not None:
        yield f"  validation: {written(layout.validation)}"
    else:
        yield "  # No validation folder was found: 20 % of the training images are held out to select the best epoch."
        yield "  validation_split: 0.2"
        yield r"  # group_by: '(patient\d+)'  # keep images of one patient, video or plant in one split"
    if layout.test is not None:
        yield f"  test: {written(layout.test)}"
    else:
        yield "  # No test folder was found: the reported accuracy is that on the validation images, which is slightly"
        yield "  # too high because they also select the best epoch. It is better to set aside test images:"
        yield "  # test: FOLDER"
    height, width = recipe.target_size
    yield f"  target_size: [{height}, {width}]  # height, width; larger images need more time"
    if not sizes.equal:
        yield "  # resize: crop  # or pad; both keep the aspect ratio, unlike the default, stretch"
    if sizes.gray:
        yield "  color_mode: grayscale"
    yield from _propose_class_mode(layout.train.class_names)
    yield f"  batch_size: {recipe.batch_size}"
    yield "  # balance: oversample  # repeat images of smaller classes, each copy augmented differently"
    skip = "on_bad_image: skip   # skip files that cannot be decoded, instead of stopping"
    yield f"  {skip}" if sizes.unreadable else f"  # {skip}"


def _propose_class_mode(class_names: Sequence[str]) -> Iterator[str]:
    if len(class_names) == 2:
        negative, positive = class_names
        yield f"  class_mode: binary  # {printable(positive)} is the positive class; to change it:"
        yield f"  # classes: {render_value([positive, negative])}"
    else:
        yield "  class_mode: categorical"


def _propose_augmentation(class_names: Sequence[str], recipe: Recipe) -> Iterator[str]:
    yield "augmentation:  # `imgtrain preview-aug` shows the effect"
    reason = find_flip_problem(class_names)
    yield f"  rotation_range: {10 if reason else 15}  # degrees, in either direction"
    yield "  width_shift_range: 0.1"
    yield "  height_shift_range: 0.1"
    yield "  zoom_range: 0.15"
    if reason:
        yield f"  horizontal_flip: false  # {printable(reason)}"
    else:
        yield "  horizontal_flip: true  # set to false if left and right matter in these images"
    if recipe.cutmix:
        yield "  cutmix: 1.0            # replace a rectangle by that of another image, and mix the labels"
        yield "  mix_probability: 0.5   # for half of the images; useful for long training on photos"
    yield "  # vertical_flip: true  # if up and down don't matter, as in microscopy or aerial images"
    yield "  # brightness_range: [0.8, 1.2]"
    yield "  # color_jitter: {brightness: 0.2, contrast: 0.2, saturation: 0.2}"


def _propose_model(recipe: Recipe) -> Iterator[str]:
    height, width = (side >> len(recipe.blocks) for side in recipe.target_size)
    yield "model:"
    yield f"  # {len(recipe.blocks)} blocks of convolution, pooling, normalization and ReLU;"
    yield f"  # the last feature map is {height}x{width}."
    yield "  # Any Keras layers can be used; the output layer is added."
    yield "  layers:"
    for filters, convolutions in recipe.blocks:
        for number in range(convolutions):
            yield f"    - Conv2D: {{filters: {filters}, kernel_size: 3, padding: same, use_bias: false}}"
            if number == 0:
                yield "    - MaxPooling2D: 2"
            yield "    - BatchNormalization: {momentum: 0.9}"
            yield "    - ReLU"
    yield "    - GlobalAveragePooling2D"
    yield f"    - Dropout: {recipe.dropout}"


def _propose_training(train: ImageFolder, recipe: Recipe) -> Iterator[str]:
    yield "training:"
    yield f"  minutes: {recipe.minutes:g}  # the number of epochs is planned to fit; more minutes give more accuracy"
    yield "  optimizer: {name: adamw, learning_rate: 0.003, weight_decay: 0.05}"
    yield f"  schedule: {{name: cosine, warmup_epochs: {recipe.warmup_epochs}}}  # the last epochs improve most"
    yield "  label_smoothing: 0.1  # less overconfident, better generalization"
    smallest, largest = int(train.counts().min()), int(train.counts().max())
    if largest > _UNBALANCED * smallest:
        yield f"  # The largest class has {largest:,} images, the smallest {smallest:,}. Without weights, the smallest"
        yield "  # would have little influence."
        yield "  class_weight: balanced"
    else:
        yield "  # class_weight: balanced  # for imbalanced classes"
    yield "  # seed: 1  # another split and other initial weights, to see how much the result varies"


def _propose_evaluation(class_names: Sequence[str]) -> Iterator[str]:
    if find_flip_problem(class_names):
        yield "# evaluation:"
        commented = "#   "
    else:
        yield "evaluation:"
        yield "  flip_average: true  # average the probabilities of each image and its mirror image"
        commented = "  # "
    if len(class_names) == 2:
        yield f"{commented}threshold: f1  # or {{recall: 0.95}}, tuned on the validation images; default 0.5"
    yield f"{commented}calibrate: true  # make the probabilities as reliable as the validation images allow"


def _propose_output() -> Iterator[str]:
    yield "# output:"
    yield "#   directory: runs/another-name"
    yield "#   model: model.h5"
