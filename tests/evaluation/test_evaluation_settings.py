"""Which settings reach which detector of an evaluation."""

import pytest

from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.evaluation import EvaluationSettings

GIVEN = {"sigma": 3, "padim.sigma": 2, "mvg.components": "low", "padim+mvg.trust": "equal"}


def settings(**options):
    detectors = ("padim", "mvg", "padim+mvg")
    return EvaluationSettings(**{"data": ("folder:x",), "detectors": detectors, **options})


@pytest.mark.parametrize(
    ("detector", "expected"),
    [
        ("padim", {"sigma": 2}),
        ("mvg", {"sigma": 3, "components": "low"}),
        ("padim+mvg", {"padim.sigma": 2, "mvg.components": "low", "trust": "equal"}),
    ],
)
def test_each_detector_gets_its_own(detector, expected):
    assert settings(settings=GIVEN).for_detector(detector) == expected


@pytest.mark.parametrize("name", ["knn.k", "knn+mvg.trust", "padim.name", "padim.", "a b"])
def test_settings_of_nobody_are_refused(name):
    with pytest.raises(SettingsError, match=r"no detector has|is for the detector"):
        settings(settings={name: 1})


@pytest.mark.parametrize("name", ["nobody", "padim+nobody", "+", "padim+"])
def test_unknown_parts_are_named(name):
    with pytest.raises(SettingsError, match="unknown detector"):
        settings(detectors=(name,))
