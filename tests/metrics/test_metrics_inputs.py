"""What no metric may swallow: each case is one line for the user, never a wrong number."""

import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anomalib_lite import metrics
from anomalib_lite.edge.errors import AnomalibLiteError
from anomalib_lite.metrics import MetricError

MAP = np.arange(6, dtype=np.float32).reshape(2, 3)
MASK = np.array([[0, 0, 0], [0, 0, 255]], dtype=np.uint8)
IMAGE_METRICS = [metrics.auroc, metrics.average_precision, metrics.f1_max, metrics.roc_curve]
PIXEL_METRICS = [
    metrics.pixel_auroc,
    metrics.pixel_average_precision,
    metrics.pixel_f1_max,
    metrics.aupro,
    metrics.pro_curve,
    metrics.aupimo,
    metrics.pro_linear_thresholds,
    metrics.pro_rank_thresholds,
]
PAGES = sorted((Path(__file__).parents[2] / "docs" / "metrics").glob("*.md"))


@pytest.mark.parametrize("metric", IMAGE_METRICS)
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([1.0, np.nan], [0, 1], "NaN or infinite"),
        ([1.0, np.inf], [0, 1], "NaN or infinite"),
        ([1.0, 2.0], [1, 1], "only anomalous"),
        ([1.0, 2.0], [0, 0], "only good"),
        ([1.0, 2.0], [0, 1, 1], "labels has shape"),
        ([1.0, 2.0], [0, 2], "other than 0"),
        ([[1.0, 2.0]], [[0, 1]], "scores has shape"),
        ([], [], "scores has shape"),
        (["a", "b"], [0, 1], "scores has type"),
        (np.array([2**62, 1]), [0, 1], "scores has type int64"),
    ],
)
def test_unusable_scores_and_labels_are_refused(metric, scores, labels, message):
    with pytest.raises(MetricError, match=message):
        metric(scores, labels)


@pytest.mark.parametrize("metric", PIXEL_METRICS)
@pytest.mark.parametrize(
    ("maps", "masks", "message"),
    [
        ([MAP * np.nan], [MASK], "map 0 holds NaN"),
        ([MAP, np.where(MAP == 3, np.inf, MAP)], [MASK, MASK], "map 1 holds NaN or infinite"),
        ([MAP], [MASK.T], r"map 0 has shape \(2, 3\) and its mask \(3, 2\)"),
        ([MAP, MAP], [MASK], "masks ends after 1 images"),
        ([MAP], [MASK, MASK], "maps ends after 1 images"),
        ([MAP], [0 * MASK], "no mask marks a defect pixel"),
        ([MAP], [MASK / 255], "mask 0 has type float64"),
        ([MAP[0]], [MASK[0]], "map 0 has shape"),
        (MAP, MASK, r"one array of shape \(2, 3\)"),
        ([], [], "maps is empty"),
    ],
)
def test_unusable_maps_and_masks_are_refused(metric, maps, masks, message):
    with pytest.raises(MetricError, match=message):
        metric(maps, masks)


@pytest.mark.parametrize("metric", PIXEL_METRICS)
def test_masks_without_a_good_pixel_are_refused(metric):
    with pytest.raises(MetricError, match=r"every pixel is marked|no image is normal"):
        metric([MAP], [MASK * 0 + 1])


@pytest.mark.parametrize("metric", PIXEL_METRICS)
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0], "labelled good but its mask marks a defect"),
        ([], "labels has shape"),
        ([1, 1], "labels has shape"),
        ([2], "other than 0"),
    ],
)
def test_labels_that_contradict_the_masks_are_refused(metric, labels, message):
    with pytest.raises(MetricError, match=f"{message}|no image is normal"):
        metric([MAP], [MASK], labels=labels)
    with pytest.raises(MetricError, match=message):
        metrics.aupro([MAP], [MASK], labels=labels)


@pytest.mark.parametrize("limit", [0.0, -0.1, 1.1, np.nan])
def test_a_limit_outside_zero_to_one_is_refused(limit):
    with pytest.raises(MetricError, match="fpr_limit is"):
        metrics.aupro([MAP], [MASK], limit)


def test_senseless_settings_of_the_look_alikes_are_refused():
    with pytest.raises(MetricError, match="rescale is 'mean'"):
        metrics.pro_linear_thresholds([MAP], [MASK], rescale="mean")
    with pytest.raises(MetricError, match="num_thresholds is 1"):
        metrics.pro_rank_thresholds([MAP], [MASK], 1)


def test_bool_masks_and_uint8_masks_mean_the_same():
    assert metrics.aupro([MAP], [MASK > 0]) == metrics.aupro([MAP], [MASK]) == 1.0


def test_errors_are_the_projects_own_and_one_line():
    with pytest.raises(AnomalibLiteError) as caught:
        metrics.aupro([MAP], [0 * MASK])
    assert "\n" not in str(caught.value)


def test_the_package_needs_neither_torch_nor_sklearn_nor_scipy():
    blocked = "torch sklearn scipy pandas matplotlib"
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys('{blocked}'.split()))\n"
        "import anomalib_lite.metrics\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_every_public_name_exists():
    assert all(hasattr(metrics, name) for name in metrics.__all__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_worked_examples_of_the_docs_are_right(page):
    result = doctest.testfile(str(page), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
