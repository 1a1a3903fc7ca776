"""How a detector is trained: everything that decides its weights, as a frozen dataclass read from YAML."""

from dataclasses import dataclass

from handmesh.detection_maps import MULTIPLE, SIDE_PX
from handmesh.settings.mesh import check_bounds, parse_yaml, read_preset
from handsynth.core.errors import UsageError
from handsynth.core.fields import build

DETECTOR_PRESETS = ("detector", "detector-demo")
"""Presets that come with the package."""


SIDE_PRESETS = ("side", "side-demo")
"""The same for the net that looks again at what a detector finds."""


@dataclass(frozen=True)
class DetectorSpec:
    """A training of a detector."""

    side: int = 256  # longer side of the images that it is used on, which it sees at half that size too [px]
    train_side: int = 128  # of the images of training, whose hands are as large as it has to find them in either [px]
    batch: int = 16  # images of a step
    steps: int = 8000
    minutes: float = 0.0  # that training takes, as many steps as fit; 0: `steps` decide
    lr: float = 1e-3  # AdamW's, linearly to zero
    warmup_steps: int = 200
    weight_decay: float = 0.02
    clip: float = 10.0  # greatest norm of the gradients
    ema: float = 0.998  # decay of the running mean of the weights, which is what is validated and saved
    pretrained: bool = True  # the backbone starts from ImageNet weights, its first layers keep them
    report_steps: int = 500  # steps between two rows of metrics.csv
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises UsageError naming the first value out of range."""
        bounds = {
            "side": (64, 1024), "train_side": (64, 1024), "batch": (2, 1 << 12), "steps": (1, 10**8),
            "minutes": (0, 1e6), "lr": (1e-8, 1), "warmup_steps": (0, 10**6), "weight_decay": (0, 1), "clip": (1e-6, 1e12),
            "ema": (0, 0.99999), "report_steps": (1, 10**8), "seed": (0, 2**63 - 1),
        }  # fmt: skip
        check_bounds(self, "detector training", bounds)
        for name in ("side", "train_side"):
            if getattr(self, name) % MULTIPLE:
                raise UsageError(f"detector training: {name} is {getattr(self, name)}, expected a multiple of {MULTIPLE}")

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Heights and widths that batches have in turn: lying, upright and square."""
        long = self.train_side
        short = max(MULTIPLE, round(0.75 * long / MULTIPLE) * MULTIPLE)
        return (short, long), (long, short), (short, short)


@dataclass(frozen=True)
class SideSpec:
    """A training of the net that looks again at what a detector finds: a hand, and which?"""

    side: int = SIDE_PX  # of the crops [px]; the net takes no other
    batch: int = 32  # crops of a step
    steps: int = 6000
    minutes: float = 0.0  # that training takes, as many steps as fit; 0: `steps` decide
    lr: float = 1e-3  # AdamW's, linearly to zero
    warmup_steps: int = 50
    weight_decay: float = 0.02
    clip: float = 10.0  # greatest norm of the gradients
    ema: float = 0.99  # decay of the running mean of the weights, which is what is validated and saved
    pretrained: bool = True  # the backbone starts from ImageNet weights, its first layers keep them
    mistakes: bool = False  # whether crops without a hand are, where it makes one, a mistake of the shipped detector
    report_steps: int = 250  # steps between two rows of metrics.csv
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises UsageError naming the first value out of range."""
        bounds = {
            "side": (SIDE_PX, SIDE_PX), "batch": (2, 1 << 14), "steps": (1, 10**8), "minutes": (0, 1e6), "lr": (1e-8, 1),
            "warmup_steps": (0, 10**6), "weight_decay": (0, 1), "clip": (1e-6, 1e12), "ema": (0, 0.99999),
            "report_steps": (1, 10**8), "seed": (0, 2**63 - 1),
        }  # fmt: skip
        check_bounds(self, "side training", bounds)


SPECS: dict[str, type[DetectorSpec] | type[SideSpec]] = {"detector": DetectorSpec, "side": SideSpec}
"""By kind of run."""


def load_detector_preset(name_or_path: str) -> DetectorSpec:
    """A shipped preset by name, or a YAML file. Raises UsageError naming what is unknown, and what is known."""
    text, where = read_preset(name_or_path, DETECTOR_PRESETS)
    return build(DetectorSpec, parse_yaml(text, where), where, UsageError)


def load_side_preset(name_or_path: str) -> SideSpec:
    """The same of a `SideSpec`."""
    text, where = read_preset(name_or_path, SIDE_PRESETS)
    return build(SideSpec, parse_yaml(text, where), where, UsageError)
