"""Your own pictures: a folder of good images, and folders of defects if there are any."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from anomalib_lite.data.adapters.files import child, folder_name, images_below, images_in
from anomalib_lite.data.adapters.files import subfolders as list_subfolders
from anomalib_lite.data.adapters.registry import Adapter, KindInfo, register
from anomalib_lite.data.adapters.splits import relative_names, split_good
from anomalib_lite.data.masks import MASK_FOLDERS, masks_of
from anomalib_lite.data.sample import Sample, Split, defect_sample, good_sample
from anomalib_lite.edge.errors import SourceError

_GOOD_NAMES = ("good", "ok", "normal")
_SPLIT_FOLDERS: tuple[tuple[tuple[str, ...], Split], ...] = (
    (("train",), "train"),
    (("validation", "val"), "validation"),
    (("test",), "test"),
)


@register(
    KindInfo(
        kind="folder",
        title="Plain folders",
        layout="good/ and any defect folders, masks if any in ground_truth/<defect>/ or "
        "masks/<defect>/; or only good images; or the same inside train/ and test/",
        download="Your own pictures.",
        homepage="",
        licence="yours",
        citation="",
        split_rule="folders train, validation and test if they exist; otherwise good images by "
        "hash of their path, about 80 % train, and every defective image is test; without any "
        "defective image all are train",
        masks="optional",
    )
)
class FolderAdapter(Adapter):
    """Good folders are named good, ok or normal; any other name is a defect."""

    def find_categories(self, root: Path) -> dict[str, Path]:
        """One category, if there are good images."""
        has_train = bool(_good_images(child(root, "train")))
        has_good = any(images_below(folder) for folder in _good_folders(root))
        bare = not _class_folders(root) and bool(images_in(root))
        return {folder_name(root): root} if has_train or has_good or bare else {}

    def list_samples(self, source: Path, category: str) -> list[Sample]:
        """Samples of a nested or a flat folder.

        Raises:
            SourceError: test images without a class folder, or masks that fit several images.
        """
        if child(source, "train"):
            return _list_nested(source, category)
        good, defects = _good_images(source), _defect_images(source)
        names = relative_names(source, good)
        split_of = split_good(names) if defects else {}
        samples = [
            good_sample(image, category=category, split=split_of.get(name, "train"))
            for image, name in zip(good, names, strict=True)
        ]
        masks = _Masks(source, defects)
        for folder, images in defects.items():
            samples += _defect_samples(folder, images, masks, category, "test")
        return samples


def _list_nested(root: Path, category: str) -> list[Sample]:
    samples: list[Sample] = []
    for names, split in _SPLIT_FOLDERS:
        folder = child(root, *names)
        if folder is None:
            continue
        if split == "test" and images_in(folder):
            raise SourceError(
                f"{folder}: holds images without a label, expected them in good/ and in defect "
                "folders; move them there"
            )
        good, defects = _good_images(folder), _defect_images(folder)
        samples += [good_sample(image, category=category, split=split) for image in good]
        masks = _Masks(root, defects)
        for defect_folder, images in defects.items():
            samples += _defect_samples(defect_folder, images, masks, category, split)
    return samples


def _defect_samples(
    folder: Path, images: list[Path], masks: _Masks, category: str, split: Split
) -> list[Sample]:
    return [
        defect_sample(
            image,
            category=category,
            split=split,
            defect=folder.name,
            mask_paths=masks.find(folder, image),
        )
        for image in images
    ]


class _Masks:
    """Masks by defect folder and relative path; or by file name where all lie in one folder."""

    def __init__(self, root: Path, defects: dict[Path, list[Path]]) -> None:
        self._truth = child(root, *MASK_FOLDERS)
        self._flat = {mask.stem: (mask,) for mask in images_in(self._truth)}
        stems = Counter(image.stem for images in defects.values() for image in images)
        self._shared = {stem for stem, count in stems.items() if count > 1}
        self._indexes: dict[Path, dict[str, tuple[Path, ...]]] = {}

    def find(self, folder: Path, image: Path) -> tuple[Path, ...]:
        """Masks of an image of a defect folder."""
        own = child(self._truth, folder.name)
        if own is None:
            found = masks_of(image.stem, self._flat)
            if found and image.stem in self._shared:
                raise SourceError(
                    f"{found[0]}: fits several images named {image.stem}, expected masks in "
                    f"{found[0].parent.name}/<defect>/; sort them into such folders"
                )
            return found
        if own not in self._indexes:
            self._indexes[own] = {_key(own, mask): (mask,) for mask in images_below(own)}
        return masks_of(_key(folder, image), self._indexes[own])


def _key(folder: Path, image: Path) -> str:
    return image.relative_to(folder).with_suffix("").as_posix()


def _class_folders(folder: Path) -> list[Path]:
    return [path for path in list_subfolders(folder) if path.name.lower() not in MASK_FOLDERS]


def _good_folders(folder: Path) -> list[Path]:
    return [path for path in _class_folders(folder) if path.name.lower() in _GOOD_NAMES]


def _good_images(folder: Path | None) -> list[Path]:
    """Images of the good folders; images without any folder are good as well."""
    if folder is None:
        return []
    in_folders = [image for path in _good_folders(folder) for image in images_below(path)]
    return in_folders or images_in(folder)


def _defect_images(folder: Path) -> dict[Path, list[Path]]:
    good = set(_good_folders(folder))
    return {path: images_below(path) for path in _class_folders(folder) if path not in good}
