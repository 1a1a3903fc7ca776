"""Selections: which indices `--samples` and `--indices` mean."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from handsynth.core.errors import UsageError
from handsynth.dataset.selection import Selection, Shards, parse_selection

HUGE = 999_999_999


@pytest.mark.parametrize(
    "selection", [Selection(), Selection(samples=7), *(Selection(slice_text=t) for t in ("0:10", ":", "5:", ":9:2", "1:9:3"))]
)
def test_text_and_back(selection):
    """What an index records of a selection selects the same samples again."""
    again = parse_selection(str(selection))
    assert str(again) == str(selection)
    assert again.indices(100) == selection.indices(100)


@pytest.mark.parametrize(("samples", "total"), [(1, 1), (1, 71424), (7, 100), (100, 100), (256, 57280), (99, 100)])
def test_samples_spread_evenly(samples, total):
    """N of M samples: N different ones, ascending from 0, whose gaps differ by at most one."""
    indices = Selection(samples=samples).indices(total)
    assert len(indices) == samples
    assert indices[0] == 0
    assert indices[-1] < total
    gaps = np.diff([*indices, total])
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("text", ["0:71424:557", "3:11", ":5", "71000:", "::70000", "5:6"])
def test_a_slice_means_what_python_means(text):
    """A:B:STEP selects what Python's slice selects."""
    parts = [int(p) if p else None for p in text.split(":")]
    assert list(Selection(slice_text=text).indices(71424)) == list(range(71424))[slice(*parts)]


@pytest.mark.parametrize("selection", [Selection(), Selection(samples=HUGE - 1), Selection(slice_text="1::1")])
def test_a_selection_of_a_huge_spec_costs_no_memory(selection):
    """Length, members, shards and what a worker is sent of them are computed: none is listed."""
    indices = selection.indices(HUGE)
    assert len(indices) >= HUGE - 1
    assert indices[-1] in (HUGE - 1, HUGE - 2)
    assert len(pickle.dumps(indices)) < 500
    shards = Shards(indices, 512)
    assert len(shards) == 1_953_125
    assert shards[-1][-1] == indices[-1]
    assert list(shards[1_000_000]) == [indices[k] for k in range(512_000_000, 512_000_512)]
    assert len(pickle.dumps(shards[7])) < 500


@pytest.mark.parametrize(("samples", "size"), [(1, 1), (100, 7), (57, 8), (64, 8), (64, 100)])
def test_even_samples_slice_and_shard_like_a_list(samples, size):
    """What is computed on request is the list that it stands for, whole, sliced, sliced again and in shards."""
    indices = Selection(samples=samples).indices(100)
    listed = [k * 100 // samples for k in range(samples)]
    assert list(indices) == listed
    for part in (slice(3, 20), slice(None, None, 7), slice(-4, None), slice(50, 2)):
        assert list(indices[part]) == listed[part]
        assert list(indices[part][1:3]) == listed[part][1:3]
    with pytest.raises(IndexError):
        indices[samples]
    assert [list(shard) for shard in Shards(indices, size)] == [listed[k : k + size] for k in range(0, samples, size)]


LIMITED = """
import resource, sys
from handsynth.cli.main import main
import handsynth.dataset.plan, handsynth.recipe.spec
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20), used + (200 << 20)))
main()
"""


@pytest.mark.parametrize("options", [[], ["--samples", HUGE - 1], ["--indices", "0:999999999:2"]])
def test_a_huge_spec_is_planned_in_little_memory(tmp_path, options):
    """`handsynth plan` of a spec of 999,999,999 samples answers within 200 MB more than it takes to start."""
    (tmp_path / "big.yaml").write_text(f"name: big\nsamples: {HUGE}\n")
    command = [sys.executable, "-c", LIMITED, "plan", tmp_path / "big.yaml", "--json", *options]
    found = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=os.environ, check=False)
    assert found.returncode == 0, found.stderr
    assert f'"samples": {(HUGE + 1) // 2 if "0:999999999:2" in options else HUGE - bool(options)}' in found.stdout


@pytest.mark.parametrize("text", ["5", "a:b", "1:2:3:4", "-1:5", "0:-1", "0:5:0", "0:5:-1", "", "1.5:3", "0x1:3", "0:10 --jobs"])
def test_a_malformed_slice_says_the_form(text):
    with pytest.raises(UsageError, match="A:B or A:B:STEP"):
        Selection(slice_text=text)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(samples=101), "--samples 101 is more than the spec's 100"),
        (Selection(slice_text="0:101"), "--indices 0:101 goes beyond the spec's 100 samples"),
        (Selection(slice_text="7:7"), "selects nothing"),
        (Selection(slice_text="100:"), "selects nothing"),
    ],
)
def test_a_selection_that_does_not_fit_is_refused(selection, message):
    with pytest.raises(UsageError, match=message):
        selection.indices(100)


@pytest.mark.parametrize(("samples", "text"), [(3, "0:5"), (0, None), (-1, None)])
def test_samples_and_indices_exclude_each_other_and_count_from_one(samples, text):
    with pytest.raises(UsageError, match="--samples"):
        Selection(samples=samples, slice_text=text)
