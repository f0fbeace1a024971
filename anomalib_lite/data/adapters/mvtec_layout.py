"""The layout most sets share: `train/good`, `test/<defect>`, `ground_truth/<defect>/<stem>`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from anomalib_lite.data.adapters.files import child, images_below, images_in, subfolders
from anomalib_lite.data.masks import masks_of
from anomalib_lite.data.sample import Sample, Split, defect_sample, good_sample


@dataclass(frozen=True)
class Layout:
    """Names of one variant of the layout.

    Attributes:
        splits: folder names that stand for a split.
        good: name of the folders with good images.
        truth: path of the mask folder below the category.
    """

    splits: tuple[tuple[str, Split], ...] = (
        ("train", "train"),
        ("validation", "validation"),
        ("test", "test"),
    )
    good: str = "good"
    truth: tuple[str, ...] = ("ground_truth",)


MVTEC = Layout()
MVTEC_2 = Layout(
    splits=(("train", "train"), ("validation", "validation"), ("test_public", "test")),
    truth=("test_public", "ground_truth"),
)
BTAD = Layout(splits=(("train", "train"), ("test", "test")), good="ok")


def is_category(folder: Path, layout: Layout = MVTEC) -> bool:
    """Whether a folder has this layout's good training images and its last split."""
    good = child(child(folder, layout.splits[0][0]), layout.good)
    return bool(images_in(good)) and child(folder, layout.splits[-1][0]) is not None


def list_category(folder: Path, category: str, layout: Layout = MVTEC) -> list[Sample]:
    """Samples of one category folder, good images first, masks matched by file name."""
    truth: Path | None = folder
    for name in layout.truth:
        truth = child(truth, name)
    samples: list[Sample] = []
    for split_name, split in layout.splits:
        split_folder = child(folder, split_name)
        for class_folder in subfolders(split_folder) if split_folder else ():
            name = class_folder.name
            if name.lower() == layout.truth[-1]:
                continue
            images = images_below(class_folder)
            if name.lower() == layout.good:
                samples += [good_sample(image, category=category, split=split) for image in images]
                continue
            masks = index_masks(child(truth, name))
            samples += [
                defect_sample(
                    image,
                    category=category,
                    split=split,
                    defect=name,
                    mask_paths=masks_of(_key(class_folder, image), masks),
                )
                for image in images
            ]
    return samples


def index_masks(folder: Path | None) -> dict[str, tuple[Path, ...]]:
    """Mask files by stem; a sub-folder stands for several masks of the image it is named after."""
    if folder is None:
        return {}
    index: dict[str, tuple[Path, ...]] = {image.stem: (image,) for image in images_in(folder)}
    for several in subfolders(folder):
        index[several.name] = tuple(images_in(several))
        # The images may lie in subfolders as well: then each mask there is one image's own.
        index |= {_key(folder, mask): (mask,) for mask in images_below(several)}
    return index


def _key(folder: Path, image: Path) -> str:
    """Path below a class folder without suffix, by which image and mask find each other."""
    return image.relative_to(folder).with_suffix("").as_posix()
