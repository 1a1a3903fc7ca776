"""A trained IK net read back from its run folder."""

from dataclasses import dataclass
from pathlib import Path

import torch

from handmesh.kinematics.ik_net import IKNet
from handmesh.run_folder import CONFIG, HAND, WEIGHTS, load_weights, read_config
from handmesh.settings.ik import IKSpec, ik_spec_from_dict
from handsynth.core.hand import HandModel, load_hand


@dataclass(frozen=True, eq=False)
class IKRun:
    """A trained IK net with what is needed to use it."""

    folder: Path
    spec: IKSpec
    hand: HandModel
    net: IKNet  # in evaluation mode


def load_ik_run(folder: Path, device: torch.device | None = None) -> IKRun:
    """Opens a run of `handmesh train ik`; None means the CPU.

    Raises UsageError when the folder is none or a mesh net's run, HandsynthError when a file of it is damaged.
    """
    spec = ik_spec_from_dict(read_config(folder, "ik").get("training"), str(folder / CONFIG))
    hand = load_hand(folder / HAND)
    net = IKNet(hand, spec.dofs, spec.known_shape, spec.widths)
    load_weights(net, folder / WEIGHTS, spec.net)
    return IKRun(folder, spec, hand, net.to(device or torch.device("cpu")).eval())
