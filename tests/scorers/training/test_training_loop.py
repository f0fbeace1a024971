"""Budget, checkpoints, resuming and interruption, on a model of two numbers."""

import os
import signal

import numpy as np
import pytest
import torch
from interruptions import at_each_write
from torch import nn

from anomalib_lite.edge.errors import FitError, SettingsError
from anomalib_lite.scorers import FitContext
from anomalib_lite.scorers.training import loop as module
from anomalib_lite.scorers.training.loop import (
    Budget,
    Shuffled,
    Training,
    held_back,
    step_seed,
    train,
    train_steps,
)
from anomalib_lite.system.seeding import seeded


@pytest.fixture(autouse=True)
def ctrl_c_is_heard():
    """A shell that starts the suite in the background lets it ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Line(nn.Module):
    """y = a x + b."""

    def __init__(self):
        super().__init__()
        with seeded(3):
            self.line = nn.Linear(1, 1)


def lesson(optimiser="adam", *, identity=None, held_out=None, seen=None, **options):
    """A training whose steps draw their points from the number of the step."""
    line = Line()
    if optimiser == "adam":
        chosen = torch.optim.Adam(line.parameters(), lr=0.1, fused=True)
    else:
        chosen = torch.optim.SGD(line.parameters(), lr=0.1, momentum=0.9)

    def loss(step):
        if seen is not None:
            seen.append((step, chosen.param_groups[0]["lr"]))
        points = torch.randn(4, 1, generator=torch.Generator().manual_seed(step_seed(0, step, "x")))
        return (line.line(points) - (2 * points + 1)).square().mean()

    def error():
        with torch.no_grad():
            return float((line.line.weight - 2).square() + (line.line.bias - 1).square())

    return line, Training(
        line,
        chosen,
        loss,
        held_out or error,
        identity or {"settings": 1, "images": "a"},
        **options,
    )


def weights(line):
    return torch.cat([item.detach().flatten() for item in line.parameters()])


def test_a_training_ends_when_its_steps_are_spent_and_learns():
    line, task = lesson()
    state = train(task, Budget(steps=200), FitContext())
    assert (state.step, state.finished) == (200, True)
    assert weights(line) == pytest.approx([2, 1], abs=0.05)
    assert state.curve[-1][1] < 0.01 < state.curve[0][1]


@pytest.mark.parametrize(
    ("steps", "marks"),
    [
        (40, list(range(2, 41, 2))),
        (3, [1, 2, 3]),
        (1, [1]),
    ],
)
def test_the_held_out_loss_is_noted_at_each_twentieth_of_the_budget(steps, marks):
    state = train(lesson()[1], Budget(steps=steps), FitContext())
    assert [step for step, _ in state.curve] == marks


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ({}, [0.1] * 38 + [0.01] * 2),
        ({"schedule": lambda step, spent: 1 - spent}, [0.1 * (1 - k / 40) for k in range(40)]),
        ({"schedule": lambda step, spent: 1 / (1 + step)}, [0.1 / (1 + k) for k in range(40)]),
    ],
    ids=["a tenth in the last twentieth", "by the budget", "by the step"],
)
def test_the_learning_rate_follows_its_schedule(options, rates):
    seen = []
    train(lesson(seen=seen, **options)[1], Budget(steps=40), FitContext())
    assert [rate for _, rate in seen] == pytest.approx(rates)


def test_gradients_are_cut_to_a_length():
    (free, task), (cut, short) = lesson("sgd"), lesson("sgd", clip=0.01)
    before = weights(free)
    for training in (task, short):
        train(training, Budget(steps=1), FitContext())
    assert float((weights(free) - before).norm()) > 0.05
    assert float((weights(cut) - before).norm()) == pytest.approx(0.1 * 0.01, rel=1e-3)


@pytest.mark.parametrize("marks", [1, 4, 40])
def test_the_held_out_loss_is_noted_as_often_as_asked(marks):
    state = train(lesson(marks=marks)[1], Budget(steps=40), FitContext())
    assert [step for step, _ in state.curve] == list(range(40 // marks, 41, 40 // marks))


def test_a_training_whose_time_is_up_ends_after_a_step_and_goes_on():
    (whole, task), (part, again) = lesson(), lesson()
    train(task, Budget(steps=5), FitContext())
    state = train_steps(again, Budget(steps=5), until=0)
    assert (state.step, state.finished) == (1, False)
    state = train_steps(again, Budget(steps=5), state=state)
    assert (state.step, state.finished) == (5, True)
    assert torch.equal(weights(part), weights(whole))


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_a_training_killed_at_any_write_goes_on_to_the_same_bits(tmp_path, monkeypatch, optimiser):
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.0)
    whole, task = lesson(optimiser)
    expected = train(task, Budget(steps=9), FitContext())

    def begin(number):
        context = FitContext(checkpoint=tmp_path / str(number))
        train(lesson(optimiser)[1], Budget(steps=9), context)

    def go_on(number):
        line, task = lesson(optimiser)
        context = FitContext(checkpoint=tmp_path / str(number), resume=True)
        state = train(task, Budget(steps=9), context)
        assert torch.equal(weights(line), weights(whole))
        assert state.curve == expected.curve
        assert len(list((tmp_path / str(number)).iterdir())) == 1  # nothing half written is left

    assert at_each_write(monkeypatch, begin, go_on) == 10


def test_a_budget_of_minutes_ends_by_the_clock(monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(ticks)))
    state = train(lesson()[1], Budget(minutes=0.5), FitContext())
    assert state.finished
    assert 30 <= state.seconds < 34


def test_the_nearer_of_two_limits_counts():
    budget = Budget(steps=100, minutes=1)
    assert budget.spent(10, 30) == 0.5
    assert budget.spent(90, 30) == 0.9


@pytest.mark.parametrize(
    "limits",
    [{}, {"steps": 0}, {"steps": 1.5}, {"minutes": 0}, {"minutes": float("inf")}, {"steps": True}],
)
def test_a_budget_without_sense_is_refused(limits):
    with pytest.raises(SettingsError):
        Budget(**limits)


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("interrupted_at", [1, 7, 19])
def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path, optimiser, interrupted_at):
    whole, task = lesson(optimiser)
    expected = train(task, Budget(steps=20), FitContext())

    def stop(stage, done, total):
        if done == interrupted_at:
            os.kill(os.getpid(), signal.SIGINT)

    first, task = lesson(optimiser)
    state = train(task, Budget(steps=20), FitContext(progress=stop, checkpoint=tmp_path))
    assert (state.step, state.finished) == (interrupted_at, False)
    again, task = lesson(optimiser)
    state = train(task, Budget(steps=20), FitContext(checkpoint=tmp_path, resume=True))
    assert (state.step, state.finished) == (20, True)
    assert torch.equal(weights(again), weights(whole))
    assert not torch.equal(weights(first), weights(whole))
    assert state.curve == expected.curve


def interrupt(times):
    """A progress call-back that presses Ctrl-C so many times after the second step."""

    def press(stage, done, total):
        if done == 2:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)

    return press


def test_a_second_interruption_ends_the_program(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(lesson()[1], Budget(steps=20), FitContext(progress=interrupt(2), checkpoint=tmp_path))
    assert signal.getsignal(signal.SIGINT) is before


def test_without_a_checkpoint_the_first_interruption_ends_the_program():
    with pytest.raises(KeyboardInterrupt):
        train(lesson()[1], Budget(steps=20), FitContext(progress=interrupt(1)))


def test_the_handler_of_ctrl_c_is_given_back(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    train(lesson()[1], Budget(steps=2), FitContext(checkpoint=tmp_path))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_finished_training_is_not_trained_again(tmp_path):
    line, task = lesson()
    train(task, Budget(steps=5), FitContext(checkpoint=tmp_path))
    seen = []
    again, task = lesson(seen=seen)
    train(task, Budget(steps=5), FitContext(checkpoint=tmp_path, resume=True))
    assert seen == []
    assert torch.equal(weights(again), weights(line))


def test_without_resume_a_training_starts_from_the_beginning(tmp_path):
    train(lesson()[1], Budget(steps=5), FitContext(checkpoint=tmp_path))
    seen = []
    train(lesson(seen=seen)[1], Budget(steps=5), FitContext(checkpoint=tmp_path))
    assert [step for step, _ in seen] == [0, 1, 2, 3, 4]


def test_a_checkpoint_of_another_fit_is_refused(tmp_path):
    train(lesson()[1], Budget(steps=5), FitContext(checkpoint=tmp_path))
    other = lesson(identity={"settings": 2, "images": "a"})[1]
    with pytest.raises(FitError, match="another fit"):
        train(other, Budget(steps=5), FitContext(checkpoint=tmp_path, resume=True))


def test_the_same_fit_on_other_images_lies_beside(tmp_path):
    train(lesson()[1], Budget(steps=5), FitContext(checkpoint=tmp_path))
    other = lesson(identity={"settings": 1, "images": "b"})[1]
    state = train(other, Budget(steps=3), FitContext(checkpoint=tmp_path, resume=True))
    assert state.step == 3
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_named(tmp_path, damage):
    train(lesson()[1], Budget(steps=5), FitContext(checkpoint=tmp_path))
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-9] if damage is None else damage)
    with pytest.raises(FitError, match="damaged"):
        train(lesson()[1], Budget(steps=5), FitContext(checkpoint=tmp_path, resume=True))


def test_a_training_that_diverges_is_stopped():
    task = lesson(held_out=lambda: float("nan"))[1]
    with pytest.raises(FitError, match="diverged at step 1"):
        train(task, Budget(steps=5), FitContext())


def test_progress_carries_the_held_out_loss_as_a_remark():
    told = []
    context = FitContext(progress=lambda *line: told.append(line))
    train(lesson()[1], Budget(steps=2), context)
    assert [(stage.partition(" | ")[0], *rest) for stage, *rest in told] == [
        ("training, steps", 1, 2),
        ("training, steps", 2, 2),
    ]
    assert told[-1][0].partition(" | ")[2].startswith("held-out loss ")


def test_each_epoch_sees_each_image_once_in_another_order():
    order = Shuffled([3, 5, 8, 9], seed=1)
    epochs = [[order[4 * epoch + place] for place in range(4)] for epoch in range(6)]
    assert all(sorted(epoch) == [3, 5, 8, 9] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert [order[position] for position in (21, 2, 9)] == [
        epochs[5][1],
        epochs[0][2],
        epochs[2][1],
    ]


def test_seeds_of_steps_and_purposes_differ():
    seeds = {step_seed(s, k, p) for s in range(3) for k in range(50) for p in ("drop", "order")}
    assert len(seeds) == 300


def test_fresh_weights_leave_the_global_random_state_alone():
    before = torch.get_rng_state()
    with seeded(1):
        first = nn.Linear(3, 3).weight.clone()
    with seeded(1):
        assert torch.equal(nn.Linear(3, 3).weight, first)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("count", "kept"), [(2, 1), (9, 1), (20, 2), (200, 20)])
def test_a_share_of_the_images_is_held_back(count, kept):
    trained, held = held_back(range(count), 0.1, seed=0)
    assert len(held) == kept
    assert sorted([*trained, *held]) == list(range(count))


def test_one_image_cannot_be_divided():
    with pytest.raises(FitError, match="at least 2"):
        held_back(np.array([4]), 0.1, seed=0)
