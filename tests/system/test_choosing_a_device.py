"""Choosing a device: by name, and in one line where it is not there."""

import pytest
import torch

from anomalib_lite import Detector
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.system.devices import CPU, choose_device, put, put_module


@pytest.fixture
def machine(monkeypatch):
    def has(cuda=0, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return has


@pytest.mark.parametrize(
    ("wanted", "cuda", "mps", "chosen"),
    [
        ("auto", 0, False, "cpu"),
        ("auto", 2, False, "cuda:0"),
        ("auto", 0, True, "cpu"),
        ("cpu", 2, True, "cpu"),
        ("cuda", 1, False, "cuda:0"),
        ("cuda:1", 2, False, "cuda:1"),
        ("mps", 0, True, "mps"),
        (torch.device("cuda:1"), 2, False, "cuda:1"),
    ],
)
def test_a_device_is_chosen_by_name(machine, wanted, cuda, mps, chosen):
    machine(cuda, mps)
    assert choose_device(wanted) == torch.device(chosen)


@pytest.mark.parametrize(
    ("wanted", "cuda", "words"),
    [
        ("cuda", 0, "device cuda: torch sees no CUDA device here; choose cpu"),
        ("cuda:1", 0, "device cuda:1: torch sees no CUDA device here; choose cpu"),
        ("cuda:2", 2, "device cuda:2: torch sees 2 here; choose up to cuda:1"),
        ("mps", 0, "device mps: torch sees no Apple MPS device here; choose cpu"),
        ("gpu", 0, "device gpu: not understood; choose auto, cpu, cuda, cuda:1 or mps"),
        ("xla", 0, "device xla: not understood; choose auto, cpu, cuda, cuda:1 or mps"),
        ("cuda:x", 1, "device cuda:x: not understood; choose auto, cpu, cuda, cuda:1 or mps"),
        (3.5, 1, "device 3.5: not understood; choose auto, cpu, cuda, cuda:1 or mps"),
        ("", 1, "device '': not understood; choose auto, cpu, cuda, cuda:1 or mps"),
    ],
)
def test_a_device_that_is_not_there_is_said_in_one_line(machine, wanted, cuda, words):
    machine(cuda)
    with pytest.raises(SettingsError) as refused:
        choose_device(wanted)
    assert str(refused.value) == words


def test_cuda_computes_in_full_single_precision(machine, monkeypatch):
    machine(1)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    choose_device("cuda")
    assert torch.backends.cudnn.allow_tf32 is False
    assert torch.backends.cuda.matmul.allow_tf32 is False


def test_float64_goes_to_no_device_that_has_none():
    mps = torch.device("mps")
    assert put(torch.zeros(2, dtype=torch.float64), mps).device == CPU
    assert put_module(torch.nn.Linear(2, 2), torch.device("meta")).weight.device.type == "meta"


def test_a_detector_says_at_once_that_a_device_is_missing(machine, padim_files):
    machine(0)
    with pytest.raises(SettingsError, match="cuda: torch sees no CUDA device here; choose cpu"):
        Detector("padim", backbone="filters", device="cuda")
    with pytest.raises(SettingsError, match="mps"):
        Detector.load(padim_files[0], device="mps")
    assert Detector.load(padim_files[0]).device == CPU


def test_files_of_an_earlier_version_may_say_where_they_were_trained(padim):
    state = padim.state()
    for setting in ("device", "efficientad.device"):
        state.scorer["settings"] = {**padim.scorer.settings(), setting: "cuda"}
        assert Detector.from_state(state).threshold == padim.threshold
