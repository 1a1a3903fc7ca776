"""A run of a net that has learned nothing, for tests of what uses runs."""

from pathlib import Path

import torch

from handmesh.keypoints import keypoint_regressor
from handmesh.nets.registry import create_net
from handmesh.run_files import WEIGHTS
from handmesh.run_folder import save_weights, write_run
from handmesh.settings.mesh import TrainSpec, spec_to_dict
from handsynth.core.hand import HandModel


def write_untrained(folder: Path, hand: HandModel, net: str = "lite-fast") -> Path:
    """Writes the run of a net for crops of 64 pixels into `folder`, and returns that."""
    spec = TrainSpec(net=net, side=64)
    torch.manual_seed(0)
    write_run(folder, {"training": spec_to_dict(spec)}, hand)
    save_weights(create_net(spec.net, keypoint_regressor(hand), pretrained=False), folder / WEIGHTS, spec.net, {})
    return folder
