"""A whole data set on disk, in the folder layout of MVTec AD."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy.typing as npt

from ...edge.errors import SettingsError
from .render import defect_names, render

_MOST = 10_000  # images in one folder; also the distance between the defects' index ranges
_MOST_VIEWS = 100
_FORMATS = ("jpg", "png")
_JPEG = [
    *(cv2.IMWRITE_JPEG_QUALITY, 92),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
]


@dataclass(frozen=True)
class _Shot:
    """One image to make: where it goes (folder, stem) and which scene it shows."""

    folder: str
    stem: str
    split: str
    index: int
    defect: str | None
    view: int = 0

    @property
    def mask(self) -> str | None:
        return None if self.defect is None else f"ground_truth/{self.defect}/{self.stem}_mask.png"


def write_dataset(
    root: str | Path,
    product: str,
    *,
    seed: int = 0,
    train: int = 60,
    test_good: int = 20,
    test_per_defect: int = 8,
    size: int = 256,
    image_format: str = "jpg",
    views: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Make one product's data set under `root/<product>` and return that folder.

    Images are `train/good/000.jpg`, `test/good/000.jpg`, `test/<defect>/000.jpg`, masks
    `ground_truth/<defect>/000_mask.png`. No two images show the same scene,
    but for the views of one part. Each file appears
    whole or not at all, and a file of the same name is replaced.

    Args:
        root: folder to write to; made if needed.
        product: one of `PRODUCTS`.
        seed: 0 or more; another seed gives other images.
        train: good images to fit with.
        test_good: good images to test with.
        test_per_defect: test images of each defect.
        size: side of the square images in pixels, 64 to 1024.
        image_format: "jpg" (quality 92, full colour resolution) or "png".
        views: photographs of each good part, as a line takes them that looks at it several times;
            `train` and `test_good` count parts, and files are `003_0.jpg`, `003_1.jpg`, ...
        progress: called after each image with (done, total).

    Raises:
        SettingsError: an argument is unknown or out of range, the folder cannot be written, or
            it holds files of another data set, which would be mixed up with this one.
    """
    if image_format not in _FORMATS:
        raise SettingsError(
            f"unknown image format {image_format!r}; choose {' or '.join(_FORMATS)}"
        )
    for name, count in (
        ("train", train),
        ("test_good", test_good),
        ("test_per_defect", test_per_defect),
    ):
        if not 0 <= count <= _MOST:
            raise SettingsError(f"{name} must be 0 to {_MOST}, not {count}")
    if not 1 <= views <= _MOST_VIEWS:
        raise SettingsError(f"views must be 1 to {_MOST_VIEWS}, not {views}")
    shots = list(_shots(product, train, test_good, test_per_defect, views))
    home = Path(root) / product
    _refuse_strangers(home, shots, image_format)
    for done, shot in enumerate(shots, 1):
        made = render(
            product,
            seed=seed,
            index=shot.index,
            split=shot.split,
            defect=shot.defect,
            size=size,
            view=shot.view,
        )
        _write(home / shot.folder / f"{shot.stem}.{image_format}", made.image[..., ::-1])
        if shot.mask is not None:
            _write(home / shot.mask, made.mask)
        if progress is not None:
            progress(done, len(shots))
    return home


def _shots(
    product: str, train: int, test_good: int, test_per_defect: int, views: int
) -> Iterator[_Shot]:
    for split, parts in (("train", train), ("test", test_good)):
        for k in range(parts):
            for view in range(views):
                stem = f"{k:03d}" if views == 1 else f"{k:03d}_{view}"
                yield _Shot(f"{split}/good", stem, split, k, None, view)
    for number, info in enumerate(defect_names(product), 1):
        for k in range(test_per_defect):
            yield _Shot(f"test/{info.name}", f"{k:03d}", "test", number * _MOST + k, info.name)


def _refuse_strangers(home: Path, shots: list[_Shot], image_format: str) -> None:
    ours = {home / shot.folder / f"{shot.stem}.{image_format}" for shot in shots}
    ours |= {home / shot.mask for shot in shots if shot.mask is not None}
    strangers = sorted(p for p in home.rglob("*") if p.is_file() and p not in ours)
    if strangers:
        raise SettingsError(
            f"{home} holds {len(strangers)} file(s) that this data set would not write, such as "
            f"{strangers[0].relative_to(home)}; choose another folder or empty this one"
        )


def _write(path: Path, image: npt.NDArray[Any]) -> None:
    """Encode a BGR or grey image and put it in place in one step."""
    options = _JPEG if path.suffix == ".jpg" else []
    _, code = cv2.imencode(path.suffix, image, options)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(code.tobytes())
        os.replace(draft, path)
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}") from error
    finally:
        if draft.parent.is_dir():
            draft.unlink(missing_ok=True)
