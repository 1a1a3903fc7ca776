"""How an IK net is trained: everything that decides its weights, as a frozen dataclass read from YAML."""

from dataclasses import dataclass
from typing import Any

from handmesh.settings.mesh import check_bounds, parse_yaml, read_preset
from handsynth.core.errors import UsageError
from handsynth.core.fields import build

IK_PRESETS = ("ik-paper", "ik-cpu", "ik-demo")
"""Presets that come with the package."""


@dataclass(frozen=True)
class IKSpec:
    """A training of an IK net. The defaults are the paper's recipe (section 4); what the paper leaves open is marked *."""

    dofs: int = 23  # or 45, the baseline
    known_shape: bool = False  # beta is an input: table 4's daggers
    widths: tuple[int, ...] = (1024, 1024, 512)  # * of the three layers
    batch: int = 32  # hands of a step
    epochs: int = 40
    epoch_hands: int = 130_240  # hands drawn for an epoch: as many as FreiHAND has images
    lr: float = 1e-3  # * Adam's; usual for nets of fully connected layers
    schedule: str = "step"  # as of `schedule.learning_rate`
    milestones: tuple[int, ...] = (30, 35)  # epochs, counted from 1, at whose beginning the rate falls
    decay: float = 0.1
    warmup_steps: int = 0
    swap_probability: float = 0.5  # each finger takes its angles from another pose of the bank with this probability
    beta_std: float = 1.0  # shapes are drawn from N(0, beta_std^2)
    jitter_deg: float = 0.0  # * normal noise on each of the 23 angles, within the limits: fingers between the bank's
    noise_mm: float = 5.0  # * greatest noise of a keypoint's coordinate; a hand's own is uniform from 0 to this
    joint_unit_m: float = 0.01  # * unit of the joint term of equation 5; with metres it would count a hundredth of the angles'
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises UsageError naming the first value out of range."""
        bounds = {
            "batch": (2, 1 << 16), "epochs": (1, 100_000), "epoch_hands": (2, 1 << 30), "lr": (1e-8, 1), "decay": (1e-6, 1),
            "warmup_steps": (0, 1 << 30), "swap_probability": (0, 1), "beta_std": (0, 10), "jitter_deg": (0, 90),
            "noise_mm": (0, 50), "joint_unit_m": (1e-4, 10), "seed": (0, 2**63 - 1),
        }  # fmt: skip
        check_bounds(self, "IK training", bounds)
        if self.dofs not in (23, 45):
            raise UsageError(f"IK training: dofs is {self.dofs}, expected 23 or 45")
        if not self.widths or not all(1 <= width <= 1 << 16 for width in self.widths):
            raise UsageError(f"IK training: widths are {list(self.widths)}, expected numbers of neurons")
        if self.schedule not in ("step", "cosine", "linear"):
            raise UsageError(f"IK training: schedule is {self.schedule!r:.40}, expected step, cosine or linear")
        if self.epoch_hands < self.batch:
            raise UsageError(f"IK training: epoch_hands is {self.epoch_hands}, less than a batch of {self.batch}")

    @property
    def net(self) -> str:
        """Name of the net, as its weights carry it."""
        return f"ik-{self.dofs}{'-known-shape' if self.known_shape else ''}"

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of an epoch."""
        return self.epoch_hands // self.batch


def load_ik_preset(name_or_path: str) -> IKSpec:
    """A shipped preset by name, or a YAML file. Raises UsageError naming what is unknown, and what is known."""
    text, where = read_preset(name_or_path, IK_PRESETS)
    return ik_spec_from_dict(parse_yaml(text, where), where)


def ik_spec_from_dict(values: Any, where: str) -> IKSpec:
    """Plain values -> spec, every key and type checked. Raises UsageError."""
    return build(IKSpec, values, where, UsageError)
