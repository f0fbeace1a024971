"""How many threads: asked for, else the least of cores, CPU quota and OMP_NUM_THREADS."""

import cv2
import pytest

from anomalib_lite import EdgeModel
from anomalib_lite.edge import cpu
from anomalib_lite.edge.errors import SettingsError


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    monkeypatch.setattr(cpu, "_cores", lambda: 8)
    monkeypatch.setattr(cpu, "_asked", None)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def written(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "threads"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "9900000 100000\n"}, 8),
        ({"cpu.max": "nonsense\n"}, 8),
        ({"cpu.max": "100000 0\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        (
            {
                "cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
                "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        ({"cpu/cpu.cfs_quota_us": "300000\n"}, 8),
    ],
)
def test_the_quota_of_control_groups_limits_the_threads(files, threads, tmp_path):
    assert cpu.allowed_threads({}, written(tmp_path, files)) == threads


@pytest.mark.parametrize(
    ("value", "threads"),
    [("1", 1), ("4,2", 4), (" 3 ", 3), ("99", 8), ("0", 8), ("-1", 8), ("many", 8), ("", 8)],
)
def test_omp_num_threads_limits_the_threads(value, threads, tmp_path):
    assert cpu.allowed_threads({"OMP_NUM_THREADS": value}, tmp_path) == threads


def test_the_group_of_the_process_and_those_above_it_count(tmp_path, monkeypatch):
    monkeypatch.setattr(cpu, "_own_groups", lambda top: [top, top / "a", top / "a/b"])
    files = {"a/cpu.max": "500000 100000", "a/b/cpu.max": "max 100000"}
    assert cpu.allowed_threads({}, written(tmp_path, files)) == 5


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, 5000])
def test_impossible_numbers_are_refused(threads):
    with pytest.raises(SettingsError, match=r"threads is .*; choose a whole number, 1 to 1024"):
        cpu.checked_threads(threads)


def test_what_is_asked_for_holds_for_opencv_and_engines_opened_later(padim_files):
    assert cpu.use_threads(3) == 3
    assert (cpu.default_threads(), cv2.getNumThreads()) == (3, 3)
    assert EdgeModel(padim_files[1]).threads == 3
    assert EdgeModel(padim_files[1], threads=2).threads == 2
    with pytest.raises(SettingsError):
        EdgeModel(padim_files[1], threads=-1)


def test_without_a_wish_opencv_is_never_given_more(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    cv2.setNumThreads(1)
    assert cpu.use_threads(None) == 4
    assert cv2.getNumThreads() == 1


def test_openvino_is_told_as_well(padim_files):
    pytest.importorskip("openvino")
    cpu.use_threads(1)
    model = EdgeModel(padim_files[1], engine="openvino")
    assert model.threads == 1
