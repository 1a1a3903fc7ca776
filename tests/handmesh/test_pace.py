"""Trainings that fit into minutes: they end in time, at a rate of zero, whatever a step takes and however often they are killed."""

import dataclasses
import types

import pytest
import torch

from handmesh.run_files import WEIGHTS
from handmesh.settings.mesh import TrainSpec, load_preset
from handmesh.training import pace as module
from handmesh.training.loop import HowRun, train_mesh
from handmesh.training.pace import PLAN_EVERY, Pace
from handmesh.training.progress import Progress
from handmesh.training.ranks import Ranks
from handmesh.training.step import Step

ALONE = Ranks(0, 1, torch.device("cpu"))
SPEC = TrainSpec(minutes=10, epochs=3, lr=1.0, schedule="linear")


@pytest.fixture
def clock(monkeypatch) -> types.SimpleNamespace:
    """A clock that stands still unless it is moved."""
    clock = types.SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def walk(pace: Pace, clock: types.SimpleNamespace, step_s, until: int = 10**9) -> list[float]:
    """Steps until the time is over, or until that many are done -> their rates."""
    rates, progress = [], pace.progress
    while pace.goes_on and progress.steps_done < until:
        rates.append(pace.rate(progress.steps_done, 100))
        clock.now += step_s(progress.steps_done)
        progress.steps_done += 1
        pace.stepped()
    return rates


@pytest.mark.parametrize(
    "step_s",
    [
        lambda k: 2.0,
        lambda k: 0.01,
        lambda k: 30.0 if k < 3 else 1.0,
        lambda k: 1.0 if k < 200 else 4.0,
        lambda k: 4.0 if k < 60 else 0.5,
    ],
    ids=["even", "quick", "slow start", "slows down", "speeds up"],
)  # fmt: skip
def test_ends_in_time_and_at_zero(clock, step_s):
    """600 s less the last validation are used to 5 %, the rate never rises by more than a plan's error, and ends near zero."""
    began, pace = clock.now, Pace(SPEC, Progress(), ALONE, 10)
    pace.validated(20.0)
    rates = walk(pace, clock, step_s)
    assert 0.95 * 580 <= clock.now - began <= 580 + 2 * step_s(10**6)
    assert rates[0] == 1
    assert rates[-1] < 0.02
    assert all(later < 0.6 for later in rates[-len(rates) // 4 :])


def test_a_killed_run_goes_on_with_the_rest(clock):
    """Time of a process that was killed after a checkpoint counts up to that; the schedule goes on where it was."""
    progress = Progress()
    first = Pace(SPEC, progress, ALONE, 0)
    before = walk(first, clock, lambda k: 2.0, until=150)
    first.note()
    assert progress.seconds == 300
    clock.now += 10_000  # nothing runs
    began, second = clock.now, Pace(SPEC, Progress(**dataclasses.asdict(progress)), ALONE, 0)
    after = walk(second, clock, lambda k: 2.0)
    assert clock.now - began == pytest.approx(300, abs=4)
    assert after[0] == pytest.approx(before[-1], abs=0.02)
    assert after[-1] < 0.02
    assert not Pace(SPEC, second.progress, ALONE, 0).goes_on


def test_a_gpu_that_chooses_its_kernels_first_loses_no_minutes(clock, monkeypatch):
    """A minute of training is one, though the steps before the recorded one took longer; and so when it goes on."""
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    spec, on_gpu = dataclasses.replace(SPEC, minutes=1), Ranks(0, 1, torch.device("cuda"))
    progress = Progress()

    def step_s(k: int) -> float:
        return 20.0 if k - start < 3 else 0.04

    start = 0
    walk(first := Pace(spec, progress, on_gpu, 0), clock, step_s, until=750)
    first.note()
    assert progress.seconds == pytest.approx(30, abs=1)
    start = 750
    rates = walk(Pace(spec, progress, on_gpu, 0), clock, step_s)
    assert progress.steps_done == pytest.approx(1500, abs=30)
    assert rates[-1] < 0.02


def test_epochs_decide_without_minutes(clock):
    progress = Progress()
    pace = Pace(dataclasses.replace(SPEC, minutes=0.0), progress, ALONE, 0)
    for _ in range(2 * PLAN_EVERY):
        clock.now += 1e6
        assert pace.stepped()
    pace.note()
    assert (progress.seconds, progress.planned) == (0, 0)
    assert pace.rate(150, 100) == pytest.approx(0.5)
    progress.epoch = 3
    assert not pace.goes_on


def test_trainings_fit_into_minutes(clock, hand_shards, tmp_path, monkeypatch):
    """A training of a minute whose steps take a second: about 60 steps over several epochs, killed once, and weights at the end."""
    call = Step.__call__

    def second(self, *arguments):
        if clock.now == clock.dies_at:
            raise KeyboardInterrupt
        clock.now += 1
        call(self, *arguments)

    clock.dies_at = clock.now + 25
    monkeypatch.setattr(Step, "__call__", second)
    spec = dataclasses.replace(load_preset("demo"), minutes=1.0, batch=4, pretrained=False, side=32)
    run = (spec, [str(hand_shards)], [str(hand_shards)], tmp_path / "run", "cpu")
    with pytest.raises(KeyboardInterrupt):
        train_mesh(*run, HowRun(workers=0, checkpoint_every=2))
    clock.dies_at = -1
    done = train_mesh(*run, HowRun(workers=0, checkpoint_every=2, resume=True))
    assert "PA-MPJPE" in done
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    last = dict(zip(rows[0].split(","), map(float, rows[-1].split(",")), strict=True))
    assert 52 <= last["steps"] <= 62
    assert last["epoch"] == len(rows) - 1 >= 15
    assert last["lr"] < 0.05 * spec.lr
    assert (tmp_path / "run" / WEIGHTS).exists()
    assert (tmp_path / "run" / "validation.png").exists()
    assert "nothing was left to do" not in done
    again = train_mesh(*run, HowRun(workers=0, resume=True))
    assert f"{last['epoch']:.0f} epochs" in again
