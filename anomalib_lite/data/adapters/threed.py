"""Sets with depth: MVTec 3D-AD (xyz point maps) and Eyecandies (depth images)."""

from __future__ import annotations

import os
import re
from pathlib import Path

from anomalib_lite.data.adapters.files import (
    child,
    find_categories,
    images_in,
    subfolders,
)
from anomalib_lite.data.adapters.mvtec_layout import index_masks
from anomalib_lite.data.adapters.pixels import mask_file_marks_defect
from anomalib_lite.data.adapters.registry import Adapter, KindInfo, register
from anomalib_lite.data.masks import masks_of
from anomalib_lite.data.sample import GOOD, Sample, Split, defect_sample, good_sample
from anomalib_lite.edge.errors import SourceError

# Eyecandies renders six lights; 5 is "all spotlights and camera light", shown as RGB on its page.
EYECANDIES_LIGHT = 5
_EYECANDIES_FLAGS = ("bumps", "colors", "dents", "dimples", "normals")
_EYECANDIES_SPLITS: tuple[tuple[str, Split], ...] = (
    ("train", "train"),
    ("val", "validation"),
    ("test_public", "test"),
)
_MVTEC_3D_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@register(
    KindInfo(
        kind="mvtec3d",
        title="MVTec 3D-AD",
        layout="<category>/{train,validation,test}/<good or defect>/ with rgb/000.png, "
        "xyz/000.tiff and, in test, gt/000.png",
        download="The archive of all 10 categories, or single categories, from MVTec's "
        "data set page.",
        homepage="https://www.mvtec.com/company/research/datasets/mvtec-3d-ad",
        licence="CC BY-NC-SA 4.0 (no commercial use)",
        citation="Bergmann, Jin, Sattlegger, Steger: The MVTec 3D-AD Dataset for Unsupervised 3D "
        "Anomaly Detection and Localization, VISAPP 2022",
        split_rule="official folders train, validation and test",
        depth=True,
    )
)
class Mvtec3dAdapter(Adapter):
    """Colour images with their xyz maps (float32 TIFF, `(H, W, 3)`, metres)."""

    def find_categories(self, root: Path) -> dict[str, Path]:
        """Category folders with `train/good/rgb`."""
        return find_categories(
            root, lambda folder: child(child(child(folder, "train"), GOOD), "rgb") is not None
        )

    def list_samples(self, source: Path, category: str) -> list[Sample]:
        """Samples of one category folder."""
        samples: list[Sample] = []
        for split in _MVTEC_3D_SPLITS:
            split_folder = child(source, split)
            for class_folder in subfolders(split_folder) if split_folder else ():
                samples += _list_3d_class(class_folder, category, split)
        return samples


def _list_3d_class(folder: Path, category: str, split: Split) -> list[Sample]:
    depths = index_masks(child(folder, "xyz"))
    masks = index_masks(child(folder, "gt"))
    samples: list[Sample] = []
    for image in images_in(child(folder, "rgb")):
        depth = next(iter(depths.get(image.stem, ())), None)
        if folder.name.lower() == GOOD:
            samples.append(good_sample(image, category=category, split=split, depth_path=depth))
            continue
        samples.append(
            defect_sample(
                image,
                category=category,
                split=split,
                defect=folder.name,
                mask_paths=masks_of(image.stem, masks),
                depth_path=depth,
            )
        )
    return samples


@register(
    KindInfo(
        kind="eyecandies",
        title="Eyecandies",
        layout="<Candy>/{train,val,test_public}/data/ with 000_image_5.png, 000_depth.png, "
        "000_mask.png and 000_metadata.yaml",
        download="One archive per candy (10), linked from the project page.",
        homepage="https://eyecan-ai.github.io/eyecandies/",
        licence="see the project page (not stated with the files); ask the authors",
        citation="Bonfiglioli, Toschi, Silvestri, Fioraio, De Gregorio: The Eyecandies Dataset for "
        "Unsupervised Multimodal Anomaly Detection and Localization, ACCV 2022",
        split_rule="official folders train, val and test_public; test_private has no ground truth "
        f"and is left out; of the six lights, image_{EYECANDIES_LIGHT} is listed",
        depth=True,
    )
)
class EyecandiesAdapter(Adapter):
    """Rendered sweets; labels come from the metadata file, else from the mask's pixels."""

    def find_categories(self, root: Path) -> dict[str, Path]:
        """Category folders with `train` and `test_public` of numbered files."""
        return find_categories(root, _is_candy)

    def list_samples(self, source: Path, category: str) -> list[Sample]:
        """Samples of one category folder.

        Raises:
            SourceError: an image of the test has neither readable metadata nor a mask.
        """
        samples: list[Sample] = []
        for name, split in _EYECANDIES_SPLITS:
            split_folder = child(source, name)
            if split_folder is None:
                continue
            for image in images_in(child(split_folder, "data") or split_folder):
                number = re.fullmatch(rf"(\d+)_image_{EYECANDIES_LIGHT}", image.stem)
                if number:
                    samples.append(_candy_sample(image, number[1], category, split))
        return samples


def _is_candy(folder: Path) -> bool:
    public = child(folder, "test_public")
    if public is None or child(folder, "train") is None or child(public, "ground_truth"):
        return False
    return any("_image_" in image.name for image in images_in(child(public, "data") or public))


def _candy_sample(image: Path, number: str, category: str, split: Split) -> Sample:
    depth = image.with_name(f"{number}_depth.png")
    defect = GOOD if split != "test" else _candy_defect(image, number)
    if defect == GOOD:
        return good_sample(image, category=category, split=split, depth_path=depth)
    return defect_sample(
        image,
        category=category,
        split=split,
        defect=defect,
        mask_paths=(image.with_name(f"{number}_mask.png"),),
        depth_path=depth,
    )


def _candy_defect(image: Path, number: str) -> str:
    """`good`, or the kinds of anomaly joined by `+` (`bumps+colors`), or `anomalous`."""
    flags = _read_flags(image, number)
    if "anomalous" in flags:
        if not flags["anomalous"]:
            return GOOD
        return "+".join(name for name in _EYECANDIES_FLAGS if flags.get(name)) or "anomalous"
    mask = image.with_name(f"{number}_mask.png")
    return "anomalous" if mask_file_marks_defect(mask) else GOOD


def _read_flags(image: Path, number: str) -> dict[str, bool]:
    """The `name: 0 or 1` lines of a metadata file; empty if there is no such file."""
    for suffix in (".yaml", ".yml"):
        path = image.with_name(f"{number}_metadata{suffix}")
        if not os.path.isfile(path):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{path}: cannot be read, and holds the label") from error
        found = re.findall(r"^\s*(\w+)\s*:\s*(0|1|true|false)\b", text, re.MULTILINE | re.I)
        return {name.lower(): value.lower() in ("1", "true") for name, value in found}
    return {}
