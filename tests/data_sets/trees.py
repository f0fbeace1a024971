"""Small trees with the true folder and file names of each public data set."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

SIZE_HW = (12, 16)
_COUNTER = itertools.count(1)

Tree = Callable[[Path], Path]


def picture(path: Path, size_hw: tuple[int, int] = SIZE_HW) -> Path:
    """An image whose content no other picture of the test run has."""
    number = next(_COUNTER)
    pixels = np.random.default_rng(number).integers(0, 256, (*size_hw, 3), np.uint8)
    return write(path, pixels)


def mask(path: Path, *, empty: bool = False, size_hw: tuple[int, int] = SIZE_HW) -> Path:
    """A mask with a marked corner, or nothing marked."""
    pixels = np.zeros(size_hw, np.uint8)
    if not empty:
        pixels[2:4, 2:5] = 255
    return write(path, pixels)


def depth(path: Path, size_hw: tuple[int, int] = SIZE_HW) -> Path:
    """A 16-bit depth image, or an xyz map for TIFF names."""
    if path.suffix == ".tiff":
        return write(path, np.full((*size_hw, 3), 0.25, np.float32))
    return write(path, np.full(size_hw, 700, np.uint16))


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix.lower()
    done, data = cv2.imencode(suffix, pixels)
    assert done
    path.write_bytes(data.tobytes())
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def mvtec(root: Path, *, mask_ending: str = "_mask.png") -> Path:
    for category in ("bottle", "screw"):
        for name in ("000", "001", "002"):
            picture(root / category / "train" / "good" / f"{name}.png")
        picture(root / category / "test" / "good" / "000.png")
        for name in ("000", "001"):
            picture(root / category / "test" / "crack" / f"{name}.png")
            mask(root / category / "ground_truth" / "crack" / f"{name}{mask_ending}")
    return root


def mvtec2(root: Path) -> Path:
    folder = root / "vial"
    picture(folder / "train" / "good" / "000_regular.png")
    picture(folder / "train" / "good" / "001_regular.png")
    picture(folder / "validation" / "good" / "100_regular.png")
    picture(folder / "test_public" / "good" / "000_overexposed.png")
    picture(folder / "test_public" / "bad" / "000_shift_1.png")
    mask(folder / "test_public" / "ground_truth" / "bad" / "000_shift_1_mask.png")
    picture(folder / "test_private" / "000_regular.png")
    picture(folder / "test_private_mixed" / "000_mixed.png")
    return root


def loco(root: Path) -> Path:
    folder = root / "pushpins"
    picture(folder / "train" / "good" / "000.png")
    picture(folder / "validation" / "good" / "000.png")
    picture(folder / "test" / "good" / "000.png")
    picture(folder / "test" / "logical_anomalies" / "000.png")
    picture(folder / "test" / "structural_anomalies" / "000.png")
    for name in ("000", "001"):
        mask(folder / "ground_truth" / "logical_anomalies" / "000" / f"{name}.png")
    mask(folder / "ground_truth" / "structural_anomalies" / "000" / "000.png")
    rule = {
        "defect_name": "1_additional_pushpin",
        "pixel_value": 255,
        "saturation_threshold": 6300,
        "relative_saturation": False,
    }
    text(folder / "defects_config.json", json.dumps([rule]))
    return root


def mvtec3d(root: Path) -> Path:
    folder = root / "bagel"
    views = {"train": ("good",), "validation": ("good",), "test": ("good", "hole")}
    for split, defects in views.items():
        for defect in defects:
            for name in ("000", "001"):
                picture(folder / split / defect / "rgb" / f"{name}.png")
                depth(folder / split / defect / "xyz" / f"{name}.tiff")
                if split == "test":
                    mask(folder / split / defect / "gt" / f"{name}.png", empty=defect == "good")
    return root


def eyecandies(root: Path) -> Path:
    for split, flags in (
        ("train", ({},)),
        ("val", ({},)),
        ("test_public", ({}, {"bumps": 1, "colors": 1}, {"dents": 1})),
        ("test_private", ({},)),
    ):
        for number, found in enumerate(flags):
            stem = root / "CandyCane" / split / "data" / f"{number:03d}"
            for light in range(6):
                picture(Path(f"{stem}_image_{light}.png"))
            depth(Path(f"{stem}_depth.png"))
            picture(Path(f"{stem}_normals.png"))
            for kind in ("", "bumps_", "colors_", "dents_", "normals_"):
                mask(Path(f"{stem}_{kind}mask.png"), empty=not found)
            flags_text = "".join(
                f"{name}: {found.get(name, 0)}\n"
                for name in ("bumps", "colors", "dents", "normals")
            )
            text(Path(f"{stem}_metadata.yaml"), f"anomalous: {int(bool(found))}\n{flags_text}")
    return root


def visa(root: Path) -> Path:
    rows = ["object,split,label,image,mask"]
    for category in ("candle", "pcb1"):
        for name, split in (("0000", "train"), ("0001", "train"), ("0002", "test")):
            image = picture(root / category / "Data" / "Images" / "Normal" / f"{name}.JPG")
            rows.append(f"{category},{split},normal,{image.relative_to(root).as_posix()},")
        image = picture(root / category / "Data" / "Images" / "Anomaly" / "000.JPG")
        truth = mask(root / category / "Data" / "Masks" / "Anomaly" / "000.png")
        shown = (image.relative_to(root).as_posix(), truth.relative_to(root).as_posix())
        rows.append(f"{category},test,anomaly,{shown[0]},{shown[1]}")
    text(root / "split_csv" / "1cls.csv", "\n".join(rows) + "\n")
    return root


def visa_converted(root: Path) -> Path:
    folder = root / "1cls" / "candle"
    picture(folder / "train" / "good" / "0000.JPG")
    picture(folder / "test" / "good" / "0001.JPG")
    picture(folder / "test" / "bad" / "000.JPG")
    mask(folder / "ground_truth" / "bad" / "000.png")
    return root


def btad(root: Path) -> Path:
    for category, suffix, truth in (
        ("01", "bmp", "png"),
        ("02", "png", "png"),
        ("03", "bmp", "bmp"),
    ):
        folder = root / category
        picture(folder / "train" / "ok" / f"0000.{suffix}")
        picture(folder / "test" / "ok" / f"0001.{suffix}")
        picture(folder / "test" / "ko" / f"0002.{suffix}")
        mask(folder / "ground_truth" / "ko" / f"0002.{truth}")
    return root


def mpdd(root: Path) -> Path:
    folder = root / "bracket_black"
    picture(folder / "train" / "good" / "000.png")
    picture(folder / "test" / "good" / "000.png")
    for defect in ("hole", "scratches"):
        picture(folder / "test" / defect / "000.png")
        mask(folder / "ground_truth" / defect / "000_mask.png")
    return root


def ksdd(root: Path, parts: int = 10) -> Path:
    for part in range(1, parts + 1):
        for view in range(8):
            stem = root / f"kos{part:02d}" / f"Part{view}"
            picture(Path(f"{stem}.jpg"))
            mask(Path(f"{stem}_label.bmp"), empty=view != 5)
    return root


def ksdd2(root: Path) -> Path:
    for split, names in (("train", ("10000", "10001", "10002")), ("test", ("20000", "20001"))):
        for name in names:
            picture(root / split / f"{name}.png")
            mask(root / split / f"{name}_GT.png", empty=not name.endswith("1"))
    mask(root / "train" / "10001_GT (copy).png")
    return root


def dagm(root: Path) -> Path:
    for category in ("Class1", "Class2", "Class10"):
        for split in ("Train", "Test"):
            folder = root / category / split
            for name in ("0576", "0577", "0578"):
                picture(folder / f"{name}.PNG")
            mask(folder / "Label" / "0577_label.PNG")
            rows = ["1", "576 0 0576.PNG 0 0", "577 1 0577.PNG 1 0577_label.PNG"]
            text(folder / "Label" / "Labels.txt", "\n".join(row.replace(" ", "\t") for row in rows))
    return root


def realiad(root: Path) -> Path:
    rows: dict[str, list[dict[str, str | None]]] = {"train": [], "test": []}
    folder = root / "realiad_1024" / "audiojack"

    def add(split: str, defect: str, image: str, truth: str | None) -> None:
        picture(folder / image)
        if truth:
            mask(folder / truth)
        row = {"category": "audiojack", "anomaly_class": defect}
        rows[split].append({**row, "image_path": image, "mask_path": truth})

    for view in ("C1", "C2"):
        add("train", "OK", f"OK/S0001/audiojack_0001_OK_{view}_2023.jpg", None)
        add("test", "OK", f"OK/S0002/audiojack_0002_OK_{view}_2023.jpg", None)
    stem = "NG/HS/S0064/audiojack__0064_NG_HS"
    add("test", "HS", f"{stem}_C1_2023.jpg", f"{stem}_C1_2023.png")
    add("test", "HS", f"{stem}_C2_2023.jpg", None)
    meta = {"normal_class": "OK", "prefix": "audiojack/"}
    text(root / "realiad_jsons" / "audiojack.json", json.dumps({"meta": meta, **rows}))
    return root


def deeppcb(root: Path) -> Path:
    data = root / "PCBData"
    lists = {"trainval.txt": ("00041000", "00041001"), "test.txt": ("00041002",)}
    for name, pairs in lists.items():
        lines = []
        for pair in pairs:
            for kind in ("temp", "test"):
                picture(data / "group00041" / "00041" / f"{pair}_{kind}.jpg")
            text(data / "group00041" / "00041_not" / f"{pair}.txt", "466 441 493 470 3\n")
            lines.append(f"group00041/00041/{pair}.jpg group00041/00041_not/{pair}.txt")
        text(data / name, "\n".join(lines) + "\n")
    return root


def magnetic_tile(root: Path, good: int = 20) -> Path:
    for number in range(good):
        picture(root / "MT_Free" / "Imgs" / f"exp1_num_{number:05d}.jpg")
        mask(root / "MT_Free" / "Imgs" / f"exp1_num_{number:05d}.png", empty=True)
    for name in ("Blowhole", "Break", "Crack", "Fray", "Uneven"):
        picture(root / f"MT_{name}" / "Imgs" / "exp1_num_108719.jpg")
        mask(root / f"MT_{name}" / "Imgs" / "exp1_num_108719.png")
    return root


def folder(root: Path, good: int = 20) -> Path:
    for number in range(good):
        picture(root / "good" / f"part {number:02d}.JPG")
    picture(root / "scratch" / "a.png")
    mask(root / "masks" / "scratch" / "a.png")
    picture(root / "dent" / "b.png")
    return root


TREES: dict[str, Tree] = {
    "btad": btad,
    "dagm": dagm,
    "deeppcb": deeppcb,
    "eyecandies": eyecandies,
    "folder": folder,
    "ksdd": ksdd,
    "ksdd2": ksdd2,
    "loco": loco,
    "magnetic_tile": magnetic_tile,
    "mpdd": mpdd,
    "mvtec": mvtec,
    "mvtec2": mvtec2,
    "mvtec3d": mvtec3d,
    "realiad": realiad,
    "visa": visa,
}
