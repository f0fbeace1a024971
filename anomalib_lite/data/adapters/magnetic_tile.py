"""Magnetic tile defects: the original upload, or a copy in MVTec layout."""

from __future__ import annotations

from pathlib import Path

from anomalib_lite.data.adapters.files import child, find_categories, folder_name, images_in
from anomalib_lite.data.adapters.files import subfolders as list_subfolders
from anomalib_lite.data.adapters.mvtec_layout import is_category, list_category
from anomalib_lite.data.adapters.registry import Adapter, KindInfo, register
from anomalib_lite.data.adapters.splits import relative_names, split_good
from anomalib_lite.data.masks import masks_of
from anomalib_lite.data.sample import Sample, defect_sample, good_sample

_PREFIX = "mt_"
_GOOD = "mt_free"
_PHOTO_SUFFIXES = (".jpg", ".jpeg")


@register(
    KindInfo(
        kind="magnetic_tile",
        title="Magnetic tile defects",
        layout="MT_Free, MT_Blowhole, MT_Break, MT_Crack, MT_Fray and MT_Uneven, each with "
        "Imgs/<name>.jpg and its mask Imgs/<name>.png; or MVTec layout",
        download="The folders of the authors' repository.",
        homepage="https://github.com/abin24/Magnetic-tile-defect-datasets.",
        licence="free to use with citation (the authors' words; no licence text)",
        citation="Huang, Qiu, Yuan: Surface defect saliency of magnetic tile, The Visual "
        "Computer 2020",
        split_rule="no official split: good images by hash of their path, about 80 % train; every "
        "defective image is test",
    )
)
class MagneticTileAdapter(Adapter):
    """Photographs are `.jpg`, masks `.png` beside them; masks of good tiles are left out."""

    def find_categories(self, root: Path) -> dict[str, Path]:
        """One category for the original folders, else MVTec's categories."""
        if self.recognises(root):
            return {folder_name(root): root}
        return find_categories(root, is_category)

    def recognises(self, root: Path) -> bool:
        """Only the original folders; a converted copy cannot be told from MVTec AD."""
        return bool(_class_folders(root))

    def list_samples(self, source: Path, category: str) -> list[Sample]:
        """Samples of either layout."""
        classes = _class_folders(source)
        if not classes:
            return list_category(source, category)
        samples: list[Sample] = []
        for folder in classes:
            files = images_in(child(folder, "Imgs"))
            photos = [file for file in files if file.suffix.lower() in _PHOTO_SUFFIXES]
            if folder.name.lower() == _GOOD:
                names = relative_names(source, photos)
                split_of = split_good(names)
                samples += [
                    good_sample(photo, category=category, split=split_of[name])
                    for photo, name in zip(photos, names, strict=True)
                ]
                continue
            masks = {file.stem: (file,) for file in files if file.suffix.lower() == ".png"}
            samples += [
                defect_sample(
                    photo,
                    category=category,
                    split="test",
                    defect=folder.name[len(_PREFIX) :].lower(),
                    mask_paths=masks_of(photo.stem, masks),
                )
                for photo in photos
            ]
        return samples


def _class_folders(root: Path) -> list[Path]:
    return [
        folder
        for folder in list_subfolders(root)
        if folder.name.lower().startswith(_PREFIX) and child(folder, "Imgs")
    ]
