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


def test_layers_go_to_all_detectors_or_to_one():
    given = settings(layers=("layer2", "layer3"), settings={"mvg.layers": "layer1,layer2"})
    assert given.layers_for("padim") == ["layer2", "layer3"]
    assert given.layers_for("mvg") == ["layer1", "layer2"]
    assert given.layers_for("padim+mvg") == ["layer2", "layer3"]
    assert given.for_detector("mvg") == {}
    assert given.for_detector("padim+mvg") == {"mvg.layers": "layer1,layer2"}
    assert "--layers layer2,layer3" in given.command()
    assert settings().layers_for("mvg") is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"settings": {"layers": "layer1"}}, "write --layers instead"),
        ({"layers": ("a",), "backbones": ("resnet18", "pdn_edge")}, "one backbone at a time"),
    ],
)
def test_layers_that_cannot_be_meant_are_refused(options, message):
    with pytest.raises(SettingsError, match=message):
        settings(**options)


@pytest.mark.parametrize("name", ["nobody", "padim+nobody", "+", "padim+"])
def test_unknown_parts_are_named(name):
    with pytest.raises(SettingsError, match="unknown detector"):
        settings(detectors=(name,))
