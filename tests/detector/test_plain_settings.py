"""Settings of the usual scientific types: taken everywhere, plain in files."""

import json
from dataclasses import dataclass, fields
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.distillation.settings import DistillSettings
from anomalib_lite.edge import InputSpec, SettingsError
from anomalib_lite.edge.model_files.headers import read_header
from anomalib_lite.edge.plain import plain, plain_fields
from anomalib_lite.edge.prepare import as_spec
from anomalib_lite.evaluation.settings import EvaluationSettings
from anomalib_lite.scorers import create_scorer
from anomalib_lite.transductive.pool import Pool


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.bool_(True), True),
        (np.int8(-3), -3),
        (np.uint64(2**63), 2**63),
        (np.float64(0.1), 0.1),
        (np.float32(0.01), 0.01),
        (np.float16(0.1), 0.1),
        (np.float32(1e-30), 1e-30),
        (np.str_("a"), "a"),
        (np.array(3), 3),
        (np.array([1, 2]), [1, 2]),
        (np.float32([0.1, 0.7]), [0.1, 0.7]),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array(["a", "b"]), ["a", "b"]),
        (torch.tensor(3), 3),
        (torch.tensor([0.1, 0.7]), [0.1, 0.7]),
        (torch.tensor(True), True),
        (Path("a/b"), "a/b"),
        ((1, (2, np.int64(3))), [1, [2, 3]]),
        (range(3), [0, 1, 2]),
        ({np.str_("a"): (np.int64(1),)}, {"a": [1]}),
        (Decimal("0.01"), 0.01),
        (Fraction(1, 100), 0.01),
        (None, None),
        ("text", "text"),
        (True, True),
    ],
    ids=repr,
)
def test_a_value_becomes_the_plain_one_it_means(given, expected):
    found = plain(given)
    assert found == expected
    assert type(found) is type(expected)
    assert json.loads(json.dumps(found)) == expected


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_single_precision_keeps_its_value(number):
    assert np.float32(plain(np.float32(number))) == np.float32(number)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_plain_values_stay(value):
    assert plain(value) == value


def test_a_dataclass_keeps_its_tuples_and_paths():
    @dataclass(frozen=True)
    class Some:
        sizes: tuple[int, ...]
        folder: Path
        share: float

    some = Some((np.int64(1), np.int64(2)), Path("a"), np.float32(0.1))
    plain_fields(some)
    assert [getattr(some, field.name) for field in fields(some)] == [(1, 2), Path("a"), 0.1]


WAYS = {
    "numpy": (np.int64, np.float32, np.str_, lambda x: np.array(x), np.bool_),
    "torch": (torch.tensor, torch.tensor, np.str_, torch.tensor, torch.tensor),
    "plain": (int, float, str, tuple, bool),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_detector_takes_them_all_and_its_files_are_the_same_bytes(way, good_frames, tmp_path):
    whole, number, text, several, _ = WAYS[way]
    layers = np.array(["octave2", "octave3"]) if way == "numpy" else ("octave2", "octave3")
    fitted = Detector(
        text("padim"),
        backbone=text("filters"),
        layers=layers,
        image_size=several([64, 80]),
        calibration=text("folds"),
        max_false_reject=number(0.2),
        seed=whole(3),
        num_features=whole(10),
        sigma=number(2.5),
        regularisation=number(0.02),
    ).fit(good_frames)
    saved = fitted.save(tmp_path / "x.safetensors")
    reference = Detector(
        "padim",
        backbone="filters",
        layers=["octave2", "octave3"],
        image_size=(64, 80),
        calibration="folds",
        max_false_reject=0.2,
        seed=3,
        num_features=10,
        sigma=2.5,
        regularisation=0.02,
    ).fit(good_frames)
    assert saved.read_bytes() == reference.save(tmp_path / "y.safetensors").read_bytes()
    assert read_header(saved)["about"]["seed"] == 3
    assert Detector.load(saved).predict(good_frames[0]).score == (
        reference.predict(good_frames[0]).score
    )
    loose = fitted.recalibrate(number(0.1))
    assert loose.max_false_reject == loose.calibration.max_false_reject == 0.1


@pytest.mark.parametrize("way", WAYS)
def test_scorers_of_every_family_take_them(way):
    whole, number, text, several, truth = WAYS[way]
    names = np.array(["a", "b"]) if way == "numpy" else ("a", "b")
    made = [
        create_scorer("patchcore", rows=whole(50), reweight=truth(True), window=whole(2)),
        create_scorer("knn", mode=text("pooled"), k=whole(3)),
        create_scorer("mvg", components=text("low"), variance=number(0.9)),
        create_scorer("gda", products=names),
        create_scorer("stfpm", batch_size=whole(4), learning_rate=number(0.1)),
        create_scorer("musc", degrees=several([1, 3]), interval=number(0.3)),
        create_scorer("padim+mvg", **{"padim.num_features": whole(7), "trust": text("equal")}),
    ]
    for scorer in made:
        assert json.loads(json.dumps(scorer.settings())) == json.loads(
            json.dumps(plain(scorer.settings()))
        )


def test_declarations_edge_models_pools_and_plans_take_them(padim_files):
    spec = InputSpec(
        np.int64(64),
        np.int32(80),
        colour=np.str_("grey"),
        bit_depth=np.uint8(12),
        aspect=np.float32(1.5),
    )
    assert (
        json.loads(json.dumps(spec.to_dict()))
        == InputSpec(64, 80, colour="grey", bit_depth=12, aspect=1.5).to_dict()
    )
    masked = InputSpec(16, 16, roi=np.eye(16))
    assert masked.roi.dtype == bool
    for size in (64, np.int64(64), np.array(64), (64, 64), [64, 64], np.array([64, 64])):
        assert as_spec(size).size_hw == (64, 64)
    edge = EdgeModel(np.str_(padim_files[1]), threads=np.int64(1), max_false_reject=np.float32(0.2))
    assert edge.calibration.max_false_reject == 0.2
    pool = Pool(image_size=np.int64(64), backbone="filters", seed=1, degrees=np.array([1, 3]))
    assert pool.spec.size_hw == (64, 64)
    assert DistillSettings(steps=np.int64(5), learning_rate=np.float32(0.1)).learning_rate == 0.1
    plan = EvaluationSettings(data=(np.str_("folder:x"),), seeds=np.int64(2), weights=Path("x"))
    assert type(plan.seeds) is int
    assert (plan.data, plan.weights) == (("folder:x",), Path("x"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"calibration": "fold"}, r"calibration is 'fold' \(did you mean folds\?\); choose auto"),
        ({"calibration": None}, "calibration is None; choose auto"),
        ({"layers": ["octav2"]}, r"no layer \['octav2'\] \(did you mean octave2\?\)"),
        ({"layers": "octave9"}, r"no layer \['octave9'\] \(did you mean octave"),
        ({"backbone": "pdn_edge", "layers": ["x"]}, r"no layer \['x'\]; choose from"),
        ({"image_size": 64.5}, r"image_size is 64\.5; give a side in pixels, \(height, width\)"),
        ({"image_size": (64, 64, 3)}, r"image_size is \[64, 64, 3\]; give a side"),
        ({"image_size": True}, "image_size is True; give a side"),
        ({"image_size": "64"}, "image_size is '64'; give a side"),
        ({"seed": 1.5}, r"seed is 1\.5; give a whole number"),
        ({"seed": "1"}, "seed is '1'; give a whole number"),
        ({"max_false_reject": "0.1"}, "max_false_reject is 0.1; choose between 0 and 1"),
        ({"max_false_reject": True}, "max_false_reject is True; choose between 0 and 1"),
        ({"detector": None}, "unknown detector 'None'"),
        ({"detector": "padin"}, r"unknown detector 'padin' \(did you mean padim\?\)"),
        ({"backbone": "pdn_egde"}, r"unknown backbone 'pdn_egde' \(did you mean pdn_edge\?\)"),
        ({"backbone": "resnet81"}, r"unknown backbone 'resnet81' \(did you mean resnet18\?\)"),
        ({"imagesize": 64}, r"'imagesize' is no argument \(did you mean image_size\?\) and no"),
        ({"row": 4}, r"patchcore has no setting 'row' \(did you mean rows\?\)"),
        ({"detector": "mvg", "varianc": 0.9}, r"no setting 'varianc' \(did you mean variance\?\)"),
    ],
)
def test_wrong_values_are_one_line_with_what_was_meant(arguments, message):
    with pytest.raises(SettingsError, match=message) as caught:
        Detector(**{"backbone": "filters", **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"height": 64.5}, r"height is 64\.5; give a whole number"),
        ({"bit_depth": 8.0}, r"bit depth is 8\.0; give a whole number"),
        ({"colour": "gray"}, r"colour is 'gray' \(did you mean grey\?\); choose one of rgb, grey"),
        ({"alpha": "opaqe"}, r"did you mean opaque\?"),
        ({"exif": 3}, "exif is 3; choose one of apply, ignore"),
    ],
)
def test_wrong_declarations_are_one_line_with_what_was_meant(arguments, message):
    with pytest.raises(SettingsError, match=message):
        InputSpec(**arguments)


def test_an_engine_that_is_unknown_is_one_line_with_what_was_meant(padim_files):
    with pytest.raises(SettingsError, match=r"engine 'onnxruntim' \(did you mean onnxruntime\?\)"):
        EdgeModel(padim_files[1], engine="onnxruntim")


def test_a_rate_that_is_no_number_is_refused(padim):
    for rate in ("0.1", None, True, [0.1]):
        with pytest.raises(SettingsError, match="the false-reject rate is"):
            padim.calibration.with_rate(rate)
