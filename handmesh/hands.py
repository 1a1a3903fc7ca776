"""Which hand a dataset shows: found by its digest among the hands prepared on this machine."""

import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import platformdirs

from handsynth.core.errors import AssetError, UsageError
from handsynth.core.hand import HandModel, load_hand
from handsynth.core.toy import toy_hand

_EMBEDDED = resources.files("handsynth") / "assets" / "embedded" / "hand.npz"


def find_hand(index: dict[str, Any], folder: Path, file: Path | None = None) -> HandModel:
    """The hand model of a dataset.

    Args:
        index: the dataset's `index.json`.
        folder: the dataset's, for messages.
        file: a prepared hand (`handsynth assets prepare` writes it); None looks through the prepared MANO hand in
            $HANDSYNTH_ASSETS or the user data folder, the embedded hand and the toy hand.

    Raises AssetError when none has the dataset's digest, UsageError when `file` is another hand.
    """
    digest, name = index["assets"].get("hand"), index.get("hand")
    if file is not None:
        hand = load_hand(file)
        if hand.digest != digest:
            raise UsageError(f"{file} ({hand.name!r}) is not the hand that {folder} shows ({name!r}): leave out --hand")
        return hand
    for hand in _prepared_hands():
        if hand.digest == digest:
            return hand
    raise AssetError(
        f"{folder} shows the hand {name!r}, which is not prepared on this machine: give its .npz with --hand "
        "(for MANO: handsynth assets prepare --mano mano_v1_2.zip)"
    )


def prepared_mano() -> Path:
    """Where `handsynth assets prepare` writes MANO's hand, with its poses beside it."""
    return Path(os.environ.get("HANDSYNTH_ASSETS") or platformdirs.user_data_dir("handsynth")) / "mano" / "hand.npz"


def embedded_hand() -> HandModel:
    """The hand that comes with the generator, used when no other is requested."""
    with resources.as_file(_EMBEDDED) as path:
        return load_hand(path)


def _prepared_hands() -> Iterator[HandModel]:
    """The generator's own places, in its own order (`handsynth.assets.library`); their files are data, not its code."""
    with resources.as_file(_EMBEDDED) as embedded:
        for path in (embedded, prepared_mano()):
            if path.exists():
                yield load_hand(path)
    yield toy_hand()
