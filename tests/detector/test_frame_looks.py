"""What contradicts a declaration, or other good images, is told in words."""

import numpy as np
import pytest

from anomalib_lite import Detector
from anomalib_lite.detector.frame_looks import FrameLooks
from anomalib_lite.detector.products import ProductSource
from anomalib_lite.edge import InputSpec, SettingsError
from anomalib_lite.edge.sources import ArraySource

GREY = np.full((40, 60), 200, np.uint8)
COLOUR = np.stack([GREY, GREY // 2, GREY // 4], axis=2)


@pytest.mark.parametrize(
    ("frames", "spec", "expected"),
    [
        ([GREY, GREY], {}, []),
        ([COLOUR, COLOUR], {}, []),
        ([GREY, COLOUR, COLOUR], {}, ["1 of 3 images are grey (the first: 0), 2 have colours (1)"]),
        ([GREY, COLOUR], {"colour": "grey"}, []),
        ([GREY, GREY[:, :30]], {}, ["different shapes, 40x30 (1) to 40x60 (0)"]),
        ([GREY, GREY[:20, :30]], {}, []),
        (
            [GREY // 8],
            {},
            ["no image uses more than 5 of the declared 8 bits (brightest 25"],
        ),
        ([GREY // 3], {}, []),
        ([GREY.astype(np.uint16) * 20], {"bit_depth": 16}, ["say --bit-depth 12"]),
        ([GREY.astype(np.uint16) * 20], {"bit_depth": 12}, []),
        ([GREY.astype(np.uint16) * 4], {"bit_depth": 12}, ["say --bit-depth 10"]),
        ([GREY.astype(np.uint16) * 0], {"bit_depth": 12}, ["sees 0 of 255 levels; expose longer"]),
        (
            [GREY // 8, COLOUR[:, :30] // 8],
            {},
            ["1 of 2 images are grey", "different shapes", "of the declared 8 bits"],
        ),
    ],
)
def test_hints(frames, spec, expected):
    looks = FrameLooks()
    for index, frame in enumerate(frames):
        looks.add(index, str(index), frame)
    found = looks.hints(InputSpec(32, 32, **spec))
    assert len(found) == len(expected)
    for line, part in zip(found, expected, strict=True):
        assert part in line


@pytest.mark.parametrize(
    ("frame", "coloured", "monochrome"), [(COLOUR, True, False), (GREY, False, True)]
)
def test_frames_that_are_decoded_again_declare_the_same(frame, coloured, monochrome):
    looks = FrameLooks()
    for index in (0, 1, 0, 1):
        looks.add(index, str(index), frame)
    found = looks.declared(InputSpec(32, 32))
    assert (found.coloured, found.monochrome) == (coloured, monochrome)


def test_hints_of_a_fit_are_kept_with_its_data(good_frames):
    frames = [*good_frames, good_frames[0][:, :40]]
    detector = Detector("mvg", backbone="filters", image_size=32).fit(frames)
    assert [line.split(",")[0] for line in detector.data.hints] == [
        "the images have different shapes"
    ]
    assert Detector("mvg", backbone="filters", image_size=32).fit(good_frames).data.hints == ()


def test_a_picture_shows_one_product(good_frames):
    half = len(good_frames) // 2
    parts = {"a": ArraySource(good_frames[:half]), "b": ArraySource(good_frames[half - 1 :])}
    source = ProductSource(parts)
    detector = Detector("gda", backbone="filters", image_size=32, products=["a", "b"])
    with pytest.raises(SettingsError, match=r"given for two products: .* of a is .* of b"):
        detector.fit(source)
