"""The command `handmesh train ik`: from flags to a hand, its poses and settings, then the loop."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handmesh.device import pick_device
from handmesh.poses import split_poses
from handmesh.settings.ik import load_ik_preset
from handmesh.training.ik_loop import IKData, train_ik
from handsynth.core.named_hands import open_hand, open_poses
from handsynth.core.poses import load_poses


def train_ik_command(
    preset: str, flags: Mapping[str, Any], hand: str, poses: Path | None, out: Path, device: str, resume: bool
) -> str:
    """Trains as the command line says -> the closing line. `flags` that are None leave the preset's value."""
    spec = dataclasses.replace(load_ik_preset(preset), **{key: value for key, value in flags.items() if value is not None})
    model = open_hand(hand)
    bank = load_poses(poses) if poses else open_poses(hand)
    train, validation = split_poses(bank)
    history = train_ik(spec, IKData(model, train, validation, bank), out, pick_device(device), resume)
    last = history[-1]
    return (
        f"{out}: {spec.net} of the {model.name} hand, {last['epoch']:.0f} epochs; on {len(validation.names)} validation poses "
        f"angles are {last['val_angle_deg']:.1f} deg off, PA-MPJPE {last['val_pa_mpjpe_mm']:.1f} mm, PA-MPVPE "
        f"{last['val_pa_mpvpe_mm']:.1f} mm; see curves.png"
    )
