"""A run on disk: its settings, its hand and its weights, written whole or not at all, and read back as a net."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from handmesh.keypoints import keypoint_regressor
from handmesh.nets.detector_net import DetectorNet
from handmesh.nets.efficientnet_lite import efficientnet_lite0
from handmesh.nets.mesh_net import HandMeshNet
from handmesh.nets.registry import create_net
from handmesh.nets.side_net import SideNet
from handmesh.run_files import CONFIG, DETECTOR, HAND, SCHEMA, SIDE, WEIGHTS, read_config
from handmesh.settings.detector import SPECS, DetectorSpec, SideSpec
from handmesh.settings.mesh import TrainSpec, spec_from_dict
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.fields import build
from handsynth.core.files import remove_leftovers, write_atomically, write_file
from handsynth.core.hand import HandModel, load_hand, save_hand

_ABOUT = "handmesh"  # key of the text beside the weights
_FORMER_NAMES = {"spread_scale": "std_scale"}  # of buffers, in files of earlier versions
FORMER_SETTINGS = ("first_side", "first_epochs", "early_side", "last_share")
"""In runs of earlier versions; none decides how a trained net is used."""


@dataclass(frozen=True, eq=False)
class Run:
    """A trained net with what is needed to use it."""

    folder: Path
    spec: TrainSpec
    hand: HandModel
    net: HandMeshNet  # in evaluation mode
    config: dict[str, Any]  # config.yaml: `training`, `datasets`, `validation`, `hand`


def load_run(folder: Path, device: torch.device) -> Run:
    """Opens a run to use its net. Raises UsageError when the folder is none, HandsynthError when a file of it is damaged."""
    config = read_config(folder)
    training = config.get("training")
    if isinstance(training, dict):
        training = {key: value for key, value in training.items() if key not in FORMER_SETTINGS}
    spec = spec_from_dict(training, str(folder / CONFIG))
    hand = load_hand(folder / HAND)
    net = create_net(spec.net, keypoint_regressor(hand), pretrained=False, bin_centres=spec.bin_centres)
    load_weights(net, folder / WEIGHTS, spec.net, hand)
    return Run(folder, spec, hand, net.to(device, memory_format=torch.channels_last).eval(), config)  # type: ignore[call-overload]


@dataclass(frozen=True, eq=False)
class DetectorRun:
    """A trained detector, or a net that looks again at what one finds."""

    folder: Path
    side: int  # of the images that it takes, the longer one [px]
    net: nn.Module  # in evaluation mode
    config: dict[str, Any]  # config.yaml: `training`, `datasets`, `validation`


def load_detector(folder: Path, device: torch.device, kind: str = DETECTOR) -> DetectorRun:
    """Opens a run of that kind, DETECTOR or SIDE. Raises as `load_run` does."""
    config = read_config(folder, kind)
    spec: DetectorSpec | SideSpec = build(SPECS[kind], config.get("training"), str(folder / CONFIG), UsageError)
    backbone = efficientnet_lite0(pretrained=False)
    net: nn.Module = SideNet(backbone) if kind == SIDE else DetectorNet(backbone)
    load_weights(net, folder / WEIGHTS, kind)
    moved = net.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return DetectorRun(folder, spec.side, moved, config)


def write_run(folder: Path, config: dict[str, Any], hand: HandModel) -> None:
    """Writes a run's settings, by which a folder is known as a run, and its hand; removes what a writer that was killed left."""
    write_settings(folder, config)
    write_atomically(folder / HAND, lambda path: save_hand(path, hand))


def write_settings(folder: Path, config: dict[str, Any]) -> None:
    """The same of a run that needs no hand."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    write_atomically(folder / CONFIG, lambda path: path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8"))


def save_weights(net: nn.Module, path: Path, net_name: str, more: dict[str, Any]) -> None:
    """The net's weights with its name and `more` values beside them, atomically; the same net gives the same bytes."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    about = json.dumps({"net": net_name, "schema": SCHEMA, **more})  # one entry: safetensors writes several in random order
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, save(tensors, {_ABOUT: about}))  # `save_file` would hide why a disk refuses


def recalibrate(run: Run, keypoints: np.ndarray, vertices: np.ndarray, about: dict[str, Any]) -> None:
    """Makes the standard deviations of a run's net as large as its errors, in memory and in the run folder; nothing else changes.

    Args:
        run: of a mesh net.
        keypoints: (P, 3) errors over standard deviations, as of `HandMeshNet.calibrate_std`.
        vertices: (V, 3) the same.
        about: on which data it was found, kept beside the weights.

    Raises HandsynthError when the weights cannot be read or written.
    """
    path = run.folder / WEIGHTS
    run.net.calibrate_std(keypoints, vertices)
    tensors, metadata = read_tensors(path)
    state = run.net.state_dict()
    tensors = {name: state[current_name(name)].cpu() if _is_scale(name) else value for name, value in tensors.items()}
    text = json.dumps(json.loads(metadata.get(_ABOUT, "{}")) | {"calibrated_on": about})
    try:
        write_file(path, save(tensors, {_ABOUT: text}))
    except OSError as error:
        raise HandsynthError(f"{path} cannot be written: {error.strerror}") from None


def _is_scale(name: str) -> bool:
    return current_name(name).rpartition(".")[2] == "std_scale"


def load_weights(net: nn.Module, path: Path, net_name: str, hand: HandModel | None = None) -> None:
    """Fills a net. Half precision becomes the net's own.

    Raises UsageError when the file holds weights of another net, schema or hand, HandsynthError when it is damaged.
    """
    if path.name == WEIGHTS and not path.exists():
        raise UsageError(f"{path.parent} has no {WEIGHTS} yet: no epoch of its training is done (go on with --resume)")
    tensors, metadata = read_tensors(path)
    try:
        about = json.loads(metadata.get(_ABOUT, "{}"))
        found, schema, digest = str(about.get("net", net_name)), int(about.get("schema", 1)), str(about.get("hand", ""))
    except (ValueError, TypeError, AttributeError):
        raise HandsynthError(f"{path} is damaged: what it says of itself cannot be read") from None
    if schema != SCHEMA:
        other = "a newer version" if schema > SCHEMA else "an older version"
        raise UsageError(f"{path} holds weights of schema {schema}, this version reads {SCHEMA}: use {other} of the package")
    if found != net_name:
        raise UsageError(f"{path} holds weights of {found:.40}, not of {net_name}")
    if hand is not None and digest not in ("", hand.digest):
        raise UsageError(f"{path} holds weights for another hand ({digest:.12}) than {path.parent / HAND} ({hand.digest:.12})")
    fill(net, tensors, path)


def fill(net: nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Puts tensors by name, or by the name that an earlier version gave them, into a net. Factors of standard deviations that such
    a version had, one for each axis, become each point's.

    Raises UsageError naming the first that does not fit.
    """
    own = net.state_dict()
    tensors = {current_name(name): value for name, value in tensors.items()}
    of_axes = {name: value for name, value in tensors.items() if name in own and _is_scale(name) and value.shape == (3,)}
    tensors |= {name: value.expand_as(own[name]) for name, value in of_axes.items()}
    for name in [*own, *tensors]:
        if name not in own or name not in tensors or own[name].shape != tensors[name].shape:
            raise UsageError(f"{path} holds weights of another net or hand: {name} does not fit")
    net.load_state_dict(tensors)


def current_name(name: str) -> str:
    """What a tensor of a file is called now."""
    module, dot, last = name.rpartition(".")
    return module + dot + _FORMER_NAMES.get(last, last)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and text of a safetensors file; no code is ever run. Raises HandsynthError when it is missing or damaged."""
    try:
        with safe_open(path, "pt") as file:  # type: ignore[no-untyped-call]
            metadata = file.metadata() or {}
        return load_file(path), metadata
    except (OSError, SafetensorError) as error:
        raise HandsynthError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
