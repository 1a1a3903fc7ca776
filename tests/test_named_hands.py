"""Hands by name, file and digest: the same for both programs, and never a wrong one in silence."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handsynth.core.errors import AssetError, UsageError
from handsynth.core.hand import HandModel, save_hand
from handsynth.core.locations import EMBEDDED_HAND, EMBEDDED_POSES, assets_dir, mano_hand
from handsynth.core.named_hands import find_hand, open_hand, open_poses
from handsynth.core.poses import load_poses, save_poses, toy_bank
from handsynth.core.toy import toy_hand


@pytest.fixture
def mine() -> HandModel:
    """A hand that is none of the known ones."""
    return dataclasses.replace(toy_hand(), name="mine", v_template=toy_hand().v_template * 1.01)


def index_of(hand: HandModel, made_with: str = "auto") -> dict[str, Any]:
    return {"assets": {"hand": hand.digest}, "hand": hand.name, "spec": {"hand": made_with}}


def test_names_lead_to_hands_and_their_poses(tmp_path, mine):
    """auto is MANO once it is prepared; a file brings the poses beside it, or else the embedded ones."""
    assert open_hand("auto", tmp_path).digest == open_hand("embedded", tmp_path).digest
    assert open_poses("auto", tmp_path).digest == load_poses(EMBEDDED_POSES).digest
    assert open_hand("toy").digest == toy_hand().digest
    assert open_poses("toy").digest == toy_bank().digest
    mano_hand(tmp_path).parent.mkdir()
    save_hand(mano_hand(tmp_path), mine)
    for name in ("auto", "mano", str(mano_hand(tmp_path))):
        assert open_hand(name, tmp_path).name == "mine"
    assert open_poses(str(mano_hand(tmp_path)), tmp_path).digest == load_poses(EMBEDDED_POSES).digest
    with pytest.raises(AssetError, match=r"poses\.npz does not exist"):  # MANO's own are a part of a dataset's identity
        open_poses("auto", tmp_path)
    save_poses(mano_hand(tmp_path).with_name("poses.npz"), toy_bank().rows(np.array([0, 2])))
    for name in ("auto", "mano", str(mano_hand(tmp_path))):
        assert open_poses(name, tmp_path).names == ("toy 0", "toy 2")


def test_hands_that_are_not_here_say_what_to_type(tmp_path):
    with pytest.raises(AssetError, match=r"MANO is not prepared: looked for .*handsynth assets prepare --mano"):
        open_hand("mano", tmp_path)
    with pytest.raises(AssetError, match=r"no hand is called 'foot' .*use auto, mano, embedded, toy or a prepared"):
        open_hand("foot", tmp_path)


@pytest.mark.parametrize("name", ["toy", "embedded"])
def test_a_datasets_hand_is_found_by_its_digest(tmp_path, name):
    """Whatever the dataset calls it; a prepared MANO that is damaged is in nobody's way."""
    mano_hand(tmp_path).parent.mkdir()
    mano_hand(tmp_path).write_bytes(b"damaged")
    hand = open_hand(name)
    assert find_hand(index_of(hand, "no such name"), "OUT", assets=tmp_path).digest == hand.digest
    assert find_hand(index_of(hand), "OUT", EMBEDDED_HAND if name == "embedded" else _saved(tmp_path, hand)).digest == hand.digest


def _saved(folder: Path, hand: HandModel) -> Path:
    save_hand(folder / "saved.npz", hand)
    return folder / "saved.npz"


def test_a_hand_by_file_is_found_where_it_was_and_missed_by_name(tmp_path, mine):
    """A dataset of --hand FILE: its file is looked at; gone or replaced, the message names it and --hand, not MANO."""
    path = _saved(tmp_path, mine)
    index = index_of(mine, str(path))
    assert find_hand(index, "OUT").digest == mine.digest
    for gone in (False, True):
        path.unlink() if gone else save_hand(path, toy_hand())
        with pytest.raises(AssetError, match=r"the hand 'mine' of .*saved\.npz, which .* give its \.npz with --hand$"):
            find_hand(index, "OUT")
    with pytest.raises(AssetError, match="handsynth assets prepare --mano"):
        find_hand(index | {"hand": "mano"}, "OUT")
    with pytest.raises(UsageError, match=r"saved\.npz \('toy'\) is not the hand that OUT shows \('mine'\)"):
        find_hand(index, "OUT", _saved(tmp_path, toy_hand()))


def test_both_programs_look_in_one_place(tmp_path, monkeypatch, mine):
    """Without an asset folder it is the user's."""
    monkeypatch.setenv("HANDSYNTH_ASSETS", str(tmp_path))
    assert assets_dir() == tmp_path
    mano_hand(tmp_path).parent.mkdir()
    save_hand(mano_hand(tmp_path), mine)
    assert open_hand().digest == mine.digest
    assert find_hand(index_of(mine), "OUT").digest == mine.digest
