"""The C++ program, built once into `build/` and kept there."""

import fcntl
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "cpp-tests"
HEADERS = {
    "libopencv-imgcodecs-dev": "opencv4/opencv2/imgcodecs.hpp",
    "nlohmann-json3-dev": "nlohmann/json.hpp",
    "libssl-dev": "openssl/evp.h",
    "zlib1g-dev": "zlib.h",
}


@pytest.fixture(scope="session")
def part_score():
    """`part_score(*arguments)` runs deploy/cpp; skips where it cannot be built."""
    missing = [name for name in ("cmake", "g++") if shutil.which(name) is None]
    missing += [name for name, header in HEADERS.items() if not _has(header)]
    missing += [] if find_spec("openvino") else ["openvino (pip)"]
    if missing:
        pytest.skip(f"deploy/cpp needs {', '.join(missing)}")
    program = _built()

    def run(*arguments):
        return subprocess.run(
            [program, *map(str, arguments)], capture_output=True, text=True, check=False
        )

    return run


def _has(header):
    return any((Path(root) / header).is_file() for root in ("/usr/include", "/usr/local/include"))


def _built():
    from openvino.utils import get_cmake_path

    BUILD.mkdir(parents=True, exist_ok=True)
    where = ["-S", ROOT / "deploy" / "cpp", "-B", BUILD, f"-DOpenVINO_DIR={get_cmake_path()}"]
    with (BUILD / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # As one piece, and not optimised, it compiles in half the time; libraries do the work.
        quick = ["-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_UNITY_BUILD=ON"]
        subprocess.run(["cmake", *where, *quick], check=True)
        subprocess.run(["cmake", "--build", BUILD], check=True)
    return BUILD / "part_score"
