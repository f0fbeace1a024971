"""The short form of benchmarks/fuzz.py: no damage ends in a traceback, a hang or another answer."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def fuzz():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import fuzz
    finally:
        sys.path.remove(str(BENCHMARKS))
    return fuzz


@pytest.fixture(scope="module")
def tries(fuzz, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    fuzz.prepare_material(folder)
    return fuzz.Tries(folder)


@pytest.mark.parametrize("first", ["onnx", "safetensors", "picture", "video"])
def test_nothing_breaks(fuzz, tries, first):
    kinds = [kind for kind in fuzz.plan(24, 24, 4) if kind.startswith(first)]
    broken = []
    for index, kind in enumerate(kinds):
        outcome, told = tries.run(kind, index, seed=1)
        if outcome in fuzz.BROKEN:
            broken.append((kind, index, outcome, told))
    assert kinds
    assert broken == []


def test_a_difference_would_be_told(fuzz, tries):
    """A check of the check: another model in a file's place answers differently."""
    whole = (tries._material / "mvg.onnx").read_bytes()
    other = (tries._material / "padim.onnx").read_bytes()
    from anomalib_lite import EdgeModel

    path = tries._scratch / "y.onnx"
    answers = []
    for content in (whole, whole, other):
        path.write_bytes(content)
        answers.append(tries._answers(EdgeModel(path)))
    assert answers[0] == answers[1]
    assert answers[0] != answers[2]
