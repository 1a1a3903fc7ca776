"""Hands by name or file, each with its bank of poses; and the hand that a dataset shows, found by its digest."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from handsynth.core.errors import AssetError, UsageError
from handsynth.core.hand import HandModel, load_hand
from handsynth.core.locations import EMBEDDED_HAND, EMBEDDED_POSES, assets_dir, mano_hand, poses_beside
from handsynth.core.poses import PoseBank, load_poses, toy_bank
from handsynth.core.toy import toy_hand

NAMES = ("auto", "mano", "embedded", "toy")
"""What is no file: MANO where it is prepared and else the embedded hand, and each of the three by its name."""


def open_hand(name: str = "auto", assets: Path | None = None) -> HandModel:
    """A hand by name, or a prepared `.npz`. `assets` is the user's asset folder, `assets_dir()` if None.

    Raises AssetError saying what to type when it is not here.
    """
    path = _file(name, assets)
    return load_hand(path) if path else toy_hand()


def open_poses(name: str = "auto", assets: Path | None = None) -> PoseBank:
    """The poses that go with that hand: those beside its file; the embedded ones where a file brings none."""
    path = _file(name, assets)
    if path is None:
        return toy_bank()
    beside = poses_beside(path)
    return load_poses(beside if name in NAMES or os.path.exists(beside) else EMBEDDED_POSES)


def _file(name: str, assets: Path | None) -> Path | None:
    """The hand's file; None for the toy hand, which has none."""
    mano = mano_hand(assets_dir() if assets is None else assets)
    if name == "toy":
        return None
    if name == "embedded" or (name == "auto" and not os.path.exists(mano)):
        return EMBEDDED_HAND
    if name in ("mano", "auto"):
        if not os.path.exists(mano):
            raise AssetError(
                f"MANO is not prepared: looked for {mano}. Register at mano.is.tue.mpg.de (non-commercial research), download "
                "mano_v1_2.zip, then: handsynth assets prepare --mano mano_v1_2.zip. Without it: --hand embedded"
            )
        return mano
    path = Path(name)
    if not os.path.exists(path):
        raise AssetError(f"no hand is called {name!r} and no such file exists: use {', '.join(NAMES)} or a prepared .npz")
    return path


def find_hand(index: dict[str, Any], where: object, file: Path | None = None, assets: Path | None = None) -> HandModel:
    """The hand model of a dataset.

    Args:
        index: the dataset's `index.json`.
        where: the dataset, for messages.
        file: a prepared hand; None looks at the embedded hand, MANO in `assets`, the toy hand and the file that the dataset was
            made with, if it lies where it lay then.
        assets: the user's asset folder, `assets_dir()` if None.

    Raises AssetError when none has the dataset's digest, UsageError when `file` is another hand.
    """
    digest, name = index["assets"].get("hand"), index.get("hand")
    if file is not None:
        hand = load_hand(file)
        if hand.digest != digest:
            raise UsageError(f"{file} ({hand.name!r}) is not the hand that {where} shows ({name!r}): give that one with --hand")
        return hand
    made_with = index["spec"].get("hand")
    own = made_with if isinstance(made_with, str) and made_with not in NAMES else None
    for hand in _hands_here(own, assets):
        if hand.digest == digest:
            return hand
    what = f"the hand {name!r}{f' of {own}' if own else ''}"
    also = " (MANO: handsynth assets prepare --mano mano_v1_2.zip)" if name == "mano" else ""
    raise AssetError(f"{where} shows {what}, which is not prepared on this machine: give its .npz with --hand{also}")


def _hands_here(own: str | None, assets: Path | None) -> Iterator[HandModel]:
    """The hands of this machine that can be read; a dataset's own file last."""
    for name in ("embedded", "mano", "toy", *([own] if own else [])):
        with contextlib.suppress(AssetError):
            yield open_hand(name, assets)
