"""Atomic writing and the seal: a file is whole and what was written, or it is not there."""

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalib_lite.edge import AnomalibLiteError, ModelFileError
from anomalib_lite.edge.files import (
    atomic_path,
    ensure_writable,
    sha256_file,
    write_bytes_atomic,
)
from anomalib_lite.edge.model_files.integrity import UNSEALED, seal, verify_seal


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_written_file_is_whole_readable_and_alone(tmp_path):
    path = tmp_path / "new" / "folder" / "file.bin"
    write_bytes_atomic(path, b"content")
    assert path.read_bytes() == b"content"
    assert left_in(path.parent) == ["file.bin"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    ("failure", "expected", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), AnomalibLiteError, "No space left"),
        (OSError("no number"), AnomalibLiteError, "OSError"),
        (ValueError("a bug"), ValueError, "a bug"),
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
    ],
)
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path, failure, expected, message):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")

    def write():
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise failure

    with pytest.raises(expected, match=message):
        write()
    assert path.read_bytes() == b"old"
    assert left_in(tmp_path) == ["file.bin"]


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AnomalibLiteError) as caught:
        write_bytes_atomic(tmp_path / "file.bin", b"x")
    assert str(caught.value) == (
        f"cannot write {tmp_path / 'file.bin'}: No space left on device; nothing was written"
    )
    assert left_in(tmp_path) == []


def test_a_file_where_a_folder_should_be_is_one_line(tmp_path):
    (tmp_path / "taken").write_text("x")
    with pytest.raises(AnomalibLiteError, match="cannot write"):
        write_bytes_atomic(tmp_path / "taken" / "file.bin", b"x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(AnomalibLiteError, match="Permission denied; nothing was written"):
            write_bytes_atomic(tmp_path / "file.bin", b"x")
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_that_cannot_be_written_is_one_line():
    with pytest.raises(AnomalibLiteError, match="nothing was written"):
        write_bytes_atomic("/proc/anomalib/file.bin", b"x")


def test_sha256_of_a_file(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_file(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def sealed(folder, before=b"head", after=b"tail"):
    path = folder / "sealed"
    path.write_bytes(before + UNSEALED.encode() + after)
    seal(path)
    return path


def test_a_sealed_file_keeps_its_length_and_verifies(tmp_path):
    path = sealed(tmp_path)
    assert verify_seal(path)
    content = path.read_bytes()
    assert len(content) == len(b"head" + UNSEALED.encode() + b"tail")
    assert content.startswith(b"head")
    assert content.endswith(b"tail")
    assert UNSEALED.encode() not in content


@settings(max_examples=60, deadline=None)
@given(where=st.floats(0, 1), bit=st.integers(0, 7))
def test_any_flipped_bit_breaks_the_seal(tmp_path_factory, where, bit):
    path = sealed(tmp_path_factory.mktemp("seal"), b"a" * 40, b"b" * 40)
    data = bytearray(path.read_bytes())
    data[int(where * (len(data) - 1))] ^= 1 << bit
    path.write_bytes(data)
    try:
        intact = verify_seal(path)
    except ModelFileError:
        return
    assert not intact


@pytest.mark.parametrize("missing", [1, 4, 5, 10, 20, 30])
def test_a_cut_file_breaks_the_seal(tmp_path, missing):
    path = sealed(tmp_path)
    path.write_bytes(path.read_bytes()[:-missing])
    try:
        intact = verify_seal(path)
    except ModelFileError:
        return
    assert not intact


@pytest.mark.parametrize("content", [b"", b"foreign", None])
def test_foreign_empty_and_missing_files_carry_no_seal(tmp_path, content):
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    assert not verify_seal(path)


def test_a_place_that_cannot_be_written_is_found_out_before_the_work(tmp_path):
    ensure_writable(tmp_path / "new" / "part.safetensors")
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(AnomalibLiteError, match=r"cannot write .*part\.safetensors"):
        ensure_writable("/proc/nowhere/part.safetensors")
