"""A large frame is shrunk by several threads, in the bytes of one."""

import threading

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalib_lite.edge import resize as resizing
from anomalib_lite.edge.resize import resize


@pytest.fixture
def threads_of_opencv():
    before = cv2.getNumThreads()
    yield cv2.setNumThreads
    cv2.setNumThreads(before)


def by_one(frame, size_hw):
    return cv2.resize(frame, size_hw[::-1], interpolation=cv2.INTER_AREA)


def counted(monkeypatch, frame, size_hw):
    """The shrunk frame, and by how many threads it was made."""
    seen = []
    plain = cv2.resize

    def called(*arguments, **options):
        seen.append(threading.get_ident())
        return plain(*arguments, **options)

    monkeypatch.setattr(resizing.cv2, "resize", called)
    found = resize(frame, size_hw)
    monkeypatch.undo()
    return found, len(seen)


@pytest.mark.parametrize(
    ("rows", "columns", "height", "threads", "shared_by"),
    [
        (3000, 1024, 256, 2, 2),
        (3000, 1024, 256, 8, 8),
        (3000, 1024, 256, 3, 2),  # 3 does not divide 256
        (3000, 1024, 256, 1, 1),
        (3001, 1024, 256, 2, 1),  # a half row in the middle
        (3000, 1024, 224, 2, 1),  # 3000 / 224 is no binary fraction
        (2800, 1024, 224, 2, 2),
        (1024, 1024, 256, 2, 1),  # too small to be worth it
    ],
)
def test_it_is_shared_where_that_moves_no_rounding(
    monkeypatch, threads_of_opencv, rng, rows, columns, height, threads, shared_by
):
    threads_of_opencv(threads)
    frame = rng.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    found, count = counted(monkeypatch, frame, (height, 200))
    assert count == shared_by
    np.testing.assert_array_equal(found, by_one(frame, (height, 200)))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(64, 900),
    columns=st.integers(32, 300),
    size_hw=st.tuples(st.sampled_from([32, 48, 56, 64]), st.sampled_from([31, 32])),
    threads=st.sampled_from([2, 3, 4, 7]),
    kind=st.sampled_from([np.uint8, np.uint16, np.float32]),
    channels=st.sampled_from([(), (3,), (4,)]),
    seed=st.integers(0, 99),
)
def test_the_bytes_are_those_of_one_thread(rows, columns, size_hw, threads, kind, channels, seed):
    values = np.random.default_rng(seed).random((rows, columns, *channels))
    frame = (values * (255 if kind == np.uint8 else 65535)).astype(kind)
    before, worth = cv2.getNumThreads(), resizing._WORTH_SHARING
    try:
        cv2.setNumThreads(threads)
        resizing._WORTH_SHARING = 0
        found = resize(frame, size_hw)
    finally:
        cv2.setNumThreads(before)
        resizing._WORTH_SHARING = worth
    assert found.tobytes() == by_one(frame, size_hw).tobytes()


def test_an_error_of_any_thread_is_an_error(monkeypatch, threads_of_opencv):
    threads_of_opencv(2)
    first = threading.get_ident()
    plain = cv2.resize

    def failing(*arguments, **options):
        if threading.get_ident() != first:
            raise MemoryError("no memory")
        return plain(*arguments, **options)

    monkeypatch.setattr(resizing.cv2, "resize", failing)
    with pytest.raises(MemoryError):
        resize(np.zeros((3000, 1024, 3), np.uint8), (256, 256))
