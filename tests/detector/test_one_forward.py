"""What predicts is what is exported: the same operators on the same numbers, in the same order."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import anomalib_lite
from anomalib_lite import Detector
from anomalib_lite.scorers import list_scorers
from anomalib_lite.scorers.memory_bank import nearest

CASES = [
    ("padim", {"num_features": 16}),
    ("padim", {"compact": 2}),
    ("mvg", {}),
    ("gda", {}),
    ("baseline", {}),
    ("patchcore", {"rows": 300}),
    ("patchcore", {"rows": 200, "window": 2, "reweight": True}),
    ("knn", {"mode": "patches", "patches": 300}),
    ("knn", {"k": 2}),
    ("musc", {"references": 4}),
    ("stfpm", {"backbone": "pdn_edge", "steps": 1}),
    ("efficientad", {"backbone": "pdn_edge", "layers": ["local"], "steps": 1}),
    ("draem", {"steps": 1, "batch_size": 2}),
    ("reconstruction", {"steps": 1}),
    ("patchcore+mvg", {}),
]
ASKS_HOW_IT_IS_RUN = re.compile(
    r"is_tracing|is_scripting|is_in_onnx_export|tracing_state|is_compiling|is_exporting"
    r"|is_dynamo_compiling|is_onnx_exporting"
)


class Arithmetic(TorchDispatchMode):
    """Notes every operator that computes numbers; views and arithmetic on sizes are none."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        first = found[0] if isinstance(found, list | tuple) else found
        if isinstance(first, torch.Tensor) and first.ndim and not func.is_view:
            self.seen.append((str(func), tuple(first.shape), first.dtype))
        return found


@pytest.fixture(params=CASES, ids=lambda case: "-".join([case[0], *case[1]]))
def fitted(request, good_frames, monkeypatch):
    # Searches of a few rows, too, may take the quick way wherever it is open.
    monkeypatch.setattr(nearest, "_FEWEST_GROUPED", 8)
    monkeypatch.setattr(nearest, "_GROUPS", 8)
    monkeypatch.setattr(nearest, "_CHUNK_NUMBERS", 1 << 12)
    name, settings = request.param
    options = {"backbone": "filters", **settings}
    return Detector(name, image_size=64, **options).fit(good_frames)


def test_predict_runs_the_operators_that_are_exported(fitted):
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    predicted, exported = Arithmetic(), Arithmetic()
    # The tracer looks at properties of the modules before it runs them.
    fitted.graph.register_forward_pre_hook(lambda *_: exported.seen.clear())
    with predicted:
        fitted.run(frames)
    with torch.no_grad(), exported, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(fitted.graph, (torch.from_numpy(frames),), check_trace=False)
    count = len(exported.seen)
    assert count > 20
    assert predicted.seen[:count] == exported.seen
    # What is left joins the parts that large batches are divided into.
    assert {name for name, *_ in predicted.seen[count:]} <= {"aten.cat.default"}


def test_every_scorer_is_among_the_cases():
    assert {name for name, _ in CASES if "+" not in name} == set(list_scorers())


def test_a_large_batch_is_scored_in_parts_with_the_scores_of_single_frames(mvg):
    frames = np.random.default_rng(1).integers(0, 256, (9, 64, 96, 3), np.uint8)
    together = mvg.run(frames)
    alone = [mvg.run(frame[None]) for frame in frames]
    np.testing.assert_allclose(together[0], [outputs.score[0] for outputs in alone], rtol=1e-5)
    assert together[1].shape[0] == 9
    assert mvg.run(frames[:0])[0].shape == (0,)


def test_nothing_in_the_package_asks_whether_it_is_traced():
    folder = Path(anomalib_lite.__file__).parent
    found = [
        f"{path.relative_to(folder)}: {line.strip()}"
        for path in sorted(folder.rglob("*.py"))
        for line in path.read_text().splitlines()
        if ASKS_HOW_IT_IS_RUN.search(line)
    ]
    assert found == []
