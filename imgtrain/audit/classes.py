"""Whether there are enough images of every class in every split."""

from __future__ import annotations

import numpy as np

from imgtrain.audit.findings import Finding
from imgtrain.audit.inventory import Inventory
from imgtrain.dataset.layout import count, name_some

__all__ = ["check_classes"]

_UNBALANCED = 3
_FEW_TRAINING_IMAGES = 20
_FEW_SCORED_IMAGES = 5


def check_classes(inventory: Inventory, *, balanced: bool) -> list[Finding]:
    """Return what is wrong with the numbers of images.

    Args:
        inventory: The images.
        balanced: Whether the configuration weights or balances the classes already.
    """
    findings = []
    names = np.array(inventory.class_names, object)
    for split in inventory.split_names:
        counts = inventory.counts(split)
        if missing := list(names[counts == 0]):
            findings.append(
                Finding(
                    "missing-class",
                    "error" if split == "train" else "warning",
                    f"there is no {split} image of {name_some(missing)}",
                    "it cannot be learned"
                    if split == "train"
                    else "nothing is known of how well it is recognised",
                    f"add {split} images of it, or leave it out by data.classes",
                )
            )
        fewest = _FEW_TRAINING_IMAGES if split == "train" else _FEW_SCORED_IMAGES
        small = [
            f"{name} {number:,}"
            for name, number in zip(names, counts.tolist(), strict=True)
            if 0 < number < fewest
        ]
        if small:
            findings.append(
                Finding(
                    "small-class",
                    "warning",
                    f"{count(len(small), 'class')} with fewer than {fewest} {split} images: {name_some(small)}",
                    "hardly anything can be learned of them"
                    if split == "train"
                    else "one image more or less right moves their scores by a fifth or more",
                    "collect more, or merge them with other classes",
                )
            )
    counts = inventory.counts("train")
    smallest, largest = int(counts.argmin()), int(counts.argmax())
    if not balanced and 0 < counts[smallest] * _UNBALANCED <= counts[largest]:
        findings.append(
            Finding(
                "imbalance",
                "warning",
                f"{name_some([names[largest]])} has {counts[largest]:,} training images and "
                f"{name_some([names[smallest]])} only {counts[smallest]:,}",
                "a network that never answers the small class looks good by its accuracy",
                "set `training.class_weight: balanced` or `data.balance: oversample`, and read macro-F1",
            )
        )
    return findings
