"""Probability of detection: studies of a model whose limit is known, and the command end to end."""

import importlib
import json

import cv2
import numpy as np
import pytest

from anomalib_lite.data.parts import render
from anomalib_lite.data.simulate.defect_set import Where
from anomalib_lite.detector.training_record import image_id
from anomalib_lite.edge.calibration import Calibration
from anomalib_lite.edge.errors import ModelFileError, SettingsError, SourceError
from anomalib_lite.edge.inputs import Inputs
from anomalib_lite.edge.outputs import Outputs
from anomalib_lite.edge.prepare import InputSpec
from anomalib_lite.edge.sources import ArraySource
from anomalib_lite.evaluation.pod import read_photographs, read_pod, run_study
from anomalib_lite.evaluation.pod.document import to_document
from anomalib_lite.evaluation.pod.quick import quick_line
from anomalib_lite.evaluation.pod.quick import told as told_quickly
from anomalib_lite.report.pod import render_pod

SIDE, GREY = 96, 128
WHOLE = Where(whole=True)


def known_threshold(limit):
    """A calibration that rejects what scores more."""
    scores = [limit - 1.0, limit]
    return Calibration.from_scores(scores, [0.0, 1.0], max_false_reject=0.4, method="known")


class Changed:
    """Rejects a picture when more than `limit` pixels are not grey; blind in the left `blind`."""

    protocol, localises = "", False
    spec = InputSpec(SIDE, SIDE)
    inputs = Inputs(spec, {})

    def __init__(self, limit, blind=0):
        self.blind = blind
        self.calibration = Calibration.from_scores(
            [0.0, limit], [0.0, 1.0], max_false_reject=0.4, method="known"
        )

    def run(self, prepared):
        changed = np.abs(prepared.astype(np.float32) - GREY).max(axis=3) / 40
        changed[:, :, : self.blind] = 0
        score = changed.sum(axis=(1, 2))
        return Outputs(score, changed.max(axis=(1, 2))[:, None, None], {})


def photographs(model, count=12):
    plain = [np.full((SIDE, SIDE, 3), GREY, np.uint8)] * count
    return read_photographs(model, ArraySource(plain), where=WHOLE)


def studied(model, **options):
    return run_study(model, photographs(model), **{"trials": 60, **options})


def test_the_size_that_is_found_is_the_one_the_model_can_see():
    """A spot of contrast 40 scores its area in pixels: 78.5 of them are a diameter of 10."""
    study = studied(Changed(limit=np.pi * 25), kinds=["spot"])
    (spot,) = study.families
    assert spot.a50 == pytest.approx(10, rel=0.05)
    assert spot.a90 == pytest.approx(10, rel=0.1)
    assert spot.a90 <= spot.a90_95 < 13
    assert len(spot.trials) == 60


def test_half_the_contrast_takes_more_area():
    study = studied(Changed(limit=np.pi * 25), kinds=["spot"], contrasts=[40, 20])
    strong, weak = (result.a50 for result in study.families)
    assert weak / strong == pytest.approx(np.sqrt(2), rel=0.1)


def test_a_line_is_told_by_width_and_length_and_in_millimetres():
    study = studied(Changed(limit=60), kinds=["scratch"], mm_per_pixel=0.1)
    words = study.families[0].verdict(study.mm_per_pixel)
    assert " x " in words
    assert "mm)" in words


@pytest.mark.parametrize(
    ("limit", "told"),
    [(1e9, "a90 is not reached: none of 60"), (-1.0, "all 60 found")],
)
def test_what_is_never_or_always_found_says_so(limit, told):
    model = Changed(limit=1.0)
    items = photographs(model)
    model.calibration = known_threshold(limit)
    study = run_study(model, items, kinds=["spot"], trials=60)
    assert study.families[0].verdict().startswith(told)
    assert study.families[0].a90 is None


def test_a_place_where_defects_are_missed_shows_on_the_map():
    study = studied(Changed(limit=20, blind=SIDE // 2), kinds=["spot"], trials=200)
    grid = study.blind_map()
    assert grid[:, :5].mean() > 0.2
    assert grid[:, 11:].mean() < 0.0
    assert study.families[0].a90 > 20  # where it sees, it sees spots of 5 pixels


def test_the_same_seed_gives_the_same_study():
    one, same, other = (
        to_document(studied(Changed(limit=60), kinds=["spot"], seed=seed), {}) for seed in (0, 0, 1)
    )
    assert one == same
    assert one != other


def test_images_that_are_rejected_as_they_are_take_no_part():
    model = Changed(limit=50)
    frames = [np.full((SIDE, SIDE, 3), GREY, np.uint8) for _ in range(9)]
    frames[4][:20, :20] = 255
    found = read_photographs(model, ArraySource(frames), where=WHOLE)
    assert (len(found.usable), len(found.rejected)) == (8, 1)
    with pytest.raises(SourceError, match="give at least 5"):
        read_photographs(model, ArraySource(frames[:5]), where=WHOLE)


def test_defects_lie_in_the_region_of_interest_only():
    model = Changed(limit=1e9)
    inside = np.zeros((SIDE, SIDE), bool)
    inside[:, 50:] = True
    model.spec = InputSpec(SIDE, SIDE, roi=inside)
    model.inputs = Inputs(model.spec, {})
    for item in photographs(model).usable:
        assert not (item.part.mask & ~inside).any()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"trials": 10}, "choose 40 to 10000"),
        ({"contrasts": [0]}, "1 to 255 grey levels"),
        ({"mm_per_pixel": -1.0}, "above 0"),
        ({"kinds": ["spott"]}, "did you mean spot"),
    ],
)
def test_a_study_that_cannot_be_made_is_one_clear_line(wrong, told):
    with pytest.raises(SettingsError, match=told):
        studied(Changed(limit=30), **wrong)


def test_a_kind_that_needs_an_edge_is_left_out_where_there_is_none():
    study = studied(Changed(limit=30), kinds=["chip", "spot"])
    assert "give --object-mask" in study.left_out["chip"]
    assert "Not tried" in render_pod(study, title="t", threshold="1")


def test_the_page_says_what_it_cannot_promise():
    page = render_pod(studied(Changed(limit=60), kinds=["spot"]), title="<b>", threshold="1")
    assert "What this cannot promise" in page
    assert "&lt;b&gt;" in page
    assert "90 % are found from" in page


@pytest.fixture(scope="module")
def unseen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unseen") / "good"
    folder.mkdir()
    for index in range(8):
        image = render("flange", seed=9, index=index, split="test", size=96).image
        cv2.imwrite(str(folder / f"{index}.png"), image[:, :, ::-1])
    return folder


@pytest.fixture
def told(cli, capfd):
    """What a command tells, after checking its status."""

    def call(*arguments, code=0):
        status = cli(*map(str, arguments))
        out, err = capfd.readouterr()
        assert status == code, err
        return (out + err).replace("\n", " ")

    return call


def test_figures_travel_from_the_study_into_the_edge_file(told, padim, mvg, unseen, tmp_path):
    padim.save(tmp_path / "part.safetensors")
    mvg.save(tmp_path / "other.safetensors")
    few = ("--kind", "spot", "--trials", "40", "--contrast", "60")
    said = told("pod", tmp_path / "part.safetensors", unseen, "--mm-per-pixel", "0.05", *few)
    assert "spot, contrast 60:" in said
    assert "not that real ones of that size are found" in said
    written = tmp_path / "part.pod" / "pod.json"
    figures = read_pod(written)
    assert figures["families"][0]["words"] in said
    told("export", tmp_path / "part.safetensors", tmp_path / "part.onnx", "--pod", written)
    assert figures["families"][0]["words"] in told("info", tmp_path / "part.onnx")
    assert "pod" in json.loads(told("info", tmp_path / "part.onnx", "--json"))["about"]
    wrong = ("export", tmp_path / "other.safetensors", tmp_path / "o.onnx", "--pod", written)
    assert "was measured with another model" in told(*wrong, code=2)
    lower = ("export", tmp_path / "part.safetensors", tmp_path / "l.onnx", "--pod", written)
    assert "a threshold of its own" in told(*lower, "--precision", "int8", code=2)
    again = ("pod", tmp_path / "part.onnx", unseen, "--out", tmp_path / "edge", *few)
    assert "spot, contrast 60:" in told(*again)


def test_images_of_the_fit_are_warned_of(padim, good_frames, unseen):
    found = read_photographs(padim, ArraySource(good_frames))
    assert "were learnt by the model" in found.warning
    assert found.learnt > 0
    mixed = ArraySource([*good_frames, *(cv2.imread(str(p))[:, :, ::-1] for p in unseen.iterdir())])
    assert read_photographs(padim, mixed).learnt == 0
    assert all(image_id(record.id) == record.id for record in padim.data.records)


@pytest.mark.parametrize("text", ["", "[]", '{"format": "anomalib_lite.pod"}'])
def test_a_file_that_pod_has_not_written_is_refused(text, tmp_path):
    (tmp_path / "pod.json").write_text(text)
    with pytest.raises(ModelFileError, match=r"give its pod\.json"):
        read_pod(tmp_path / "pod.json")


def test_figures_out_of_bounds_are_refused(tmp_path):
    document = to_document(
        studied(Changed(limit=60), kinds=["spot"]), {"threshold": 1.0, "fingerprint": "f"}
    )
    path = tmp_path / "pod.json"
    path.write_text(json.dumps(document))
    assert read_pod(path)["families"][0]["kind"] == "spot"
    document["figures"]["families"][0]["a90"] = -3
    path.write_text(json.dumps(document))
    with pytest.raises(ModelFileError, match="a90 is -3"):
        read_pod(path)


def test_a_fit_tells_sizes_where_there_is_time_and_that_it_knows_the_images(padim, good_frames):
    source = ArraySource(good_frames)
    line = quick_line(padim, source, seconds=60.0)
    assert "spots" in line
    assert "scratches" in line
    assert "90 % of places" in line
    assert "images that the model has learnt" in line
    assert quick_line(padim, source, seconds=1e-6) is None


def test_a_quick_look_says_what_is_found_and_what_is_not():
    found = studied(Changed(limit=np.pi * 25), kinds=["spot"], contrasts=[30]).families
    missed = studied(Changed(limit=1e5), kinds=["scratch"], contrasts=[30]).families
    both = told_quickly([*found, *missed])
    assert both.startswith("spots >= 1")
    assert "px of contrast >= 30 are found in 90 % of places; scratches up to" in both
    assert both.endswith("px are not found in 90 % of places at contrast 30")


def test_the_line_ends_a_fit_unless_it_is_not_wanted(told, good_folder, tmp_path, monkeypatch):
    command = importlib.import_module("anomalib_lite.cli.fit")
    monkeypatch.setattr(command, "_POD_SHARE", 1000.0)
    small = ("--detector", "knn", "--backbone", "filters", "--image-size", "64")
    fitted = ("fit", good_folder, "--out", tmp_path / "part.safetensors", *small)
    assert "90 % of places" in told(*fitted)
    assert "90 % of places" not in told(*fitted, "--no-pod")


def test_images_that_are_not_like_the_learnt_ones_are_warned_of_and_reasons_are_told():
    plain = np.full((SIDE, SIDE, 3), GREY, np.uint8)
    other = np.full((SIDE, SIDE, 3), GREY + 40, np.uint8)
    model = Changed(100)
    many = np.linspace(0, 100, 100)
    model.calibration = Calibration.from_scores(many, many, max_false_reject=0.01, method="known")
    mixed = read_photographs(model, ArraySource([plain] * 6 + [other] * 20), where=WHOLE)
    assert mixed.warning.startswith("20 of 26 good images are rejected where at most ")
    assert read_photographs(model, ArraySource([plain] * 26), where=WHOLE).warning == ""
    deep = np.zeros((SIDE, SIDE), np.uint16)
    with pytest.raises(SourceError, match=r"8 cannot be used: .*16"):
        read_photographs(model, ArraySource([deep] * 8), where=WHOLE)
