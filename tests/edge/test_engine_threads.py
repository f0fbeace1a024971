"""Threads share one model: each call answers for its own frames."""

import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from anomalib_lite import Detector, EdgeModel
from anomalib_lite.edge.errors import ModelFileError
from anomalib_lite.edge.inputs import prepare_view, stacked
from anomalib_lite.edge.products import StatedProduct

FIXTURES = Path(__file__).parents[1] / "fixtures"
ENGINES = ["onnxruntime", *(["openvino", "openvino-bf16"] if find_spec("openvino") else [])]
THREADS, ROUNDS = 4, 25


@pytest.fixture(scope="module", params=[*ENGINES, "torch"])
def several_products(request):
    """A model of several products, so that its runs give `product_scores`, too."""
    if request.param == "torch":
        return Detector.load(FIXTURES / "gda.safetensors")
    return EdgeModel(FIXTURES / "gda.onnx", engine=request.param, threads=1)


@pytest.fixture(scope="module")
def frames():
    """Frames that differ in score, each of its own size."""
    draw = np.random.default_rng(0).integers
    return [draw(0, 256, (60 + 4 * index, 60 + 4 * index, 3), dtype=np.uint8) for index in range(7)]


@pytest.fixture(autouse=True)
def quick_switches():
    """Threads take turns often, so that a call is likely to meet another."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def differences(call, wanted, same):
    """How many of many answers, asked for by several threads at once, are another's."""
    wrong, failed = [], []
    start = threading.Barrier(THREADS)

    def work(number):
        start.wait()
        try:
            for turn in range(ROUNDS):
                which = (number + turn) % len(wanted)
                if not same(call(which), wanted[which]):
                    wrong.append((number, turn))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    return wrong


def close(one, other):
    return np.allclose(one, other, rtol=1e-5, atol=0)


def test_predictions_are_those_of_the_own_frame(several_products, frames):
    wanted = [several_products.predict(frame) for frame in frames]
    assert len({round(one.score, 4) for one in wanted}) == len(frames)

    def same(found, expected):
        return (
            close(found.score, expected.score)
            and found.is_anomalous == expected.is_anomalous
            and found.frame_hw == expected.frame_hw
            and close(found.anomaly_map, expected.anomaly_map)
        )

    found = differences(lambda which: several_products.predict(frames[which]), wanted, same)
    assert found == []


def test_batches_of_mixed_sizes_keep_their_rows(several_products, frames):
    """One thread's batch of 5 must not reshape what another reads of its batch of 1."""
    prepared = [prepare_view(frame, several_products.inputs) for frame in frames]
    sizes = (1, 5, 2, 3)
    batches = [stacked(prepared[size % 3 : size % 3 + size]) for size in sizes]
    wanted = [several_products.run(batch) for batch in batches]
    assert [len(one.score) for one in wanted] == list(sizes)

    def same(found, expected):
        return close(found.score, expected.score) and all(
            close(found.extra[name], expected.extra[name]) for name in expected.extra
        )

    assert set(wanted[0].extra) == {"product_scores"}
    assert differences(lambda which: several_products.run(batches[which]), wanted, same) == []


def test_products_are_stated_by_one_thread_while_others_ask_for_another(several_products, frames):
    stated = [StatedProduct(several_products, name) for name in several_products.calibration.groups]
    pairs = [(model, frame) for model in stated for frame in frames[:3]]
    wanted = [model.predict(frame).score for model, frame in pairs]
    found = differences(lambda which: pairs[which][0].predict(pairs[which][1]).score, wanted, close)
    assert found == []


def test_outputs_belong_to_the_caller(several_products, frames):
    """A later call must not write into what an earlier one gave."""
    prepared = [prepare_view(frame, several_products.inputs) for frame in frames[:2]]
    first = several_products.run(stacked(prepared[:1]))
    kept = [array.copy() for array in (first.score, first.anomaly_map, *first.extra.values())]
    several_products.run(stacked(prepared[1:]))
    for now, before in zip(
        (first.score, first.anomaly_map, *first.extra.values()), kept, strict=True
    ):
        assert np.array_equal(now, before)
        now[...] = 0  # and it may be written to


@pytest.mark.skipif(not find_spec("openvino"), reason="OpenVINO is not installed")
def test_openvino_keeps_no_more_requests_than_were_ever_at_work(frames):
    model = EdgeModel(FIXTURES / "gda.onnx", engine="openvino", threads=1)
    for frame in frames:
        model.predict(frame)
    assert len(model._engine._idle) == 1
    differences(lambda which: model.predict(frames[which]).score, [0.0], lambda *_: True)
    assert 1 <= len(model._engine._idle) <= THREADS
    with pytest.raises(ModelFileError):
        model.run({"nothing": np.zeros(1, np.uint8)})
    assert 1 <= len(model._engine._idle) <= THREADS
