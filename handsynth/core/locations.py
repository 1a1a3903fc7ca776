"""Where assets and the cache lie on disk, for both programs: embedded files, the user's prepared assets, what can be made again."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs

from handsynth.core.errors import AssetError

EMBEDDED = Path(__file__).parents[1] / "assets" / "embedded"
"""Folder of the freely licensed stand-ins that ship with the package."""

EMBEDDED_HAND, EMBEDDED_POSES, EMBEDDED_HOLDINGS = (EMBEDDED / name for name in ("hand.npz", "poses.npz", "holdings.npz"))

ASSETS_VARIABLE, CACHE_VARIABLE = "HANDSYNTH_ASSETS", "HANDSYNTH_CACHE"

NOWHERE = Path(os.devnull) / "no-home-folder"
"""Stands for the folders of a user without a home: nothing lies in it and nothing can be written to it."""


def assets_dir() -> Path:
    """Folder of the user's prepared assets: $HANDSYNTH_ASSETS, else the user data folder of the platform, else NOWHERE."""
    return _user_folder(ASSETS_VARIABLE, platformdirs.user_data_dir)


def cache_dir() -> Path:
    """Folder of what can be made again: $HANDSYNTH_CACHE, else the user cache folder of the platform, else NOWHERE."""
    return _user_folder(CACHE_VARIABLE, platformdirs.user_cache_dir)


def _user_folder(variable: str, of_platform: Callable[[str], str]) -> Path:
    given = os.environ.get(variable)
    if given:
        return Path(given)
    try:
        return Path(of_platform("handsynth"))
    except RuntimeError:  # neither HOME nor an entry in passwd, as for a container's user who is only a number
        return NOWHERE


def mano_hand(assets: Path) -> Path:
    """Where `handsynth assets prepare` writes MANO's hand; its poses lie beside it, see `poses_beside`."""
    return assets / "mano" / "hand.npz"


def html_skin(assets: Path) -> Path:
    """Where `handsynth assets prepare` writes HTML's skin."""
    return assets / "html" / "skin.npz"


def poses_beside(hand: Path) -> Path:
    """Where the bank of poses of a hand's file lies, if it has one of its own."""
    return hand.with_name("poses.npz")


def check_cache() -> None:
    """Raises AssetError naming HANDSYNTH_CACHE when nothing can be written to the cache: to be called before long work for it."""
    _check_writable(cache_dir(), cache_error)


def check_assets_dir(assets: Path) -> None:
    """Raises AssetError naming HANDSYNTH_ASSETS when nothing can be written to this folder of prepared assets."""
    advice = f"give --assets, or set {ASSETS_VARIABLE} to, a folder that can be written to"
    _check_writable(assets, lambda error: _unwritable(assets, "the asset folder", advice, error))


def cache_error(error: OSError) -> AssetError:
    """What to say of an error of the cache's disk."""
    return _unwritable(cache_dir(), "the cache", f"set {CACHE_VARIABLE} to a folder with 300 MB free", error)


def _check_writable(folder: Path, blame: Callable[[OSError], AssetError]) -> None:
    """Makes a folder, and writes to it for a moment."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise blame(error) from None


def _unwritable(folder: Path, what: str, advice: str, error: OSError) -> AssetError:
    if NOWHERE in (folder, *folder.parents):
        return AssetError(f"there is no home folder for {what}: {advice}")
    return AssetError(f"{what} {folder} cannot be written to ({error.strerror or error}): {advice}")
