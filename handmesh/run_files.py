"""Files of a run folder by name, and its settings: what is known of a run before any library of nets is loaded."""

from pathlib import Path
from typing import Any

import yaml

from handsynth.core.errors import HandsynthError, UsageError

CONFIG, HAND, WEIGHTS, CHECKPOINT = "config.yaml", "hand.npz", "weights.safetensors", "checkpoint.safetensors"
"""Files of a run folder: how it was trained and on what, the hand model, the net's weights, what `--resume` goes on from."""

GRAPH = "net.onnx"
"""In folders of shipped weights: the net as a graph for onnxruntime. The numbers are those of WEIGHTS, which it refers to."""

LEFTOVERS = ".tmp-*"
"""Files of a run folder that were being written when their process was killed (`core.files.write_atomically`)."""

KINDS = {
    "mesh": "handmesh train mesh",
    "ik": "handmesh train ik",
    "detector": "handmesh train detector",
    "side": "handmesh train side",
}
"""What a run has trained, `kind` in its config.yaml, and the command that does. Runs that say nothing are of mesh nets."""

DETECTOR, SIDE, IK = "detector", "side", "ik"
"""Kinds of runs of detectors, of nets that look again at what these find, and of IK nets."""

SCHEMA = 1
"""Of runs: raised when nets, lixels or files change so that older weights mean something else; runs that say nothing are of 1."""


def read_kind(folder: Path) -> str:
    """Of a run, of `KINDS`; "mesh" where its settings cannot be read, which `read_config` reports."""
    try:
        config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return "mesh"
    return str(config.get("kind", "mesh")) if isinstance(config, dict) else "mesh"


def read_config(folder: Path, kind: str = "mesh") -> dict[str, Any]:
    """config.yaml of a run. Raises UsageError when there is none or it is of another kind, HandsynthError when it is damaged."""
    path = folder / CONFIG
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{folder} is no run folder: it has no {CONFIG}: {KINDS[kind]} makes one") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise HandsynthError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise HandsynthError(f"{path} is damaged: it holds no settings")
    found = str(config.get("kind", "mesh"))
    if found != kind:
        raise UsageError(f"{folder} is a run of {KINDS.get(found, 'something else')}, where one of {KINDS[kind]} is needed")
    return config
