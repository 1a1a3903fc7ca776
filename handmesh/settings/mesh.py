"""How a net is trained: everything that decides the weights, as a frozen dataclass read from YAML."""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from handmesh.data.augment import AugmentSpec
from handsynth.core.errors import UsageError
from handsynth.core.fields import build

PRESETS = ("paper", "fast", "cpu", "cpu64", "demo")
"""Presets that come with the package."""


def check_bounds(spec: object, what: str, bounds: Mapping[str, tuple[float, float]]) -> None:
    """Raises UsageError naming the first value of `what` that lies outside its least and greatest."""
    for name, (low, high) in bounds.items():
        if not low <= getattr(spec, name) <= high:
            raise UsageError(f"{what}: {name} is {getattr(spec, name)}, expected {low:g} to {high:g}")


@dataclass(frozen=True)
class TrainSpec:
    """A training of a mesh net. The defaults are the paper's recipe (sections 3.2 and 4)."""

    net: str = "lite-dwse"
    side: int = 256  # of the crops [px]
    batch: int = 32  # samples of a step, over all ranks
    epochs: int = 30
    minutes: float = 0.0  # that training takes, as many steps as fit; the schedule is stretched to them. 0: epochs decide
    lr: float = 1e-4  # Adam's
    schedule: str = "step"  # "step": times `decay` at each milestone; "cosine" and "linear": down to zero at the end
    milestones: tuple[int, ...] = (28,)  # epochs, counted from 1, at whose beginning the rate falls
    decay: float = 0.1
    warmup_steps: int = 0  # the rate grows linearly over these
    weight_decay: float = 0.0  # decoupled (AdamW); 0 is Adam
    clip: float = 100.0  # greatest norm of the gradients; about ten times what a healthy run shows
    bf16: bool = True  # mixed precision on a GPU; never on a CPU
    pretrained: bool = True  # backbones start from ImageNet weights
    bin_centres: bool = False  # bins of heatmaps stand for their middles; else for their lower ends, as in the original
    decay_norms: bool = True  # `weight_decay` is for norms and biases too; else for all other weights alone
    ema: float = 0.0  # decay of the running mean of the weights, which is what is validated and saved; 0 is none
    auxiliary: float = 0.0  # weight of the losses of theta and beta, read by a head that only training has; 0 is no head
    freeze_early: bool = False  # early features keep ImageNet's weights and statistics; only with `pretrained`
    seed: int = 0
    augment: AugmentSpec = field(default_factory=AugmentSpec)

    def __post_init__(self) -> None:
        """Raises UsageError naming the first value out of range."""
        bounds = {
            "side": (32, 1024), "batch": (2, 1 << 16), "epochs": (1, 100_000), "minutes": (0, 1e6), "lr": (1e-8, 1),
            "decay": (1e-6, 1), "warmup_steps": (0, 1 << 30), "weight_decay": (0, 1), "clip": (1e-6, 1e12),
            "seed": (0, 2**63 - 1), "ema": (0, 0.99999), "auxiliary": (0, 1000),
        }  # fmt: skip
        check_bounds(self, "training", bounds)
        if self.side % 32:
            raise UsageError(f"training: side is {self.side}, expected a multiple of 32")
        if self.schedule not in ("step", "cosine", "linear"):
            raise UsageError(f"training: schedule is {self.schedule!r:.40}, expected step, cosine or linear")


def load_preset(name_or_path: str) -> TrainSpec:
    """A shipped preset by name, or a YAML file. Raises UsageError naming what is unknown, and what is known."""
    return parse_spec(*read_preset(name_or_path, PRESETS))


def read_preset(name_or_path: str, known: tuple[str, ...]) -> tuple[str, str]:
    """Text of a shipped preset, one of `known`, or of a YAML file, and its name for messages. Raises UsageError."""
    if name_or_path in known:
        text = (resources.files("handmesh.settings") / "presets" / f"{name_or_path}.yaml").read_text(encoding="utf-8")
        return text, f"preset {name_or_path}"
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml") and not path.exists():
        close = difflib.get_close_matches(name_or_path, known, 1)
        hint = f"did you mean {close[0]!r}?" if close else "a file of your own ends in .yaml"
        raise UsageError(f"no preset is called {name_or_path!r}: there are {', '.join(known)}; {hint}")
    try:
        return path.read_text(encoding="utf-8"), f"preset {path}"
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"preset {path} cannot be read: {error}") from None


def with_flags(spec: TrainSpec, flags: Mapping[str, Any]) -> TrainSpec:
    """The spec with the flags that were given, those that are not None; a key with a dot is of the nested part `augment`."""
    given = {key: value for key, value in flags.items() if value is not None}
    nested = {key.removeprefix("augment."): value for key, value in given.items() if key.startswith("augment.")}
    plain = {key: value for key, value in given.items() if "." not in key}
    return dataclasses.replace(spec, augment=dataclasses.replace(spec.augment, **nested), **plain)


def parse_spec(text: str, where: str) -> TrainSpec:
    """YAML text -> spec; every key and type is checked. `where` names it in errors. Raises UsageError."""
    return spec_from_dict(parse_yaml(text, where), where)


def parse_yaml(text: str, where: str) -> Any:
    """YAML text -> plain values. Raises UsageError."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{where} is not YAML: {' '.join(str(error).split())}") from None


def spec_from_dict(values: Any, where: str) -> TrainSpec:
    """Plain values -> spec, checked like YAML. Raises UsageError."""
    return build(TrainSpec, values, where, UsageError)


def spec_to_dict(spec: Any) -> dict[str, Any]:
    """A frozen dataclass as plain YAML values; `spec_from_dict` is the inverse for a TrainSpec."""
    return {
        key: {k: list(v) if isinstance(v, tuple) else v for k, v in value.items()} if isinstance(value, dict)
        else list(value) if isinstance(value, tuple) else value
        for key, value in dataclasses.asdict(spec).items()
    }  # fmt: skip
