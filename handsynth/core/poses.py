"""The pose bank: finger angles of many natural poses, which recipes and the training of IK nets draw from."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handsynth.core.arrays import read_arrays
from handsynth.core.errors import AssetError
from handsynth.core.toy import toy_poses


@dataclass(frozen=True, eq=False)
class PoseBank:
    """N poses of the 15 finger joints."""

    theta: np.ndarray  # (N, 15, 3) float64 axis-angle relative to the flat hand [rad], MANO's joint order
    names: tuple[str, ...]  # (N,) what each pose is, for people

    def __post_init__(self) -> None:
        """Raises AssetError when the arrays cannot be a pose bank."""
        if self.theta.ndim != 3 or self.theta.shape[1:] != (15, 3) or len(self.theta) == 0:
            raise AssetError(f"pose bank: theta has shape {self.theta.shape}, expected (N, 15, 3)")
        if not np.isfinite(self.theta).all() or np.abs(self.theta).max() > 2 * np.pi:
            raise AssetError("pose bank: theta holds NaN, or angles beyond a full turn (are they in degrees?)")
        if len(self.names) != len(self.theta):
            raise AssetError(f"pose bank: {len(self.names)} names for {len(self.theta)} poses")

    @property
    def digest(self) -> str:
        """SHA-256 over the angles, rounded as recipes round them."""
        return hashlib.sha256(np.round(self.theta, 6).astype("<f8").tobytes()).hexdigest()

    def rows(self, chosen: np.ndarray) -> "PoseBank":
        """The poses of those rows."""
        return PoseBank(self.theta[chosen], tuple(self.names[k] for k in chosen))


def load_poses(path: Path) -> PoseBank:
    """Reads a plain `.npz` with `theta` (N, 15, 3) and `names` (N,). Raises AssetError naming it when it is not a pose bank."""
    found = read_arrays(path, ("theta", "names"), "a pose bank")
    theta, names = found["theta"], found["names"]
    if theta.dtype.kind != "f" or names.ndim != 1:
        raise AssetError(f"{path}: theta must hold floats and names must be a list")
    try:
        return PoseBank(theta.astype(np.float64), tuple(str(n) for n in names))
    except AssetError as error:
        raise AssetError(f"{path}: {error}") from None


def save_poses(path: Path, bank: PoseBank) -> None:
    """Writes the bank as a compressed `.npz` (float32)."""
    np.savez_compressed(path, theta=bank.theta.astype(np.float32), names=np.array(bank.names))


def toy_bank() -> PoseBank:
    """The toy hand's poses."""
    theta = toy_poses()
    return PoseBank(theta, tuple(f"toy {k}" for k in range(len(theta))))
