"""Threads of torch follow what is asked for."""

import cv2
import pytest
import torch

from anomalib_lite.edge import cpu
from anomalib_lite.edge.errors import SettingsError
from anomalib_lite.system.threads import use_threads


@pytest.fixture(autouse=True)
def restored():
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])
    cpu._asked = None


def test_torch_opencv_and_engines_get_the_same_number():
    assert use_threads(2) == 2
    assert (torch.get_num_threads(), cv2.getNumThreads(), cpu.default_threads()) == (2, 2, 2)


def test_without_a_wish_torch_is_limited_but_never_given_more(monkeypatch):
    monkeypatch.setattr(cpu, "allowed_threads", lambda: 2)
    torch.set_num_threads(1)
    use_threads(None)
    assert torch.get_num_threads() == 1
    torch.set_num_threads(4)
    use_threads(None)
    assert torch.get_num_threads() == 2


def test_an_impossible_number_changes_nothing():
    torch.set_num_threads(1)
    with pytest.raises(SettingsError):
        use_threads(0)
    assert torch.get_num_threads() == 1
