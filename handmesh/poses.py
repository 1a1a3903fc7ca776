"""A hand and the bank of poses that goes with it, found by name or by path as the generator finds them."""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from handmesh.hands import prepared_mano
from handsynth.core.arrays import read_arrays
from handsynth.core.errors import AssetError
from handsynth.core.hand import HandModel, load_hand
from handsynth.core.toy import toy_hand, toy_poses


@dataclass(frozen=True, eq=False)
class Poses:
    """N poses of the 15 finger joints."""

    theta: np.ndarray  # (N, 15, 3) axis-angle relative to the flat hand [rad], MANO's joint order
    names: tuple[str, ...]  # (N,) what each is, for people

    @property
    def digest(self) -> str:
        """SHA-256 over the angles."""
        return hashlib.sha256(np.round(self.theta, 6).astype("<f8").tobytes()).hexdigest()

    def rows(self, chosen: np.ndarray) -> "Poses":
        """The poses of those rows."""
        return Poses(self.theta[chosen], tuple(self.names[k] for k in chosen))


def open_hand(name: str) -> tuple[HandModel, Path | None]:
    """A hand by name, and the poses that lie with it (None: the toy hand's own).

    Args:
        name: "auto" (MANO where it is prepared, else embedded), "mano", "embedded", "toy", or a prepared .npz.

    Raises AssetError when it is not here.
    """
    if name == "toy":
        return toy_hand(), None
    mano, embedded = prepared_mano(), Path(str(resources.files("handsynth"))) / "assets" / "embedded"
    if name == "auto":
        name = "mano" if mano.exists() else "embedded"
    if name == "mano" and not mano.exists():
        raise AssetError(f"MANO is not prepared: looked for {mano} (handsynth assets prepare --mano mano_v1_2.zip)")
    file = {"mano": mano, "embedded": embedded / "hand.npz"}.get(name, Path(name))
    if not file.exists():
        raise AssetError(f"no hand is called {name!r} and no such file exists: use auto, mano, embedded, toy or a prepared .npz")
    beside = file.with_name("poses.npz")
    return load_hand(file), beside if beside.exists() else embedded / "poses.npz"


def load_poses(path: Path | None) -> Poses:
    """A bank's `.npz` with `theta` and `names`; None gives the toy hand's poses. Raises AssetError when it is not a bank."""
    if path is None:
        theta = toy_poses()
        return Poses(theta, tuple(f"toy {k}" for k in range(len(theta))))
    found = read_arrays(path, ("theta", "names"), "a pose bank")
    theta, names = found["theta"], found["names"]
    if theta.dtype.kind != "f" or theta.ndim != 3 or theta.shape[1:] != (15, 3) or names.shape != theta.shape[:1]:
        raise AssetError(f"{path}: theta has shape {theta.shape} for {len(names.ravel())} names, expected (N, 15, 3) and N")
    if not np.isfinite(theta).all() or np.abs(theta).max(initial=0) > 2 * np.pi:
        raise AssetError(f"{path}: theta holds NaN, or angles beyond a full turn (are they in degrees?)")
    return Poses(theta.astype(np.float64), tuple(str(name) for name in names))


def split_poses(poses: Poses, every: int = 10) -> tuple[Poses, Poses]:
    """Poses to train on and to validate on: every tenth gesture is held out, all its variants together ("fist 1", "fist 2", ...).

    Raises AssetError when there is only one pose.
    """
    stems = [re.sub(r"[\s_]*\d+$", "", name) for name in poses.names]
    sizes = Counter(stems)
    # A stem that a tenth of the bank shares is a way to count poses ("random 17"), no gesture.
    gestures = [stem if sizes[stem] < len(stems) / every else name for stem, name in zip(stems, poses.names, strict=True)]
    order = list(dict.fromkeys(gestures))
    if len(order) < 2:
        raise AssetError("the pose bank holds one pose, none is left to validate on: give another with --poses")
    held = set(order[every // 2 :: every] or order[-1:])
    kept = np.array([gesture in held for gesture in gestures])
    return poses.rows(np.flatnonzero(~kept)), poses.rows(np.flatnonzero(kept))
