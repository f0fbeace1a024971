"""Times side by side: turns, warm-up and an early end; how long anything takes is not asked."""

import pytest

from anomalib_lite.edge.running.timing import interleaved_ms


@pytest.mark.parametrize(("warm_up", "rounds"), [(0, 1), (1, 4), (3, 2)])
def test_calls_take_turns(warm_up, rounds):
    order, told = [], []
    calls = {name: (lambda name=name: order.append(name)) for name in "ab"}
    found = interleaved_ms(
        calls, rounds=rounds, warm_up=warm_up, progress=lambda *steps: told.append(steps)
    )
    assert order == ["a", "b"] * (warm_up + rounds)
    assert told == [(done + 1, warm_up + rounds) for done in range(warm_up + rounds)]
    assert list(found) == ["a", "b"]
    assert all(ms >= 0 for ms in found.values())


def test_two_rounds_are_timed_when_the_time_is_up():
    order = []
    interleaved_ms({"a": lambda: order.append(1)}, rounds=50, longest_s=0.0)
    assert len(order) == 1 + 2
