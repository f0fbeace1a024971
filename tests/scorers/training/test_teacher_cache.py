"""The teacher's answers: the same bits kept or new, never more than there is room for."""

import torch

from anomalib_lite.backbones import create_backbone
from anomalib_lite.scorers.training import teacher_cache
from anomalib_lite.scorers.training.teacher_cache import TeacherCache


class Counting:
    """A teacher that counts how often it is asked."""

    def __init__(self):
        self.backbone = create_backbone("filters")
        self.asked = 0

    def __call__(self, pixels):
        self.asked += 1
        return self.backbone(pixels)


def pixels(count):
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_each_image_is_computed_once_and_alone():
    teacher, given = Counting(), pixels(3)
    cache = TeacherCache(teacher)
    first = cache.batch([7, 2, 5], given)
    again = cache.batch([5, 7], given[[2, 0]])
    assert teacher.asked == 3
    for name, values in first.items():
        assert torch.equal(again[name], values[[2, 0]])
        assert torch.equal(values[1:2], teacher.backbone(given[1:2]).maps[name])


def test_what_does_not_fit_is_computed_each_time(monkeypatch):
    teacher, given = Counting(), pixels(2)
    size = sum(values.nbytes for values in teacher.backbone(given[:1]).maps.values())
    monkeypatch.setattr(teacher_cache, "TEACHER_CACHE_BYTES", size)
    cache = TeacherCache(teacher)
    for _ in range(3):
        cache.batch([0, 1], given)
    assert teacher.asked == 1 + 3
    cache.clear()
    cache.batch([1], given[1:])
    cache.batch([1], given[1:])
    assert teacher.asked == 1 + 3 + 1
