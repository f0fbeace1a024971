"""Why a frame was rejected: the nearest good patch, its image, and a picture of it."""

import cv2
import numpy as np
import pytest
import torch

from anomalib_lite import Detector
from anomalib_lite.detector import thumbnails as gallery_module
from anomalib_lite.detector.explainer import (
    FROM_DETECTOR,
    FROM_PHOTOGRAPH,
    MOST_REGIONS,
    NO_PICTURE,
    Box,
    Explainer,
    _around,
    _peaks,
)
from anomalib_lite.detector.thumbnails import Gallery, GoodImage
from anomalib_lite.edge import SettingsError
from anomalib_lite.edge.model_files.headers import read_header
from anomalib_lite.edge.prediction import Prediction, Region
from anomalib_lite.edge.prepare import InputSpec, prepare

SIDE = 64


def fitted(source, **settings):
    return Detector("patchcore", image_size=SIDE, **{"rows": 150, **settings}).fit(source)


@pytest.fixture(scope="module")
def bank(good_folder):
    """A bank of patches of the twelve good images, as a file would give it back."""
    return fitted(good_folder)


@pytest.fixture(scope="module")
def rejected(bank, good_frames):
    """A soiled part and its prediction."""
    frame = good_frames[0].copy()
    squares = np.random.default_rng(1).integers(0, 2, (10, 10, 3)) * 255
    frame[30:70, 20:60] = squares.repeat(4, 0).repeat(4, 1)
    prediction = bank.predict(frame)
    assert prediction.is_anomalous
    assert prediction.regions
    return frame, prediction


def without_files(folder, target, names):
    target.mkdir()
    for name in names:
        (target / name).write_bytes((folder / name).read_bytes())
    return target


def test_a_region_is_explained_at_its_peak_by_what_the_scorer_says(bank, rejected):
    frame, prediction = rejected
    evidence = Explainer(bank).explain(frame, prediction)[0]
    assert evidence.region == prediction.regions[0]
    assert evidence.peak == prediction.regions[0].peak == prediction.network_map[evidence.cell]
    pixels = bank.backbone.normalise(torch.from_numpy(prepare(frame, bank.spec)[None]))
    with torch.no_grad():
        plain = bank.scorer.explain(bank.backbone(pixels), evidence.cell)
    assert (evidence.image, evidence.distance) == (plain["image"], plain["distance"])
    assert evidence.good_cell == plain["cell"]
    top, left, bottom, right = plain["box"]
    assert evidence.good_box.pixels(SIDE, SIDE) == {
        "x": left,
        "y": top,
        "width": right - left,
        "height": bottom - top,
    }


def test_a_learnt_image_explains_itself(good_folder):
    detector = fitted(good_folder, rows=100_000)
    frame = cv2.imread(str(good_folder / "004.png"))[:, :, ::-1]
    evidence = Explainer(detector).explain(frame, detector.predict(frame))[0]
    assert (evidence.image, evidence.name) == (4, "004.png")
    assert evidence.good_hw == (96, 96)
    assert evidence.distance == pytest.approx(float(detector.scorer.floor_), rel=1e-2)


def test_the_photograph_is_shown_while_it_is_there_and_the_small_picture_after(
    bank, rejected, good_folder, tmp_path
):
    evidence = Explainer(bank, good_folder).explain(*rejected)[0]
    path = good_folder / evidence.name
    assert evidence.origin == FROM_PHOTOGRAPH
    assert np.array_equal(evidence.picture, cv2.imread(str(path))[:, :, ::-1])
    (tmp_path / "empty").mkdir()
    small = Explainer(bank, tmp_path / "empty").explain(*rejected)[0]
    assert small.origin == FROM_DETECTOR
    expected = prepare(evidence.picture, bank.spec).astype(int)
    assert np.abs(small.picture - expected).mean() < 5


def test_another_picture_under_the_same_name_is_not_taken_for_it(
    bank, rejected, good_folder, scratched, tmp_path
):
    name = Explainer(bank).explain(*rejected)[0].name
    copied = without_files(good_folder, tmp_path / "good", [name])
    assert Explainer(bank, copied).explain(*rejected)[0].origin == FROM_PHOTOGRAPH
    cv2.imwrite(str(copied / name), scratched[0])
    assert Explainer(bank, copied).explain(*rejected)[0].origin == FROM_DETECTOR


def test_beyond_the_budget_good_images_are_only_named(good_folder, rejected, monkeypatch, tmp_path):
    monkeypatch.setattr(gallery_module, "GALLERY_BYTES", 0)
    detector = fitted(good_folder)
    assert all(image.jpeg == b"" for image in detector.data.gallery.images)
    loaded = Detector.load(detector.save(tmp_path / "x.safetensors"))
    evidence = Explainer(loaded).explain(*rejected)[0]
    assert (evidence.picture, evidence.origin) == (None, NO_PICTURE)
    assert evidence.name.endswith(".png")
    assert Explainer(loaded, good_folder).explain(*rejected)[0].origin == FROM_PHOTOGRAPH


def test_the_budget_bounds_what_a_fit_and_an_update_keep(good_frames, monkeypatch):
    whole = fitted(good_frames[:6]).data.gallery
    sizes = [len(image.jpeg) for image in whole.images]
    monkeypatch.setattr(gallery_module, "GALLERY_BYTES", sum(sizes[:4]))
    detector = fitted(good_frames[:3])
    detector.partial_fit(good_frames[3:6])
    kept = [len(image.jpeg) for image in detector.data.gallery.images]
    assert kept == [*sizes[:4], 0, 0]


def test_a_saved_detector_explains_the_same_without_the_images(bank, rejected, tmp_path):
    loaded = Detector.load(bank.save(tmp_path / "x.safetensors"))
    frame, prediction = rejected
    one = Explainer(bank).explain(frame, prediction)[0]
    other = Explainer(loaded).explain(frame, prediction)[0]
    assert one.to_dict((96, 96)) == other.to_dict((96, 96))
    assert np.array_equal(one.picture, other.picture)


def test_the_same_images_give_the_same_bytes_and_no_folder_is_told(bank, good_folder, tmp_path):
    copied = without_files(
        good_folder, tmp_path / "elsewhere", [path.name for path in good_folder.iterdir()]
    )
    data = []
    for source in (good_folder, copied):
        path = fitted(source).save(tmp_path / "x.safetensors")
        data.append(read_header(path)["gallery"])
    assert data[0] == data[1]
    assert [row[2] for row in data[0]["images"]] == [f"{index:03d}.png" for index in range(12)]


def test_unreadable_images_and_later_ones_do_not_shift_the_names(good_folder, tmp_path):
    names = ["000.png", "001.png", "002.png", "003.png"]
    first = without_files(good_folder, tmp_path / "first", names)
    (first / "001.png").write_bytes(b"no picture")
    second = without_files(good_folder, tmp_path / "second", ["007.png", "008.png"])
    detector = fitted(first, rows=100_000)
    detector.partial_fit(second)
    found = {}
    for name in ("000.png", "003.png", "007.png", "008.png"):
        frame = cv2.imread(str(good_folder / name))[:, :, ::-1]
        evidence = Explainer(detector).explain(frame, detector.predict(frame))[0]
        found[name] = (evidence.name, evidence.image)
    assert found == {
        "000.png": ("000.png", 0),
        "003.png": ("003.png", 3),
        "007.png": ("007.png", 4),
        "008.png": ("008.png", 5),
    }


def test_scorers_that_cannot_explain_say_which_can_and_keep_no_pictures(mvg, padim):
    for detector in (mvg, padim):
        with pytest.raises(SettingsError, match=r"cannot explain; these can: .*patchcore"):
            Explainer(detector)
        assert detector.data.gallery == Gallery()


def test_a_combination_explains_by_its_bank(good_folder, rejected, tmp_path):
    detector = Detector("patchcore+mvg", image_size=SIDE, **{"patchcore.rows": 150})
    loaded = Detector.load(detector.fit(good_folder).save(tmp_path / "x.safetensors"))
    frame = rejected[0]
    evidence = Explainer(loaded).explain(frame, loaded.predict(frame))[0]
    assert (good_folder / evidence.name).exists()
    assert evidence.origin == FROM_DETECTOR


def test_a_missing_folder_is_one_line(bank, tmp_path):
    with pytest.raises(SettingsError, match="no such folder"):
        Explainer(bank, tmp_path / "none")


def prediction_of(network_map, regions, frame_hw=(80, 160)):
    spec = InputSpec(height=16, width=16)
    return Prediction(2.0, 0.1, True, regions, np.float32(network_map), frame_hw, spec)


def test_the_peak_of_a_region_is_its_own_even_inside_the_box_of_another():
    network_map = np.zeros((8, 8))
    network_map[1, 1], network_map[1, 6], network_map[4, 4] = 3, 2, 5
    lower = Region(20, 10, 120, 60, 100.0, 3.0)
    higher = Region(80, 40, 20, 10, 100.0, 5.0)
    found = _peaks(prediction_of(network_map, (higher, lower)))
    assert found == [(higher, (4, 4)), (lower, (1, 1))]


def test_a_frame_without_a_region_is_explained_at_the_peak_of_its_map():
    network_map = np.zeros((8, 8))
    network_map[6, 2] = 1
    assert _peaks(prediction_of(network_map, ())) == [(None, (6, 2))]


@pytest.mark.parametrize(
    ("cell", "box"),
    [((0, 0), (0, 0, 0.2, 0.4)), ((4, 5), (0.35, 0.35, 0.55, 0.75)), ((9, 9), (0.8, 0.6, 1, 1))],
)
def test_a_box_of_the_same_size_lies_around_the_cell_inside_the_picture(cell, box):
    size = Box(0.5, 0.5, 0.7, 0.9)
    assert _around(cell, (10, 10), size) == pytest.approx(box)


def test_no_more_regions_are_explained_than_asked_for(bank, rejected):
    frame, prediction = rejected
    peak = prediction.regions[0]
    many = Prediction(**{**prediction.__dict__, "regions": (peak,) * (MOST_REGIONS + 2)})
    assert len(Explainer(bank).explain(frame, many)) == MOST_REGIONS
    assert len(Explainer(bank).explain(frame, many, most=1)) == 1


def test_a_gallery_survives_the_way_through_a_file():
    images = (GoodImage(0, "a", "x.png", (3, 4), b"one"), GoodImage(2, "b", "y.png", (5, 6), b""))
    gallery = Gallery(images, 3)
    assert Gallery.from_parts(gallery.header(), gallery.pixels()) == gallery
