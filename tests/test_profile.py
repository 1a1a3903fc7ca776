"""The profile: every moment of making a shard is charged to one stage, and a dataset made with it has the same bytes."""

import itertools
import json
import time
from collections.abc import Iterator

import pytest
from distributed import LocalCluster
from tiny import dataset_bytes
from tiny import handsynth as run_handsynth

from handsynth.dataset.generate import RunConfig
from handsynth.profile import OFF, STAGES, START, Profile


@pytest.fixture
def ticking(monkeypatch) -> None:
    """Clocks that go on by one second with each look: CPU and wall alike."""
    for clock in ("process_time", "perf_counter"):
        monkeypatch.setattr(time, clock, itertools.count().__next__)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
        yield cluster.scheduler_address


@pytest.mark.usefixtures("ticking")
def test_an_inner_stage_stops_the_outer_clock():
    """Seconds by stage, counted by hand: write - recipe - write - render - pose - render - write."""
    profile = Profile()
    with profile.stage("write"):
        with profile.stage("recipe"):
            pass
        with pytest.raises(RuntimeError), profile.stage("render"), profile.stage("pose"):
            raise RuntimeError
    expected = dict.fromkeys((*STAGES, START), 0) | {"write": 3, "recipe": 1, "render": 2, "pose": 1}
    assert profile.cpu_s == profile.wall_s == expected


def test_profiles_add_up_and_shares_too():
    """Sums over workers, start-up apart; shares of the named stages sum to one."""
    total = Profile()
    for worker in (1, 2):
        one = Profile()
        one.samples = 10 * worker
        one.cpu_s |= {stage: worker * (k + 1) for k, stage in enumerate(STAGES)} | {START: 7}
        total.add(one)
    assert (total.samples, total.cpu_s["pose"], total.cpu_s[START]) == (30, 6, 14)
    rows = total.rows()
    assert [row["stage"] for row in rows] == list(STAGES)
    assert sum(row["cpu_share"] for row in rows) == pytest.approx(1)
    found = total.summary()
    seconds = sum(3 * (k + 1) for k in range(len(STAGES)))
    assert found["cpu_ms_per_sample"] == pytest.approx(1e3 * seconds / 30)
    assert found["samples_per_cpu_s"] == pytest.approx(30 / seconds)


def test_off_times_nothing():
    with OFF.stage("render"), OFF.stage("pose"):
        pass
    assert not any((*OFF.cpu_s.values(), *OFF.wall_s.values()))
    assert list(OFF.lines()) == ["no sample was made now: there is nothing to profile"]


@pytest.mark.parametrize("way", ["one job", "two jobs", "dask"])
def test_a_profiled_dataset_has_the_same_bytes(way, tiny_world, tmp_path, request):
    """Every stage took time in each kind of worker, all samples are counted, and no byte differs from a run without."""
    tiny_world.generate(tmp_path / "plain")
    scheduler = request.getfixturevalue("cluster") if way == "dask" else None
    run = RunConfig(jobs=2 if way == "two jobs" else 1, scheduler=scheduler, profile=True)
    found = tiny_world.generate(tmp_path / "profiled", run=run)["profile"]
    assert dataset_bytes(tmp_path / "profiled") == dataset_bytes(tmp_path / "plain")
    assert found.samples == 12
    assert all(found.wall_s[stage] > 0 for stage in STAGES)
    assert sum(row["cpu_share"] for row in found.rows()) == pytest.approx(1)


@pytest.mark.parametrize("renderer", ["moderngl", "pyrender"])
def test_the_command_prints_the_table(renderer, tiny_world, tmp_path):
    """`generate --profile`: a line for each stage, their sum, the rate; the same as JSON; and nothing made, nothing to tell."""
    options = ("generate", tiny_world.spec_path, tmp_path / "out", "--samples", 6, "--assets", tiny_world.assets, "--profile")
    options += ("--renderer", renderer)
    lines = run_handsynth(*options).stdout.splitlines()
    assert [line.split()[0] for line in lines[2:-1]] == [*STAGES, "sum"]
    assert "samples per CPU second" in lines[-1]
    assert run_handsynth(*options).stdout.splitlines()[1:] == list(OFF.lines())
    found = json.loads(run_handsynth(*options[:2], tmp_path / "json", *options[3:], "--json").stdout)["profile"]
    assert found["samples"] == 6
    assert [row["stage"] for row in found["stages"]] == list(STAGES)
    assert found["cpu_ms_per_sample"] == pytest.approx(sum(row["cpu_ms_per_sample"] for row in found["stages"]))
