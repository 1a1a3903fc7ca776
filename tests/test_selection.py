"""Selections: which indices `--samples` and `--indices` mean."""

import numpy as np
import pytest

from handsynth.core.errors import UsageError
from handsynth.dataset.selection import Selection, parse_selection


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
    assert Selection(slice_text=text).indices(71424) == list(range(71424))[slice(*parts)]


def test_a_slice_of_a_huge_spec_costs_no_memory_for_the_rest():
    """Only the selected indices are ever listed."""
    assert Selection(slice_text="999999990:").indices(999_999_999) == list(range(999_999_990, 999_999_999))


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
