"""The input size chosen on good images: candidates, the rule, what a cell covers."""

import numpy as np
import pytest

from anomalib_lite import Detector, InputSpec
from anomalib_lite.data.parts import render
from anomalib_lite.edge import FitError, SettingsError
from anomalib_lite.edge.sources import ArraySource
from anomalib_lite.statistics.spread import spread
from anomalib_lite.tuning.good_frames import (
    GoodFrames,
    look_at_sizes,
    read_good_frames,
)
from anomalib_lite.tuning.held_out import defects_for, fit_on
from anomalib_lite.tuning.image_size import choose_image_size, gains
from anomalib_lite.tuning.judging import Judgement, standard_error
from anomalib_lite.tuning.sizes import candidates, cell_px

FAST = {"backbone": "filters", "calibration": "holdout"}


def make(spec):
    return Detector("padim", image_size=spec, num_features=8, **FAST)


def spec_at(size_hw):
    return InputSpec(*size_hw)


@pytest.mark.parametrize(
    ("frame_hw", "same_aspect", "expected"),
    [
        ((1024, 1024), True, [(256, 256), (320, 320), (384, 384), (512, 512)]),
        ((1000, 900), True, [(256, 256), (320, 320), (384, 384), (512, 512)]),
        ((400, 400), True, [(256, 256), (320, 320), (384, 384)]),
        ((96, 96), True, [(256, 256)]),
        ((512, 203), True, [(416, 160), (512, 192)]),
        ((203, 512), True, [(160, 416), (192, 512)]),
        ((1200, 1600), True, [(224, 288), (288, 384), (320, 448), (448, 576)]),
        ((1200, 1600), False, [(256, 256), (320, 320), (384, 384), (512, 512)]),
        ((4000, 100), True, [(1632, 64), (2016, 64), (2432, 64), (3232, 96)]),
    ],
)
def test_candidates_keep_the_shape_of_elongated_frames_and_never_enlarge(
    frame_hw, same_aspect, expected
):
    assert candidates(frame_hw, same_aspect=same_aspect) == expected


@pytest.mark.parametrize(
    ("frame_hw", "size_hw", "pixels"),
    [((64, 64), (64, 64), 4), ((1024, 1024), (64, 64), 64), ((64, 256), (64, 128), 8)],
)
def test_a_cell_is_that_of_the_finest_layer_along_the_coarser_axis(frame_hw, size_hw, pixels):
    finest = make(InputSpec(*size_hw)).backbone.layout(size_hw).layers[0].stride
    assert finest == 4
    assert cell_px(make(InputSpec(*size_hw)), frame_hw) == pixels


def judged(defects, good=(0.0,) * 20, per_image=2):
    return Judgement(np.array(good), np.array(defects, float).reshape(-1, per_image))


def test_what_is_found_is_counted_at_the_thresholds_of_the_highest_tenth_of_good_images():
    found = judged([25, 18.5, 17, -1], good=range(20))
    assert found.seen.tolist() == [[1, 0.5], [0, 0]]  # thresholds 18 and 19
    assert found.found == 0.375
    assert found.missed(0.05) == 0.75
    assert found.auroc == pytest.approx((20 + 19 + 17.5 + 0) / 80)
    assert Judgement.from_dict(found.to_dict()).found == found.found


def test_the_standard_error_is_that_of_the_mean_over_images():
    before, after = judged([0] * 8), judged([1, 1, 0, 0, 1, 1, 0, 0])
    assert standard_error(after, before) == pytest.approx(np.std([1, 0, 1, 0], ddof=1) / 2)


@pytest.mark.parametrize(
    ("before", "after", "taken"),
    [
        ([0] * 40, [1] * 20 + [0] * 20, True),
        ([1] * 2 + [0] * 38, [0] * 2 + [1] * 4 + [0] * 34, False),  # 0.05, give or take 0.09
        ([0] * 2000, [1] * 20 + [0] * 1980, False),  # no chance, but a hundredth
        ([0] * 40, [0] * 40, False),
    ],
)
def test_a_larger_size_must_find_more_than_chance_would(before, after, taken):
    assert gains(judged(before), judged(after)) == taken


def test_images_are_spread_over_the_source():
    assert spread(10, 4).tolist() == [0, 3, 6, 9]
    assert spread(3, 12).tolist() == [0, 1, 2]


def test_frames_of_several_shapes_are_told():
    tall, wide = np.zeros((40, 30, 3), np.uint8), np.zeros((30, 40, 3), np.uint8)
    assert look_at_sizes(ArraySource([tall, tall])) == ((40, 30), True)
    assert look_at_sizes(ArraySource([tall, wide])) == ((40, 30), False)


@pytest.fixture(scope="module")
def parts():
    return ArraySource(
        [render("flange", seed=0, index=index, size=96).image for index in range(20)], name="parts"
    )


def test_a_choice_is_the_same_every_time_and_says_why(parts):
    given = {"sizes": [(32, 32), (64, 64)], "smallest_px": 13.0}
    first = choose_image_size(parts, make, spec_at, **given)
    again = choose_image_size(parts, make, spec_at, **given)
    assert [item.judgement.to_dict() for item in first.tried] == [
        item.judgement.to_dict() for item in again.tried
    ]
    assert first.size_hw == again.size_hw
    lines = first.explain()
    assert lines[0].startswith("32x32: finds ")
    assert "simulated defects of 13 to 26 pixels" in lines[0]
    assert f"image size {first.size_hw[0]}x{first.size_hw[1]}, chosen from 20 good" in lines[-1]


def test_sizes_that_cannot_see_the_smallest_defect_are_left_out(parts):
    choice = choose_image_size(parts, make, spec_at, sizes=[(32, 32), (64, 64)], smallest_px=8.0)
    assert choice.too_coarse == ((32, 32),)
    assert choice.size_hw == (64, 64)


def test_a_defect_that_no_size_can_see_is_refused(parts):
    with pytest.raises(SettingsError, match=r"of 2 pixels is smaller than a cell .* 6\.0 pixels"):
        choose_image_size(parts, make, spec_at, sizes=[(32, 32), (64, 64)], smallest_px=2.0)


def test_a_size_that_fails_is_listed_and_the_others_are_tried(parts):
    def fails_at_64(spec):
        if spec.height == 64:
            raise SettingsError("64 is not mine")
        return make(spec)

    choice = choose_image_size(parts, fails_at_64, spec_at, sizes=[(32, 32), (64, 64)])
    assert choice.failed == {(64, 64): "64 is not mine"}
    assert "64x64: could not be tried: 64 is not mine" in choice.explain()


def test_too_few_images_are_refused():
    four = ArraySource([np.full((32, 32, 3), value, np.uint8) for value in range(4)])
    with pytest.raises(FitError, match="4 usable good images; a choice takes at least 5"):
        read_good_frames(four, InputSpec(32, 32), most=10)


def test_views_of_one_part_are_not_both_learnt_and_judged(parts):
    frames = np.stack([job.load() for job in parts.jobs()])
    origins = tuple(index // 2 for index in range(20))
    unseen = fit_on(make(InputSpec(32, 32)), GoodFrames(frames, origins, (96, 96)), 10)
    learnt = {origins[place] for place in spread(20, 10)} - {origins[index] for index in unseen}
    assert 0 < len(unseen) < 12
    assert all(origins[index] not in learnt for index in unseen)
    assert [origins.count(origins[index]) for index in unseen] == [2] * len(unseen)


@pytest.mark.parametrize(
    ("held_out", "images", "each"),
    [
        (1, 100, 160),
        (20, 100, 8),
        (64, 100, 2),
        (64, 900, 2),
        (40, 40, 2),
        (8, 40, 10),
        (2, 12, 12),
    ],
)
def test_few_images_carry_more_defects(held_out, images, each):
    assert defects_for(np.arange(held_out), images) == each
