"""MVTec AD and the sets published in its layout: MVTec AD 2, MPDD, BTAD."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from anomalib_lite.data.adapters.files import find_categories
from anomalib_lite.data.adapters.mvtec_layout import (
    BTAD,
    MVTEC,
    MVTEC_2,
    Layout,
    is_category,
    list_category,
)
from anomalib_lite.data.adapters.registry import Adapter, KindInfo, register
from anomalib_lite.data.sample import Sample

_CC_NC = "CC BY-NC-SA 4.0 (no commercial use)"


@register(
    KindInfo(
        kind="mvtec",
        title="MVTec AD",
        layout="<category>/train/good, test/good, test/<defect>, "
        "ground_truth/<defect>/<stem>_mask.png or <stem>.png (or one such category folder)",
        download="The archive of all 15 categories, or single categories, from MVTec's "
        "data set page.",
        homepage="https://www.mvtec.com/company/research/datasets/mvtec-ad",
        licence=_CC_NC,
        citation="Bergmann, Fauser, Sattlegger, Steger: MVTec AD – A Comprehensive Real-World "
        "Dataset for Unsupervised Anomaly Detection, CVPR 2019",
        split_rule="official folders train and test (validation too, if there is one)",
    )
)
class MvtecAdapter(Adapter):
    """Reads any set of MVTec layout."""

    layout: ClassVar[Layout] = MVTEC

    def find_categories(self, root: Path) -> dict[str, Path]:
        """Folders with good training images and a test folder."""
        return find_categories(root, lambda folder: is_category(folder, self.layout))

    def list_samples(self, source: Path, category: str) -> list[Sample]:
        """Samples of one category folder."""
        return list_category(source, category, self.layout)


@register(
    KindInfo(
        kind="mvtec2",
        title="MVTec AD 2",
        layout="<category>/train/good, validation/good, test_public/good, test_public/bad, "
        "test_public/ground_truth/bad/<stem>_mask.png",
        download="The archive of all 8 categories from MVTec's data set page.",
        homepage="https://www.mvtec.com/company/research/datasets/mvtec-ad-2",
        licence=_CC_NC,
        citation="Heckler-Kram, Neudeck, Scheler, König, Steger: The MVTec AD 2 Dataset: Advanced "
        "Scenarios for Unsupervised Anomaly Detection, arXiv 2503.21622, 2025",
        split_rule="official folders; test is test_public only, since test_private and "
        "test_private_mixed have no public labels",
    )
)
class Mvtec2Adapter(MvtecAdapter):
    """MVTec AD 2; the test sets without public labels are not listed."""

    layout = MVTEC_2


@register(
    KindInfo(
        kind="mpdd",
        title="MPDD (Metal Parts Defect Detection)",
        layout="<category>/train/good, test/good, test/<defect>, "
        "ground_truth/<defect>/<stem>_mask.png",
        download="The archive linked from the authors' repository page (6 categories).",
        homepage="https://github.com/stepanje/MPDD",
        licence="reported as CC BY-NC-SA 4.0; the project page names none, ask the authors",
        citation="Jezek, Jonak, Burget, Dvorak, Skotak: Deep learning-based defect detection of "
        "metal parts: evaluating current methods in complex conditions, ICUMT 2021",
        split_rule="official folders train and test",
    )
)
class MpddAdapter(MvtecAdapter):
    """MPDD; its layout is MVTec's."""

    def recognises(self, root: Path) -> bool:
        """Never: the layout cannot be told from MVTec AD."""
        return False


@register(
    KindInfo(
        kind="btad",
        title="BTAD (beanTech Anomaly Detection)",
        layout="01, 02 and 03, each with train/ok, test/ok, test/ko, "
        "ground_truth/ko/<stem>.png or .bmp",
        download="The archive linked from the authors' repository page (3 products).",
        homepage="https://github.com/pankajmishra000/VT-ADL",
        licence="CC BY-SA 4.0 on the authors' page, often quoted as CC BY-NC-SA 4.0; check first",
        citation="Mishra, Verk, Fornasier, Piciarelli, Foresti: VT-ADL: A Vision Transformer "
        "Network for Image Anomaly Detection and Localization, ISIE 2021",
        split_rule="official folders train and test; `ok` is listed as good",
    )
)
class BtadAdapter(MvtecAdapter):
    """BTAD: MVTec's layout with `ok` and `ko`."""

    layout = BTAD
