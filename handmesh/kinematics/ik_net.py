"""The IK nets of figure 6A: 21 keypoints in, shape and joint rotations out; their loss, and a trained one read from its run.

The paper's 23 + 10 parameters hold no global rotation, so it is taken out beforehand: the keypoints of the palm, which hardly move
against one another when fingers bend, are laid upon those of the template (beta = 0).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from handmesh.keypoints import PALM_KEYPOINTS
from handmesh.kinematics.dof import NUM_DOFS, hand_dof_matrix
from handmesh.kinematics.rigid import align_rigid, move
from handmesh.run_files import CONFIG, HAND, WEIGHTS, read_config
from handmesh.run_folder import load_weights
from handmesh.settings.ik import IKSpec, ik_spec_from_dict
from handsynth.core.conventions import KEYPOINT_PARENTS
from handsynth.core.errors import UsageError
from handsynth.core.hand import HandModel, keypoints_from_vertices, load_hand

BONE_UNIT_M = 0.1
"""Unit of the bone lengths that a net sees [m]; a finger's bones are 0.2 to 1 of it."""

_CHILDREN = tuple(k for k, parent in enumerate(KEYPOINT_PARENTS) if parent >= 0)
_PARENTS = tuple(KEYPOINT_PARENTS[k] for k in _CHILDREN)
NUM_FEATURES = 4 * len(_CHILDREN)


class IKPrediction(NamedTuple):
    """What an IK net says of B hands."""

    pose: Tensor  # (B, 23) angles, names in `dof.DOF_NAMES`; of the baseline (B, 45) axis-angles of joints 1 to 15 [rad]
    beta: Tensor  # (B, S) [standard deviations]; as given where the shape is known


def bone_features(keypoints: Tensor) -> Tensor:
    """(B, 21, 3) keypoints [m] -> (B, 80): directions of the 20 bones, x, y, z of each in turn, then their lengths [0.1 m].

    A bone leads from the wrist or the joint before to the keypoint (section 3.3, after Zhou et al. 2020, without a reference hand).
    """
    bones = keypoints[:, _CHILDREN] - keypoints[:, _PARENTS]
    lengths = torch.linalg.vector_norm(bones, dim=-1).clamp_min(1e-9)
    return torch.cat([(bones / lengths.unsqueeze(-1)).flatten(1), lengths / BONE_UNIT_M], 1)


class IKNet(nn.Module):
    """Three times (fully connected, batch norm, ReLU) and two linear heads, without activation.

    Global rotation is no output: the palm's keypoints are laid upon the template's in closed form first, so that the same hand
    turned or moved anywhere gives the same angles.

    Args:
        hand: the model; its template's palm and its matrix Z are kept as buffers.
        dofs: 23, or 45 for the paper's baseline.
        known_shape: beta is an input and has no head (the experiments marked with a dagger in table 4).
        widths: of the three layers; the paper gives none.

    Raises UsageError for another number of dofs.
    """

    template_palm: Tensor
    pose_matrix: Tensor

    def __init__(
        self, hand: HandModel, dofs: int = NUM_DOFS, known_shape: bool = False, widths: Sequence[int] = (1024, 1024, 512)
    ) -> None:
        super().__init__()
        full = 3 * (hand.num_joints - 1)
        if dofs not in (NUM_DOFS, full):
            raise UsageError(f"an IK net has {NUM_DOFS} or {full} degrees of freedom, not {dofs}")
        self.dofs, self.known_shape = dofs, known_shape
        template = keypoints_from_vertices(hand, hand.v_template)
        self.register_buffer("template_palm", torch.tensor(template[list(PALM_KEYPOINTS)], dtype=torch.float32))
        matrix = torch.tensor(hand_dof_matrix(hand)) if dofs == NUM_DOFS else torch.eye(full)
        self.register_buffer("pose_matrix", matrix.float())  # (dofs, 45)
        layers: list[nn.Module] = []
        size = NUM_FEATURES + hand.num_shapes * known_shape
        for width in widths:
            layers += [nn.Linear(size, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
            size = width
        self.trunk = nn.Sequential(*layers)
        self.pose_head = nn.Linear(size, dofs)
        self.shape_head = None if known_shape else nn.Linear(size, hand.num_shapes)

    def forward(self, keypoints: Tensor, beta: Tensor | None = None) -> IKPrediction:
        """(B, 21, 3) keypoints of right hands in FreiHAND's order, any frame [m], and (B, S) beta exactly where it is known.

        Raises UsageError when beta is missing, or given to a net that finds it.
        """
        if (beta is not None) != self.known_shape:
            raise UsageError(
                "this IK net was trained with known shapes: give it beta" if self.known_shape else "this IK net finds beta itself"
            )
        rotation, _ = align_rigid(self.template_palm, keypoints[:, list(PALM_KEYPOINTS)])
        return self.of_turned(keypoints @ rotation, beta)  # R^T p of each point; bones need no translation

    def of_turned(self, keypoints: Tensor, beta: Tensor | None = None) -> IKPrediction:
        """As `forward`, of keypoints whose palms are turned as the template's."""
        features = bone_features(keypoints)
        if beta is not None:
            features = torch.cat([features, beta], 1)
        found = self.trunk(features)
        return IKPrediction(self.pose_head(found), self.shape_head(found) if beta is None else beta)  # type: ignore[misc]

    def theta(self, pose: Tensor) -> Tensor:
        """(B, 23 or 45) pose -> (B, 16, 3) axis-angles for `HandLayer`, the wrist's zero [rad]."""
        fingers = self.fingers(pose)
        return torch.cat([torch.zeros_like(fingers[:, :1]), fingers], 1)

    def fingers(self, pose: Tensor) -> Tensor:
        """(B, 23 or 45) pose -> (B, 15, 3) axis-angles of joints 1 to 15 [rad]."""
        return (pose @ self.pose_matrix).reshape(-1, self.pose_matrix.shape[1] // 3, 3)

    def guess(self, keypoints: np.ndarray, beta: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """As `fit.FirstGuess` has it; in evaluation mode, on the CPU."""
        with torch.inference_mode():
            found = self(torch.tensor(keypoints).float(), None if beta is None else torch.tensor(beta).float())
            return self.fingers(found.pose).numpy(), found.beta.numpy()


def ik_losses(
    found: IKPrediction, keypoints: Tensor, pose: Tensor, beta: Tensor, true_keypoints: Tensor, joint_unit_m: float
) -> dict[str, Tensor]:
    """The terms of equation 5, scalars: mean absolute differences over hands and components; their sum is the loss.

    Args:
        found: the net's.
        keypoints: (B, 21, 3) J(M(found)), regressed from the posed vertices [m].
        pose: (B, 23 or 45) true angles [rad]: equation 6.
        beta: (B, S) true shape [standard deviations]: equation 7, zero where the net was given it.
        true_keypoints: (B, 21, 3) P of equation 8 [m].
        joint_unit_m: unit of equation 8's term [m].

    The paper gives no weight, unit or frame. Here all weights are 1, and joints are compared after the closed-form rigid alignment
    of the found hand upon the true one, since the net says nothing about the global motion; it counts as constant in gradients.
    """
    with torch.no_grad():
        rotation, translation = align_rigid(keypoints, true_keypoints)
    return {
        "angles": (found.pose - pose).abs().mean(),
        "shape": (found.beta - beta).abs().mean(),
        "joints": (move(keypoints, rotation, translation) - true_keypoints).abs().mean() / joint_unit_m,
    }


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
    load_weights(net, folder / WEIGHTS, spec.net, hand)
    return IKRun(folder, spec, hand, net.to(device or torch.device("cpu")).eval())
