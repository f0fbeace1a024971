"""`predict` of one frame, a list, a folder, a glob, a stream; with a detector and an edge file."""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.edge import FrameError, Prediction, SettingsError, SourceError, open_source
from anomalib_lite.edge.predict import Predictions, Unusable

BAD = np.zeros((5, 5, 2), np.uint8)


@pytest.fixture(scope="module", params=["detector", "edge file"])
def model(request, padim, padim_files):
    return padim if request.param == "detector" else EdgeModel(padim_files[1], threads=1)


def scores(found):
    return [item.score for item in found]


def test_every_kind_of_one_frame_has_the_same_score(model, good_frames, good_folder):
    frame = good_frames[0]
    path = good_folder / "000.png"
    kinds = [
        *(frame, path, str(path), np.str_(path), path.read_bytes(), Image.fromarray(frame)),
        torch.from_numpy(frame),
        torch.from_numpy(frame).permute(2, 0, 1),
    ]
    with Image.open(path) as opened:
        found = [model.predict(kind) for kind in [*kinds, opened]]
    found.append(model.predict(frame / 255, value_range=(0, 1)))
    found.append(model.predict(torch.from_numpy(frame) / 255, value_range=(0, 1)))
    assert all(isinstance(item, Prediction) for item in found)
    assert set(scores(found)) == {found[0].score}


def test_every_kind_of_many_frames_is_as_one_by_one(model, good_frames, good_folder):
    expected = [model.predict(frame).score for frame in good_frames]
    paths = sorted(good_folder.iterdir())
    lists = [
        *(good_frames, tuple(good_frames), np.stack(good_frames), paths, list(map(str, paths))),
        torch.from_numpy(np.stack(good_frames)).permute(0, 3, 1, 2),
        [Image.fromarray(frame) for frame in good_frames],
        np.array(list(map(str, paths))),
    ]
    for given in lists:
        found = model.predict(given)
        assert isinstance(found, Predictions)
        assert scores(found) == expected
    streams = [
        *(good_folder, str(good_folder), f"{good_folder}/*.png", open_source(good_folder)),
        (frame for frame in good_frames),
        iter(paths),
    ]
    for given in streams:
        found = model.predict(given)
        assert iter(found) is found
        assert scores(found) == expected


@pytest.mark.parametrize("batch", [1, 4, 5, 100])
def test_a_batch_changes_only_rounding(batch, model, good_frames):
    one_by_one = scores(model.predict(good_frames))
    assert scores(model.predict(good_frames, batch=batch)) == pytest.approx(one_by_one, rel=1e-5)
    reused = np.empty_like(good_frames[0])

    def camera():
        for frame in good_frames:
            reused[:] = frame
            yield reused

    found = list(model.predict(camera(), batch=batch, keep_frame=True))
    assert scores(found) == pytest.approx(one_by_one, rel=1e-5)
    for item, frame in zip(found, good_frames, strict=True):
        np.testing.assert_array_equal(item.origin, frame)


def test_unusable_frames_are_listed_and_never_end_the_run(model, good_frames, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    given = [good_frames[0], BAD, broken, tmp_path / "none.png", None, good_frames[1] / 255]
    given.append(good_frames[1])
    expected = [
        *("", "has shape (5, 5, 2)", "not a readable image", "cannot be read (No such file"),
        *("got NoneType", "value_range=(0, 1)", ""),
    ]
    for found in (model.predict(given), list(model.predict(iter(given)))):
        assert len(found) == len(given)
        for item, reason in zip(found, expected, strict=True):
            assert isinstance(item, Unusable if reason else Prediction)
            assert reason in item.error
            assert bool(reason) == bool(item.error)
    found = model.predict(given)
    assert [item.name for item in found.unusable] == [
        *("frames#000001", str(broken), str(tmp_path / "none.png")),
        *("frames#000004", "frames#000005"),
    ]
    assert found[0].name == "frames#000000"


@pytest.mark.parametrize("what", ["score", "p_value", "is_anomalous", "regions", "anomaly_map"])
def test_nothing_is_told_of_a_frame_that_could_not_be_used(what):
    item = Unusable("a.png", "is empty")
    with pytest.raises(FrameError, match=r"^a\.png: is empty$"):
        getattr(item, what)
    assert not hasattr(item, what)
    assert item.to_dict() == {"frame": "a.png", "error": "is empty"}


def test_one_bad_frame_alone_raises(model, tmp_path):
    for given in (BAD, None, [1, 2], [[1, 2], [3, 4]], 3, {"frames": BAD}, tmp_path / "x.png"):
        with pytest.raises(FrameError):
            model.predict(given)


def test_a_source_that_is_not_there_says_so_at_once(model, tmp_path):
    for given in (tmp_path, f"{tmp_path}/*.png"):
        with pytest.raises(SourceError):
            model.predict(given)
    for batch in (0, -1):
        with pytest.raises(SettingsError, match="choose 1 or more"):
            model.predict([BAD], batch=batch)


def test_nothing_gives_nothing(model):
    assert model.predict([]) == []
    assert list(model.predict(iter([]))) == []


def test_a_file_is_drawn_from_the_file_and_an_array_when_it_was_kept(
    model, good_folder, good_frames
):
    path = good_folder / "000.png"
    expected = model.predict(path).picture()
    np.testing.assert_array_equal(next(model.predict(good_folder)).picture(), expected)
    frame = good_frames[0].copy()
    kept = model.predict(frame, keep_frame=True)
    frame[:] = 0
    np.testing.assert_array_equal(kept.picture(), expected)
    np.testing.assert_array_equal(model.predict(good_frames[0]).picture(good_frames[0]), expected)
    with pytest.raises(FrameError, match="was not kept"):
        model.predict(good_frames[0]).picture()


def test_a_run_holds_no_frame_longer_than_it_needs(model, good_frames):
    """What stays of 100,000 frames is their results."""

    class Watched(np.ndarray):
        pass

    alive = []

    def line():
        for index in range(40):
            frame = good_frames[index % 12].copy().view(Watched)
            alive.append(weakref.ref(frame))
            yield frame

    found = list(model.predict(line()))
    gc.collect()
    assert len(found) == 40
    assert sum(reference() is not None for reference in alive) <= 1
    assert all(item.origin is None for item in found)


def test_a_long_run_takes_no_more_memory_than_a_short_one(model, good_frames):
    def peak(count):
        tracemalloc.start()
        for _ in model.predict(good_frames[index % 12].copy() for index in range(count)):
            pass
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(10)
    assert peak(120) < peak(20) + 200_000


def test_fits_take_the_same_kinds_of_frames(padim, good_frames):
    kinds = {
        "pil": ([Image.fromarray(frame) for frame in good_frames], None),
        "tensors": ([torch.from_numpy(frame) for frame in good_frames], None),
        "batch": (np.stack(good_frames), None),
        "floats": ([frame / 255 for frame in good_frames], (0, 1)),
    }
    for given, value_range in kinds.values():
        fresh = Detector("padim", backbone="filters", image_size=64, num_features=16)
        fitted = fresh.fit(given, value_range=value_range)
        assert fitted.calibration == padim.calibration
    with pytest.raises(SourceError, match=r"a generator can be read once.*give list\(frames\)"):
        fresh.fit(frame for frame in good_frames)
