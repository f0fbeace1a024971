"""Every scorer on a device that is not the CPU. No GPU was at hand; what stands in for one:

* tensors that say they lie on CUDA and hold numbers on the CPU (`helpers/pretended_device`); mixing
  devices fails as it does with torch's fake tensors, which a torch without CUDA cannot index.
  Networks in both forms (`DetectorGraph`, merged for export), whole fits with their branches on
  values, folds, more images, forgetting, pools, files. Results are those of the CPU;
* `meta`: nothing of a network is left behind when it moves.

Not covered: CUDA's own kernels, their rounding, speed and memory, and mixed precision there.
"""

import copy

import numpy as np
import pytest
import torch
from helpers.pretended_device import CUDA, Pretended, PretendedCuda, pretend_cuda

from anomalib_lite import Detector
from anomalib_lite.detector.explainer import Explainer
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.scorers import list_scorers
from anomalib_lite.scorers.memory_bank import nearest
from anomalib_lite.system import devices
from anomalib_lite.transductive.pool import Pool

SIDE = 48
EDGE = {"backbone": "pdn_edge"}
CASES = [
    ("padim", {"num_features": 16}),
    ("padim", {"compact": 2}),
    ("mvg", {}),
    ("gda", {}),
    ("baseline", {}),
    ("patchcore", {"rows": 40}),
    ("patchcore", {"rows": 60, "window": 2, "reweight": True}),
    ("patchcore", {"rows": 60, "window": "auto", "embedding": "plain"}),
    ("knn", {"mode": "patches", "patches": 120}),
    ("knn", {"k": 2}),
    ("musc", {"references": 2}),
    ("stfpm", {**EDGE, "steps": 2}),
    ("efficientad", {**EDGE, "layers": ["local"], "steps": 2}),
    ("draem", {"steps": 2, "batch_size": 2}),
    ("reconstruction", {"steps": 2, "batch_size": 2}),
    ("patchcore+mvg", {"patchcore.rows": 40}),
    ("mvg+gda", {}),
    ("baseline", {"method": "svm"}),
]
IDS = ["-".join([name, *map(str, settings)]) for name, settings in CASES]
TRAINED = (
    "stfpm",
    "efficientad",
    "draem",
    "reconstruction",
)  # by steps: what rounds otherwise grows with them


def _detector(case, device="cpu"):
    name, settings = case
    return Detector(name, image_size=SIDE, device=device, **{"backbone": "filters", **settings})


@pytest.fixture(scope="module", params=CASES, ids=IDS)
def on_cpu(request, good_frames):
    return request.param, _detector(request.param).fit(good_frames)


def test_every_scorer_is_among_the_cases():
    assert {part for name, _ in CASES for part in name.split("+")} == set(list_scorers())


def test_the_network_that_predicts_and_the_one_that_is_exported_run_there(on_cpu, monkeypatch):
    _, detector = on_cpu
    pretend_cuda(monkeypatch)
    frames = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    )
    for network in (detector.graph, detector.graph.merged()):
        with torch.no_grad():
            expected = network(frames)
            with PretendedCuda():
                outputs = devices.put_module(copy.deepcopy(network), CUDA)(frames.to(CUDA))
        assert {output.device for output in outputs} == {CUDA}
        for one, other in zip(outputs, expected, strict=True):
            torch.testing.assert_close(one.held, other, rtol=1e-4, atol=1e-4)


def test_a_fit_on_the_device_gives_what_a_fit_on_the_cpu_gives(
    on_cpu, good_frames, scratched, monkeypatch, tmp_path
):
    case, reference = on_cpu
    pretend_cuda(monkeypatch)
    with PretendedCuda():
        detector = _detector(case, "cuda").fit(good_frames)
        assert detector.device == CUDA
        held = {**dict(detector.graph.named_parameters()), **dict(detector.graph.named_buffers())}
        assert [name for name, value in held.items() if not isinstance(value, Pretended)] == []
        found = detector.predict(scratched)
        detector.save(tmp_path / "on_cuda.safetensors")
    tolerance = 1e-2 if case[0] in TRAINED else 1e-5
    expected = reference.predict(scratched)
    for one, other in zip(found, expected, strict=True):
        assert one.score == pytest.approx(other.score, rel=tolerance)
        np.testing.assert_allclose(
            one.network_map, other.network_map, rtol=tolerance, atol=tolerance * other.score
        )
    assert detector.threshold == pytest.approx(reference.threshold, rel=tolerance)
    loaded = Detector.load(tmp_path / "on_cuda.safetensors", device="cpu")
    assert loaded.predict(scratched[0]).score == pytest.approx(found[0].score, rel=1e-5)


@pytest.mark.parametrize(
    "case", [CASES[place] for place in (0, 1, 2, 4, 5, 8, 15)], ids=lambda case: case[0]
)
def test_more_images_and_fewer_on_the_device(case, good_frames, monkeypatch):
    pretend_cuda(monkeypatch)

    def scores(device):
        detector = _detector(case, device).fit(good_frames[:9])
        for change in (detector.partial_fit, detector.forget):
            try:
                change(good_frames[9:])
            except SettingsError as error:
                assert "cannot" in str(error)  # noqa: PT017 - not every scorer can
        return detector.run(np.stack([frame[:SIDE, :SIDE] for frame in good_frames[:2]]))[0]

    with PretendedCuda():
        found = scores("cuda")
    np.testing.assert_allclose(found, scores("cpu"), rtol=1e-5)


def test_the_quick_search_of_fits_runs_on_the_device(monkeypatch):
    monkeypatch.setattr(nearest, "_FEWEST_GROUPED", 8)
    generator = torch.Generator().manual_seed(0)
    bank = torch.randn(600, 12, generator=generator)
    queries = torch.randn(100, 12, generator=generator)
    queries = bank[:100] + 0.01 * queries
    bank[::2] += 5
    queries[::2] += 5
    parts = nearest.centred_bank(bank)
    given = (queries - parts["mean_"], parts["bank_"], parts["squares_"])
    pretend_cuda(monkeypatch)
    with PretendedCuda():
        found = nearest.nearest_rows_in_fit(*map(Pretended, given))
    assert torch.equal(found.held, nearest.nearest_rows(*given))


def test_a_pool_judges_itself_on_the_device(good_frames, monkeypatch):
    pretend_cuda(monkeypatch)
    pool = Pool(backbone="filters", image_size=SIDE, device="cpu")
    expected = pool.score(good_frames).scores
    with PretendedCuda():
        pool = Pool(backbone="filters", image_size=SIDE, device="cuda")
        assert pool.cost(12)
        found = pool.score(good_frames).scores
        enlarged = found.network_map(0)
    np.testing.assert_allclose(found.image, expected.image, rtol=1e-5)
    np.testing.assert_allclose(enlarged, expected.network_map(0), rtol=1e-5)


def test_rejections_are_explained_on_the_device(good_frames, scratched, monkeypatch):
    pretend_cuda(monkeypatch)
    with PretendedCuda():
        detector = _detector(("patchcore", {"rows": 40}), "cuda").fit(good_frames)
        prediction = detector.predict(scratched[0])
        assert Explainer(detector).explain(scratched[0], prediction)[0].distance > 0


@pytest.mark.parametrize(
    "case",
    [CASES[place] for place in (0, 1, 2, 3, 4, 5, 8, 10, 11, 12, 13, 14)],
    ids=lambda case: case[0],
)
def test_a_device_without_float64_is_given_none(case, good_frames, monkeypatch):
    pretend_cuda(monkeypatch)
    monkeypatch.setattr(devices, "_WITHOUT_FLOAT64", ("cuda",))
    with PretendedCuda(lacks_float64=True):
        detector = _detector(case, "cuda").fit(good_frames)
        assert np.isfinite(detector.predict(good_frames[0]).score)


def test_nothing_of_a_network_stays_behind_when_it_moves(on_cpu):
    moved = devices.put_module(copy.deepcopy(on_cpu[1].graph), torch.device("meta"))
    assert {value.device.type for value in moved.state_dict().values()} == {"meta"}
    with torch.no_grad():
        outputs = moved(torch.zeros(2, SIDE, SIDE, 3, dtype=torch.uint8, device="meta"))
    assert {output.device.type for output in outputs} == {"meta"}


def test_the_pretended_device_refuses_what_a_real_one_refuses():
    there = Pretended(torch.ones(3))
    with pytest.raises(RuntimeError, match="mix"):
        _ = there + torch.ones(3)
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    assert (there + 1).device == CUDA
    assert there.sum().item() == 3
    assert type(there.cpu()) is torch.Tensor
