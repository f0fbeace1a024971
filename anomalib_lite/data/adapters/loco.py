"""MVTec LOCO AD: logical and structural anomalies, several masks per image."""

from __future__ import annotations

import os
from pathlib import Path

from anomalib_lite.data.adapters.files import child, find_categories, subfolders
from anomalib_lite.data.adapters.mvtec_layout import is_category, list_category
from anomalib_lite.data.adapters.registry import Adapter, KindInfo, register
from anomalib_lite.data.sample import Sample
from anomalib_lite.edge.errors import SourceError

LOGICAL = "logical_anomalies"
STRUCTURAL = "structural_anomalies"
CONFIG_NAME = "defects_config.json"


@register(
    KindInfo(
        kind="loco",
        title="MVTec LOCO AD",
        layout="<category>/train/good, validation/good, test/good, test/logical_anomalies, "
        "test/structural_anomalies, ground_truth/<family>/<stem>/000.png…, defects_config.json",
        download="The archive of all 5 categories from MVTec's data set page.",
        homepage="https://www.mvtec.com/company/research/datasets/mvtec-loco",
        licence="CC BY-NC-SA 4.0 (no commercial use)",
        citation="Bergmann, Batzner, Fauser, Sattlegger, Steger: Beyond Dents and Scratches: "
        "Logical Constraints in Unsupervised Anomaly Detection and Localization, IJCV 2022",
        split_rule="official folders train, validation and test; report the families "
        "logical_anomalies and structural_anomalies apart, each against test/good",
    )
)
class LocoAdapter(Adapter):
    """Reads LOCO; each sample carries every mask of its image, `defect` names the family."""

    def find_categories(self, root: Path) -> dict[str, Path]:
        """Category folders whose masks lie in one sub-folder per image."""
        return find_categories(root, _is_loco_category)

    def list_samples(self, source: Path, category: str) -> list[Sample]:
        """Samples of one category folder."""
        return list_category(source, category)


def defects_config(category_folder: Path) -> Path:
    """The category's `defects_config.json`: defect and saturation rule of each mask value.

    Raises:
        SourceError: it is missing, so the set is not as MVTec publishes it.
    """
    path = category_folder / CONFIG_NAME
    if not os.path.isfile(path):
        raise SourceError(
            f"{path}: not found, expected it for sPRO; unpack the original archive again"
        )
    return path


def _is_loco_category(folder: Path) -> bool:
    if not is_category(folder):
        return False
    if os.path.isfile(folder / CONFIG_NAME):
        return True
    truth = child(folder, "ground_truth")
    families = [child(truth, LOGICAL), child(truth, STRUCTURAL)]
    return any(family is not None and subfolders(family) for family in families)
