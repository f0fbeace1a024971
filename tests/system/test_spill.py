"""Rows in memory or in a file: the same rows back, and one clear error when there is no room."""

import shutil
import tempfile
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalib_lite.edge import FitError
from anomalib_lite.system import spill
from anomalib_lite.system.spill import SpillStore, require_room

Usage = namedtuple("Usage", "total used free")


def disk_with(monkeypatch, free):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(2 * free, free, free))


def made(slots=50, shape=(3,), dtype=np.float32, **options):
    return SpillStore(slots, shape, dtype, what="the rows", **options)


KINDS = {"memory": {"memory": 1 << 20}, "temporary": {}, "named": {"path": "rows.f32"}}


def store_of(kind, folder, **options):
    kinds = dict(KINDS[kind])
    if "path" in kinds:
        kinds["path"] = folder / kinds["path"]
    return made(**kinds, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "shape"), [(np.float32, (3,)), (np.uint8, (2, 3, 3))])
def test_rows_come_back_in_any_order(kind, dtype, shape, tmp_path):
    rng = np.random.default_rng(0)
    data = rng.integers(0, 255, (50, *shape)).astype(dtype)
    order = rng.permutation(50)
    with store_of(kind, tmp_path, shape=shape, dtype=dtype) as store:
        assert store.on_disk is (kind != "memory")
        store.write(order[:20], data[order[:20]])
        store.write(order[20:], data[order[20:]])
        wanted = np.array([7, 8, 9, 3, 49, 0, 7])
        found = store.read(wanted)
        assert (found.dtype, found.shape) == (dtype, (7, *shape))
        np.testing.assert_array_equal(found, data[wanted])
        assert store.read(np.zeros(0, np.int64)).shape == (0, *shape)
        found[:] = 0  # a copy: the store keeps its own
        np.testing.assert_array_equal(store.read(wanted), data[wanted])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=8, unique=True), max_size=6),
    st.lists(st.integers(0, 11), max_size=10),
)
def test_a_file_holds_what_an_array_would(writes, wanted):
    plain, number = np.zeros((12, 2), np.float32), 0
    with made(12, (2,)) as store:
        store.write(np.arange(12), plain)
        for slots in writes:
            rows = np.arange(number, number + 2 * len(slots), dtype=np.float32).reshape(-1, 2)
            number += len(rows)
            plain[slots] = rows
            store.write(np.array(slots), rows)
        chosen = np.array(wanted, np.int64)
        np.testing.assert_array_equal(store.read(chosen), plain[chosen])


def test_where_nobody_knows_how_many_rows_there_will_be_they_go_to_a_file(tmp_path, monkeypatch):
    disk_with(monkeypatch, 0)
    data = np.random.default_rng(0).random((9, 3), np.float32)
    with made(None, memory=1 << 20, folder=tmp_path) as store:
        assert store.on_disk
        for number, row in enumerate(data):
            store.write(np.array([number]), row[None])
        np.testing.assert_array_equal(store.read(np.arange(9)), data)
    assert list(tmp_path.iterdir()) == []


def test_rows_of_another_shape_are_no_rows_of_this_store():
    with made() as store, pytest.raises(ValueError, match="reshape"):
        store.write(np.array([0]), np.zeros((1, 4), np.float32))


def test_rows_that_do_not_lie_side_by_side_are_written_as_they_are():
    data = np.arange(24, dtype=np.float32).reshape(4, 6)
    with made(6, (4,)) as store:
        store.write(np.arange(6), data.T)
        np.testing.assert_array_equal(store.read(np.arange(6)), data.T)


def test_a_named_file_is_there_for_the_next_process(tmp_path):
    data, path = np.random.default_rng(0).random((5, 3), np.float32), tmp_path / "rows.f32"
    with made(path=path) as store:
        store.write(np.arange(5), data)
        store.sync()
    assert path.read_bytes() == data.tobytes()
    with made(path=path) as store:
        np.testing.assert_array_equal(store.read(np.array([4, 1])), data[[4, 1]])


def test_a_temporary_file_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = made()
    store.write(np.arange(50), np.zeros((50, 3), np.float32))
    assert store.on_disk
    store.close()
    assert list(tmp_path.iterdir()) == []


ROW = 3 * 4


@pytest.mark.parametrize(
    ("free", "most", "options", "on_disk"),
    [
        (2 * 50 * ROW, 50 * ROW, {}, True),
        (2 * 50 * ROW - 1, 50 * ROW, {}, "the rows take"),
        (1 << 40, 50 * ROW - 1, {}, "free space there or name another folder in TMPDIR"),
        (1 << 40, 50 * ROW - 1, {"needed": True}, True),
        (1 << 40, 50 * ROW - 1, {"or_memory": True}, False),
        (0, 50 * ROW, {"or_memory": True}, False),
        (0, 50 * ROW, {"memory": 50 * ROW}, False),
        (0, 50 * ROW, {"memory": 50 * ROW - 1}, "has 0.0 GB free"),
        (0, 50 * ROW, {"needed": True, "advice": "take fewer"}, "take fewer"),
    ],
)
def test_room_is_asked_for_first(monkeypatch, free, most, options, on_disk):
    disk_with(monkeypatch, free)
    monkeypatch.setattr(spill, "TEMPORARY_BYTES", most)
    if isinstance(on_disk, str):
        with pytest.raises(FitError, match=on_disk):
            made(**options)
    else:
        with made(**options) as store:
            assert store.on_disk is on_disk


def test_a_disk_too_small_is_refused_before_the_work(monkeypatch, tmp_path):
    disk_with(monkeypatch, 10**9)
    require_room(10**9, tmp_path, "features", "take fewer")
    with pytest.raises(FitError, match=r"features take 1\.5 GB .* has 1\.0 GB free; take fewer"):
        require_room(15 * 10**8, tmp_path, "features", "take fewer")


def test_a_disk_that_fills_up_meanwhile_is_said_so(monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spill, "_write_all", full)
    rows = np.zeros((5, 3), np.float32)
    with pytest.raises(FitError, match=r"cannot take the rows \(No space left.*TMPDIR"):
        made().write(np.arange(5), rows)
    with pytest.raises(FitError, match=r"rows\.f32 cannot take the rows .*; take fewer"):
        made(path=tmp_path / "rows.f32", advice="take fewer").write(np.arange(5), rows)


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path):
    with pytest.raises(FitError, match="cannot take the rows"):
        made(path=tmp_path / "absent" / "rows.f32")


@pytest.mark.parametrize("left", [0, 5 * ROW - 1])
def test_a_file_that_was_cut_short_is_an_error_and_no_zeros(tmp_path, left):
    path = tmp_path / "rows.f32"
    with made(path=path) as store:
        store.write(np.arange(5), np.ones((5, 3), np.float32))
        with path.open("r+b") as file:
            file.truncate(left)
        with pytest.raises(FitError, match="ends before all of the rows"):
            store.read(np.arange(5))


def test_writes_and_reads_that_stop_half_way_go_on():
    class Halting:
        """Takes and gives at most three bytes at a time."""

        def __init__(self):
            self.held, self.place = bytearray(20), 0

        def write(self, data):
            taken = bytes(data[:3])
            self.held[self.place : self.place + len(taken)] = taken
            self.place += len(taken)
            return len(taken)

        def readinto(self, data):
            given = self.held[self.place : self.place + min(3, len(data))]
            data[: len(given)] = given
            self.place += len(given)
            return len(given)

    file, wanted = Halting(), bytes(range(20))
    spill._write_all(file, memoryview(wanted))
    file.place, found = 0, bytearray(20)
    assert spill._read_all(file, memoryview(found))
    assert bytes(found) == wanted
