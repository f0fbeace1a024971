"""Defects made to measure: their size, their contrast, their place, and nothing else."""

import numpy as np
import pytest

from anomalib_lite.data.parts import render
from anomalib_lite.data.simulate import (
    FAMILIES,
    DefectRequest,
    Part,
    find_part,
    given_part,
    procedural_textures,
    put_defect,
    put_texture,
)
from anomalib_lite.edge.errors import SettingsError

SIDE = 128


@pytest.fixture(scope="module")
def tablet():
    return render("tablet", seed=0, index=3, size=SIDE).image


@pytest.fixture(scope="module")
def part(tablet):
    return find_part(tablet)


def plain(level=128, side=96, channels=3):
    return np.full((side, side, channels), level, np.uint8)


def made(frame, kind, size=12.0, contrast=40.0, seed=0, part=None, **more):
    request = DefectRequest(kind=kind, size=size, contrast=contrast, **more)
    return put_defect(frame, request, np.random.default_rng(seed), part=part)


def change(defect, frame):
    """Signed change of each covered pixel, mean over its channels."""
    return (defect.frame.astype(float) - frame).mean(axis=2)[defect.mask]


@pytest.mark.parametrize("kind", FAMILIES)
def test_nothing_changes_outside_the_mask_and_something_inside(kind, tablet, part):
    for seed in range(6):
        defect = made(tablet, kind, seed=seed, part=part)
        changed = (defect.frame != tablet).any(axis=2)
        assert changed[defect.mask].any()
        assert not changed[~defect.mask].any()
        assert not (defect.mask & ~part.mask).any()


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(kind, tablet, part):
    one, same, other = (made(tablet, kind, seed=seed, part=part) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.frame, same.frame)
    assert (one.frame != other.frame).any()


@pytest.mark.parametrize("kind", ["spot", "missing", "doubled", "blur", "foreign"])
@pytest.mark.parametrize("size", [5, 12, 30])
def test_a_compact_defect_has_the_area_of_a_disc_of_its_size(kind, size):
    frame = np.random.default_rng(0).integers(60, 190, (96, 96, 3), np.uint8)
    areas = [made(frame, kind, size, seed=seed).mask.sum() for seed in range(8)]
    # The mask also holds pixels that are covered by a tenth: about half a pixel on either side.
    assert 0.95 * size < 2 * np.sqrt(np.mean(areas) / np.pi) < size + 1.5 + 0.05 * size


@pytest.mark.parametrize(("kind", "size", "width"), [("scratch", 40, 3), ("crack", 40, 2)])
def test_a_line_has_the_length_and_width_asked_for(kind, size, width):
    for seed in range(8):
        defect = made(plain(), kind, size, seed=seed, width=width)
        y, x = np.nonzero(defect.mask)
        points = np.stack([y, x], axis=1)
        longest = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1)).max()
        assert size - 2.5 < longest < size + 6  # a crack's jags reach beyond its ends
        if kind == "scratch":
            covered = np.abs(change(defect, plain())).sum() / 40
            assert covered / size == pytest.approx(width, rel=0.15)


@pytest.mark.parametrize("kind", ["spot", "scratch", "crack"])
@pytest.mark.parametrize("contrast", [5, 40, 100])
def test_a_mark_differs_by_its_contrast(kind, contrast):
    width = {} if kind == "spot" else {"width": 3}
    for seed in range(4):
        found = np.abs(change(made(plain(), kind, 20, contrast, seed, **width), plain()))
        assert found.max() == contrast


@pytest.mark.parametrize("contrast", [10, 60])
def test_a_stain_and_a_foreign_body_differ_by_their_contrast_on_average(contrast):
    for kind in ("stain", "foreign"):
        for seed in range(4):
            found = change(made(plain(), kind, 24, contrast, seed), plain())
            assert abs(found.mean()) == pytest.approx(contrast, rel=0.2)


def test_a_dent_is_lit_on_one_flank_and_shaded_on_the_other():
    found = change(made(plain(), "dent", 20, 50), plain())
    assert found.max() == pytest.approx(50, abs=1)
    assert found.min() == pytest.approx(-50, abs=1)
    assert abs(found.mean()) < 1


def test_a_colour_shift_moves_channels_apart_and_keeps_a_grey_picture_grey():
    defect = made(plain(), "colour", 20, 30)
    moved = (defect.frame.astype(int) - 128)[defect.mask]
    assert np.abs(moved).max() == 30
    assert np.abs(moved.mean(axis=1)).max() < 1
    grey = made(plain(channels=1), "colour", 20, 30)
    assert np.abs(grey.frame.astype(int) - 128).max() == 30


@pytest.mark.parametrize("kind", [name for name, family in FAMILIES.items() if family.limit])
def test_where_contrast_is_a_limit_nothing_changes_by_more(kind, tablet, part):
    for seed in range(4):
        assert made(tablet, kind, contrast=15, seed=seed, part=part).change <= 15


@pytest.mark.parametrize("level", [0, 255])
def test_a_mark_goes_where_there_is_room(level):
    for kind in ("spot", "scratch", "crack", "stain", "foreign"):
        frame = plain(level)
        assert np.abs(change(made(frame, kind, 16, 50), frame)).mean() > 25


def test_a_defect_lies_where_it_is_asked_to():
    defect = made(plain(), "spot", 9, place=(30, 60))
    y, x = np.nonzero(defect.mask)
    assert (y.mean(), x.mean()) == (pytest.approx(30, abs=1), pytest.approx(60, abs=1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [None, 1, 3, 4])
def test_frames_of_every_kind_keep_their_kind_and_their_alpha(dtype, channels):
    full = np.iinfo(dtype).max
    shape = (64, 64) if channels is None else (64, 64, channels)
    frame = np.full(shape, full // 2, dtype)
    before = frame.copy()
    defect = made(frame, "spot", 12, 40)
    np.testing.assert_array_equal(frame, before)
    assert (defect.frame.dtype, defect.frame.shape) == (frame.dtype, frame.shape)
    differences = np.abs(defect.frame.astype(float) - frame) * 255 / full
    assert differences.max() == pytest.approx(40, abs=0.6)
    if channels == 4:
        np.testing.assert_array_equal(defect.frame[:, :, 3], frame[:, :, 3])


def test_a_chip_lies_on_the_edge_of_the_part_and_shows_the_ground(tablet, part):
    defect = made(tablet, "chip", 14, None, part=part)
    assert (defect.mask.ravel()[part.rim]).any()
    ground = tablet[~part.mask].mean(axis=0)
    assert np.abs(defect.frame[defect.mask].mean(axis=0) - ground).max() < 40


def test_a_perlin_texture_is_cut_to_the_part(tablet, part):
    textures = procedural_textures(tablet.shape[:2], count=2)
    defect = put_texture(tablet, np.random.default_rng(0), textures, part=part)
    assert defect.mask.any()
    assert not (defect.mask & ~part.mask).any()
    np.testing.assert_array_equal(defect.frame[~defect.mask], tablet[~defect.mask])


def test_a_part_on_a_plain_ground_is_found_and_a_texture_is_none(tablet, part):
    truth = np.linalg.norm(tablet.astype(float) - np.median(tablet[:4], axis=(0, 1)), axis=2) > 130
    overlap = (truth & part.mask).sum() / (truth | part.mask).sum()
    assert overlap > 0.85
    assert find_part(render("weave", seed=0, index=0, size=SIDE).image) is None
    assert find_part(np.zeros((32, 32), np.uint8)) is None


BAD = [
    ({"kind": "scratsch"}, "did you mean scratch"),
    ({"size": 0}, "at least 1 pixel"),
    ({"size": float("nan")}, "at least 1 pixel"),
    ({"contrast": 300}, "1 to 255 grey levels"),
    ({"contrast": None}, "needs a contrast"),
    ({"width": 3}, "no width of its own"),
    ({"kind": "scratch", "width": 50}, "1 pixel to the size"),
    ({"size": 500}, "which is 96x96; choose a smaller size"),
    ({"size": 130}, "choose a smaller size"),
    ({"place": (0, 0)}, r"no room at \(0, 0\)"),
    ({"place": (200, 0)}, "not on the part"),
    ({"kind": "chip"}, "give an object mask"),
    ({"kind": "blur"}, "the picture is plain"),
]


@pytest.mark.parametrize(("wrong", "told"), BAD)
def test_what_cannot_be_made_is_one_clear_line(wrong, told):
    request = {"kind": "spot", "size": 12.0, "contrast": 40.0, **wrong}
    with pytest.raises(SettingsError, match=told) as caught:
        put_defect(plain(), DefectRequest(**request), np.random.default_rng(0))
    assert "\n" not in str(caught.value)


def test_a_mask_of_another_size_and_an_empty_one_are_refused():
    with pytest.raises(SettingsError, match="is 8x8, the images are 96x96"):
        given_part(np.ones((8, 8), np.uint8), (96, 96))
    with pytest.raises(SettingsError, match="empty"):
        Part(np.zeros((8, 8), bool))
