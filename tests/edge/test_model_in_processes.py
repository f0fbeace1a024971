"""A model travels: pickled, copied, forked, spawned; and the host's process stays as it is."""

import copy
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from anomalib_lite import EdgeModel
from anomalib_lite.edge.errors import ModelFileError
from anomalib_lite.edge.products import StatedProduct

FIXTURES = Path(__file__).parents[1] / "fixtures"
ENGINES = ["onnxruntime", *(["openvino"] if find_spec("openvino") else [])]
FRAME = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
WAIT_S = 120


@pytest.fixture(params=ENGINES)
def model(request):
    return EdgeModel(FIXTURES / "gda.onnx", engine=request.param, threads=2)


@pytest.fixture
def moved(tmp_path):
    """A model whose file may be changed."""
    path = tmp_path / "part.onnx"
    shutil.copy(FIXTURES / "gda.onnx", path)
    return path


def again_by_pickle(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("again", [again_by_pickle, copy.copy, copy.deepcopy])
def test_a_copy_judges_as_the_original(model, again):
    other = again(model)
    assert other is not model
    assert (other.engine, other.threads) == (model.engine, model.threads)
    assert (other.path, other.threshold) == (model.path, model.threshold)
    assert other.predict(FRAME).score == model.predict(FRAME).score
    assert other.about == model.about


@pytest.mark.parametrize("again", [again_by_pickle, copy.deepcopy])
def test_a_copy_keeps_the_rate_that_was_asked_for(again):
    model = EdgeModel(FIXTURES / "gda.onnx", threads=1, max_false_reject=0.2)
    assert model.threshold != EdgeModel(FIXTURES / "gda.onnx", threads=1).threshold
    assert again(model).calibration == model.calibration
    stated = StatedProduct(model, next(iter(model.calibration.groups)))
    assert again(stated).predict(FRAME).score == stated.predict(FRAME).score


def test_a_pickle_holds_the_place_of_the_file_and_not_the_network(model):
    assert len(pickle.dumps(model)) < 1.5 * len(model._engine.metadata) + 20_000


def test_a_pickle_finds_the_file_from_another_folder(moved, monkeypatch, tmp_path):
    monkeypatch.chdir(moved.parent)
    pickled = pickle.dumps(EdgeModel("part.onnx", threads=1))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert pickle.loads(pickled).predict(FRAME).score > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: shutil.copy(FIXTURES / "padim.onnx", path), "was replaced since"),
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), "is damaged"),
    ],
    ids=["replaced", "gone", "damaged"],
)
@pytest.mark.parametrize("again", [again_by_pickle, copy.deepcopy])
def test_a_copy_never_judges_by_another_file(moved, change, words, again):
    model = EdgeModel(moved, threads=1)
    before = model.predict(FRAME).score
    change(moved)
    with pytest.raises(ModelFileError, match=words):
        again(model)
    assert model.predict(FRAME).score == before


def _score_into(model, queue):
    queue.put(model.predict(FRAME).score)


@pytest.mark.parametrize("how", ["spawn", *(["fork"] if hasattr(os, "fork") else [])])
def test_a_worker_process_judges_with_the_model_it_was_given(model, how):
    expected = model.predict(FRAME).score
    context = multiprocessing.get_context(how)
    queue = context.Queue()
    worker = context.Process(target=_score_into, args=(model, queue))
    worker.start()
    assert queue.get(timeout=WAIT_S) == expected
    worker.join(WAIT_S)
    assert worker.exitcode == 0
    assert model.predict(FRAME).score == expected


FORK = """
import os, sys
import numpy as np
from anomalib_lite import EdgeModel
model = EdgeModel(sys.argv[1], engine=sys.argv[2], threads=2)
frame = np.full((96, 96, 3), 90, np.uint8)
score = model.predict(frame).score
child = os.fork()
if child == 0 and sys.argv[3] == "judges":
    assert model.predict(frame).score == score
    if os.fork() == 0:  # and a child of the child
        assert model.predict(frame).score == score
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
if child == 0:
    sys.exit(5)  # frees what it holds, as a child that ends by itself does
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("child", ["judges", "only ends"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_forked_child_ends_by_itself(engine, child):
    """The engine's destructor waits for threads that only the parent has."""
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(FIXTURES / "gda.onnx"), engine, child],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert (done.returncode, done.stderr) == (5, "")


HOST = """
import ctypes, signal, sys
import cv2, numpy as np
calls = []
from anomalib_lite.edge import footprint
libc = footprint._libc()
if libc is not None:
    real = libc.mallopt
    class Watched:
        gnu_get_libc_version, malloc_trim = libc.gnu_get_libc_version, libc.malloc_trim
        def mallopt(self, *args): calls.append(args); return real(*args)
    footprint._libc = Watched
before = cv2.utils.logging.getLogLevel(), cv2.getNumThreads(), signal.getsignal(signal.SIGTERM)
if sys.argv[2] == "asked":
    footprint.own_process()
from anomalib_lite import EdgeModel
model = EdgeModel(sys.argv[1], threads=1)
model.predict(np.zeros((96, 96, 3), np.uint8))
now = cv2.utils.logging.getLogLevel(), cv2.getNumThreads(), signal.getsignal(signal.SIGTERM)
print("same" if now == before else "changed", "heap" if calls else "no heap")
"""


@pytest.mark.parametrize(
    ("asked", "expected"), [("not", "same no heap"), ("asked", "changed heap")]
)
def test_the_hosts_process_is_left_alone_unless_asked(asked, expected):
    if asked == "asked" and not sys.platform.startswith("linux"):
        pytest.skip("the heap is set with glibc only")
    done = subprocess.run(
        [sys.executable, "-c", HOST, str(FIXTURES / "gda.onnx"), asked],
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_S,
    )
    assert done.stdout.strip() == expected
