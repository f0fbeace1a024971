"""Real-IAD: thirty objects from five views; JSON lists hold labels and splits."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from anomalib_lite.data.adapters.files import child, entries, inside, natural_key
from anomalib_lite.data.adapters.registry import Adapter, KindInfo, register
from anomalib_lite.data.sample import Sample, Split, defect_sample, good_sample
from anomalib_lite.edge.errors import SourceError

_SPLITS: tuple[Split, ...] = ("train", "test")
# Best first: the paper's experiments use the 1024-pixel images and the multi-view lists.
_IMAGE_FOLDERS = ("realiad_1024", "realiad_512", "realiad_256", "realiad_raw")
_LIST_FOLDERS = ("realiad_jsons", "realiad_jsons_sv")
_NOT_A_LIST = (
    "not a Real-IAD list, expected meta, train and test with image_path and anomaly_class; "
    "download it again"
)


@register(
    KindInfo(
        kind="realiad",
        title="Real-IAD",
        layout="realiad_1024/<category>/{OK,NG}/… (or realiad_512, realiad_256, realiad_raw) "
        "beside realiad_jsons/<category>.json",
        download="realiad_jsons and one archive per object, on request from the authors "
        "(see the project page).",
        homepage="https://realiad4ad.github.io/Real-IAD/",
        licence="CC BY-NC-SA 4.0 (no commercial use), access on request",
        citation="Wang et al.: Real-IAD: A Real-World Multi-View Dataset for Benchmarking "
        "Versatile Industrial Anomaly Detection, CVPR 2024",
        split_rule="official multi-view lists realiad_jsons (single-view realiad_jsons_sv if only "
        "those are there); views on which the defect cannot be seen count as good, as in the "
        "authors' code",
    )
)
class RealIadAdapter(Adapter):
    """Reads the largest images that are there, unless one of the image folders is opened."""

    def find_categories(self, root: Path) -> dict[str, Path]:
        """Objects with a list, each with its folder of images."""
        images = child(root, *_IMAGE_FOLDERS)
        lists = _lists(root)
        if not lists and root.absolute().name in _IMAGE_FOLDERS:
            images, lists = root, _lists(root.absolute().parent)
        if images and not lists:
            raise SourceError(
                f"{root}: is Real-IAD without its lists, expected realiad_jsons/<category>.json "
                "beside the image folders; download realiad_jsons"
            )
        return {name: (images or root) / name for name in lists}

    def list_samples(self, source: Path, category: str) -> list[Sample]:
        """Samples named in one object's list.

        Raises:
            SourceError: the list is not of Real-IAD's form, or the images are not there.
        """
        images = source.parent
        lists = _lists(images) or _lists(images.absolute().parent)
        path = lists[category]
        content = _read_list(path)
        normal = str(content["meta"].get("normal_class", "OK"))
        base = _image_base(path, images, category, content)
        return [
            _sample(row, base, category, split, normal, path)
            for split in _SPLITS
            for row in content[split]
        ]


def _lists(root: Path) -> dict[str, Path]:
    outer = child(root, _LIST_FOLDERS[0])
    # The archive unpacks to realiad_jsons/realiad_jsons in some copies.
    for folder in (
        child(outer, _LIST_FOLDERS[0]),
        outer,
        *(child(place, _LIST_FOLDERS[1]) for place in (outer, root)),
    ):
        found = [Path(entry.path) for entry in entries(folder)] if folder else []
        lists = {path.stem: path for path in found if path.suffix.lower() == ".json"}
        if lists:
            return {name: lists[name] for name in sorted(lists, key=natural_key)}
    return {}


def _read_list(path: Path) -> dict[str, Any]:
    """The list with keys `meta` (a dictionary), `train` and `test` (rows, maybe none)."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = {split: list(content.get(split) or ()) for split in _SPLITS}
        fits = isinstance(content["meta"], dict) and all(
            isinstance(row["image_path"], str) and row["anomaly_class"]
            for split in _SPLITS
            for row in rows[split]
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"{path}: {_NOT_A_LIST}") from error
    if not fits or not any(rows.values()):
        raise SourceError(f"{path}: {_NOT_A_LIST}")
    return {"meta": content["meta"], "train": rows["train"], "test": rows["test"]}


def _image_base(path: Path, images: Path, category: str, content: dict[str, Any]) -> Path:
    """Folder that the list's paths start from: the one below which its first image lies."""
    first = (content["train"] or content["test"])[0]["image_path"]
    prefix = str(content["meta"].get("prefix") or "").strip("/")
    for start in (prefix, category, ""):
        base = inside(images, start, path) if start else images
        if os.path.exists(inside(base, first, path)):
            return base
    raise SourceError(
        f"{path}: its image {first} is not below {images}, expected it in "
        f"{_IMAGE_FOLDERS[0]}/{category}; unpack the images of {category} there"
    )


def _sample(
    row: dict[str, Any], base: Path, category: str, split: Split, normal: str, source: Path
) -> Sample:
    image = inside(base, row["image_path"], source)
    mask = row.get("mask_path")
    defect = str(row["anomaly_class"])
    if defect == normal or not mask:
        return good_sample(image, category=category, split=split)
    return defect_sample(
        image,
        category=category,
        split=split,
        defect=defect,
        mask_paths=(inside(base, str(mask), source),),
    )
