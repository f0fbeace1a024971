"""One run at a time writes into a folder; what killed ones left is taken over and cleaned."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from anomalib_lite.edge import AnomalibLiteError, files
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.edge.files import atomic_path, remove_leftovers, write_bytes_atomic
from anomalib_lite.edge.runs import ownership
from anomalib_lite.edge.runs.ownership import LOCK, owned, owned_file

posix = pytest.mark.skipif(sys.platform == "win32", reason="locks of POSIX systems")

OWNER = """
import sys, time
from anomalib_lite.edge.files import atomic_path
from anomalib_lite.edge.runs.ownership import owned, owned_file
hold = owned_file if sys.argv[2] == "file" else owned
with hold(sys.argv[1]), atomic_path(sys.argv[1] + "/draft.bin") as draft:
    draft.write_bytes(b"half")
    print("owns", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def another_run(tmp_path):
    """Another process that owns a folder and is in the middle of writing into it."""
    started = []

    def start(folder, kind="folder"):
        job = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(folder), kind], stdout=subprocess.PIPE, text=True
        )
        started.append(job)
        assert job.stdout.readline() == "owns\n"
        return job

    yield start
    for job in started:
        job.kill()
        job.wait()
        job.stdout.close()


@posix
def test_a_second_owner_is_refused_and_told_who_is_first(another_run, tmp_path):
    job = another_run(tmp_path)
    with pytest.raises(SettingsError) as refused, owned(tmp_path):
        pass
    assert str(refused.value).startswith(
        f"{tmp_path}: another run is writing there (process {job.pid} on "
    )
    assert "\n" not in str(refused.value)


@posix
def test_the_lock_of_a_killed_owner_is_taken_over_and_its_drafts_go(another_run, tmp_path):
    job = another_run(tmp_path)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert {path.name for path in tmp_path.iterdir()} > {LOCK}
    with owned(tmp_path) as folder:
        assert [path.name for path in folder.iterdir()] == [LOCK]
    assert list(tmp_path.iterdir()) == []


@posix
def test_a_draft_that_is_being_written_is_no_leftover(another_run, tmp_path):
    another_run(tmp_path)
    drafts = list(tmp_path.glob(".draft.bin.*.part"))
    remove_leftovers(tmp_path)
    assert len(drafts) == 1
    assert drafts[0].read_bytes() == b"half"


@posix
def test_the_next_write_of_a_file_removes_what_a_kill_left_of_the_last(tmp_path):
    (tmp_path / ".model.onnx.abc123.part").write_bytes(b"half")
    (tmp_path / ".other.onnx.abc123.part").write_bytes(b"half")
    write_bytes_atomic(tmp_path / "model.onnx", b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", ".other.onnx.abc123.part"}


def test_a_folder_is_free_again_after_a_failure(tmp_path):
    with pytest.raises(ValueError, match="a bug"), owned(tmp_path / "new"):
        raise ValueError("a bug")
    with owned(tmp_path / "new"):
        pass
    assert list((tmp_path / "new").iterdir()) == []


@posix
def test_files_of_one_folder_have_owners_of_their_own(another_run, tmp_path):
    (tmp_path / "a").mkdir()
    another_run(tmp_path / "a", "file")
    with owned_file(tmp_path / "b"):
        pass
    with (
        pytest.raises(SettingsError, match="another run is writing there"),
        owned_file(tmp_path / "a"),
    ):
        pass


@posix
def test_two_owners_that_start_together_are_not_both_let_in(tmp_path):
    """The lock file of the first goes while the second waits: it must not hold a nameless one."""
    program = (
        "import sys, os\n"
        "from anomalib_lite.edge.runs.ownership import owned\n"
        "from anomalib_lite.edge.errors import SettingsError\n"
        "for turn in range(150):\n"
        "    try:\n"
        "        with owned(sys.argv[1]) as folder:\n"
        "            mark = folder / 'inside'\n"
        "            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))\n"
        "            mark.unlink()\n"
        "    except SettingsError:\n"
        "        pass\n"
    )
    jobs = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for job in jobs:
        _, err = job.communicate(timeout=120)
        assert (job.returncode, err) == (0, b"")


def test_a_place_that_cannot_hold_a_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(AnomalibLiteError, match=r"cannot write .*nothing was written"),
        owned(tmp_path / "file" / "below"),
    ):
        pass


def test_where_the_file_system_knows_no_locks_work_goes_on(tmp_path, monkeypatch):
    def unknown(handle, flags):
        raise OSError(errno.ENOTSUP, "not supported")

    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(fcntl, "flock", unknown)
    with owned(tmp_path):
        write_bytes_atomic(tmp_path / "a", b"b")
    assert (tmp_path / "a").read_bytes() == b"b"


def test_content_and_name_are_on_the_disk_before_and_after_the_replacement(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace

    def seen(handle):
        name = os.readlink(f"/proc/self/fd/{handle}") if os.path.isdir("/proc/self/fd") else ""
        steps.append("folder" if name == str(tmp_path) else "content")
        fsync(handle)

    monkeypatch.setattr(files.os, "fsync", seen)
    monkeypatch.setattr(files.os, "replace", lambda a, b: (steps.append("replace"), replace(a, b)))
    write_bytes_atomic(tmp_path / "a", b"content")
    if sys.platform.startswith("linux"):
        assert steps == ["content", "replace", "folder"]
    steps.clear()
    write_bytes_atomic(tmp_path / "a.png", b"picture", durable=False)
    assert steps == ["replace"]


@pytest.mark.parametrize("length", [1, 200, 251])
def test_names_as_long_as_the_file_system_takes_can_be_written(tmp_path, length):
    path = tmp_path / ("n" * length + ".png")
    write_bytes_atomic(path, b"content")
    with owned_file(path):
        assert path.read_bytes() == b"content"
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_two_threads_that_write_one_file_leave_one_whole_file(tmp_path):
    from threading import Thread

    path = tmp_path / "file"
    contents = [bytes([65 + number]) * 20_000 for number in range(4)]
    writers = [
        Thread(target=lambda content=content: [write_bytes_atomic(path, content) for _ in range(5)])
        for content in contents
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_bytes() in contents
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_the_owner_is_named_only_where_that_can_be_read(tmp_path):
    assert ownership._owner(tmp_path / "gone") == ""
    (tmp_path / "lock").write_text("x" * 5000)
    assert len(ownership._owner(tmp_path / "lock")) < 250


def test_a_failure_names_whether_the_earlier_file_is_whole(tmp_path):
    def fail():
        with atomic_path(tmp_path / "a"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(AnomalibLiteError, match=r"nothing was written$"):
        fail()
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(AnomalibLiteError, match=r"nothing was written; the earlier file is whole$"):
        fail()
