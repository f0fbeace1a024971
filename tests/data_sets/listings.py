"""What the adapters must list for the trees: image, split, defect, masks."""

from __future__ import annotations

Row = tuple[str, str, str, tuple[str, ...]]

CATEGORIES = {
    "btad": ("01", "02", "03"),
    "dagm": ("Class1", "Class2", "Class10"),
    "deeppcb": ("deeppcb",),
    "eyecandies": ("CandyCane",),
    "folder": ("folder",),
    "ksdd": ("ksdd",),
    "ksdd2": ("ksdd2",),
    "loco": ("pushpins",),
    "magnetic_tile": ("magnetic_tile",),
    "mpdd": ("bracket_black",),
    "mvtec": ("bottle", "screw"),
    "mvtec2": ("vial",),
    "mvtec3d": ("bagel",),
    "realiad": ("audiojack",),
    "visa": ("candle", "pcb1"),
}

EXACT: dict[str, tuple[str, list[Row]]] = {
    "mvtec": (
        "bottle",
        [
            ("bottle/train/good/000.png", "train", "good", ()),
            ("bottle/train/good/001.png", "train", "good", ()),
            ("bottle/train/good/002.png", "train", "good", ()),
            (
                "bottle/test/crack/000.png",
                "test",
                "crack",
                ("bottle/ground_truth/crack/000_mask.png",),
            ),
            (
                "bottle/test/crack/001.png",
                "test",
                "crack",
                ("bottle/ground_truth/crack/001_mask.png",),
            ),
            ("bottle/test/good/000.png", "test", "good", ()),
        ],
    ),
    "mvtec2": (
        "vial",
        [
            ("vial/train/good/000_regular.png", "train", "good", ()),
            ("vial/train/good/001_regular.png", "train", "good", ()),
            ("vial/validation/good/100_regular.png", "validation", "good", ()),
            (
                "vial/test_public/bad/000_shift_1.png",
                "test",
                "bad",
                ("vial/test_public/ground_truth/bad/000_shift_1_mask.png",),
            ),
            ("vial/test_public/good/000_overexposed.png", "test", "good", ()),
        ],
    ),
    "loco": (
        "pushpins",
        [
            ("pushpins/train/good/000.png", "train", "good", ()),
            ("pushpins/validation/good/000.png", "validation", "good", ()),
            ("pushpins/test/good/000.png", "test", "good", ()),
            (
                "pushpins/test/logical_anomalies/000.png",
                "test",
                "logical_anomalies",
                (
                    "pushpins/ground_truth/logical_anomalies/000/000.png",
                    "pushpins/ground_truth/logical_anomalies/000/001.png",
                ),
            ),
            (
                "pushpins/test/structural_anomalies/000.png",
                "test",
                "structural_anomalies",
                ("pushpins/ground_truth/structural_anomalies/000/000.png",),
            ),
        ],
    ),
    "visa": (
        "candle",
        [
            ("candle/Data/Images/Normal/0000.JPG", "train", "good", ()),
            ("candle/Data/Images/Normal/0001.JPG", "train", "good", ()),
            ("candle/Data/Images/Normal/0002.JPG", "test", "good", ()),
            (
                "candle/Data/Images/Anomaly/000.JPG",
                "test",
                "anomaly",
                ("candle/Data/Masks/Anomaly/000.png",),
            ),
        ],
    ),
    "btad": (
        "03",
        [
            ("03/train/ok/0000.bmp", "train", "good", ()),
            ("03/test/ko/0002.bmp", "test", "ko", ("03/ground_truth/ko/0002.bmp",)),
            ("03/test/ok/0001.bmp", "test", "good", ()),
        ],
    ),
    "mpdd": (
        "bracket_black",
        [
            ("bracket_black/train/good/000.png", "train", "good", ()),
            ("bracket_black/test/good/000.png", "test", "good", ()),
            (
                "bracket_black/test/hole/000.png",
                "test",
                "hole",
                ("bracket_black/ground_truth/hole/000_mask.png",),
            ),
            (
                "bracket_black/test/scratches/000.png",
                "test",
                "scratches",
                ("bracket_black/ground_truth/scratches/000_mask.png",),
            ),
        ],
    ),
    "ksdd2": (
        "ksdd2",
        [
            ("train/10000.png", "train", "good", ()),
            ("train/10001.png", "train", "defect", ("train/10001_GT.png",)),
            ("train/10002.png", "train", "good", ()),
            ("test/20000.png", "test", "good", ()),
            ("test/20001.png", "test", "defect", ("test/20001_GT.png",)),
        ],
    ),
    "dagm": (
        "Class10",
        [
            ("Class10/Train/0576.PNG", "train", "good", ()),
            ("Class10/Train/0577.PNG", "train", "defect", ("Class10/Train/Label/0577_label.PNG",)),
            ("Class10/Train/0578.PNG", "train", "good", ()),
            ("Class10/Test/0576.PNG", "test", "good", ()),
            ("Class10/Test/0577.PNG", "test", "defect", ("Class10/Test/Label/0577_label.PNG",)),
            ("Class10/Test/0578.PNG", "test", "good", ()),
        ],
    ),
    "realiad": (
        "audiojack",
        [
            (
                "realiad_1024/audiojack/OK/S0001/audiojack_0001_OK_C1_2023.jpg",
                "train",
                "good",
                (),
            ),
            (
                "realiad_1024/audiojack/OK/S0001/audiojack_0001_OK_C2_2023.jpg",
                "train",
                "good",
                (),
            ),
            ("realiad_1024/audiojack/OK/S0002/audiojack_0002_OK_C1_2023.jpg", "test", "good", ()),
            ("realiad_1024/audiojack/OK/S0002/audiojack_0002_OK_C2_2023.jpg", "test", "good", ()),
            (
                "realiad_1024/audiojack/NG/HS/S0064/audiojack__0064_NG_HS_C1_2023.jpg",
                "test",
                "HS",
                ("realiad_1024/audiojack/NG/HS/S0064/audiojack__0064_NG_HS_C1_2023.png",),
            ),
            (
                "realiad_1024/audiojack/NG/HS/S0064/audiojack__0064_NG_HS_C2_2023.jpg",
                "test",
                "good",
                (),
            ),
        ],
    ),
    "deeppcb": (
        "deeppcb",
        [
            ("PCBData/group00041/00041/00041000_temp.jpg", "train", "good", ()),
            ("PCBData/group00041/00041/00041000_test.jpg", "train", "defect", ()),
            ("PCBData/group00041/00041/00041001_temp.jpg", "train", "good", ()),
            ("PCBData/group00041/00041/00041001_test.jpg", "train", "defect", ()),
            ("PCBData/group00041/00041/00041002_temp.jpg", "test", "good", ()),
            ("PCBData/group00041/00041/00041002_test.jpg", "test", "defect", ()),
        ],
    ),
}
