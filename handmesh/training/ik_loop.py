"""The training of an IK net, from a bank of poses to a run folder; stopped anywhere, `--resume` repeats the epoch under way."""

import math
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from handmesh.keypoints import keypoint_hand
from handmesh.kinematics.hand_layer import HandLayer
from handmesh.kinematics.ik_net import IKNet, ik_losses
from handmesh.metrics import align_similarity, mean_error_mm
from handmesh.run_files import CHECKPOINT, WEIGHTS
from handmesh.run_folder import save_weights, write_run
from handmesh.settings.ik import IKSpec
from handmesh.settings.mesh import spec_to_dict
from handmesh.training.ik_hands import HandDraws, IKBatch, fitted_angles, split_poses
from handmesh.training.progress import Progress, check_folder, learning_rate, load_checkpoint, save_checkpoint
from handmesh.training.record import RATE_PANEL, Panel, Recorder
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.hand import HandModel
from handsynth.core.named_hands import open_hand, open_poses
from handsynth.core.poses import PoseBank, load_poses

IK_PANELS = (
    Panel("loss of equation 5", (("train_loss", "training", "tab:blue"), ("val_loss", "validation", "tab:orange"))),
    Panel(
        "error on validation poses [mm]",
        (
            ("val_pa_mpjpe_mm", "PA-MPJPE", "tab:green"),
            ("val_pa_mpvpe_mm", "PA-MPVPE", "tab:red"),
            ("noise_pa_mpjpe_mm", "PA-MPJPE, input", "tab:gray"),
        ),
    ),
    Panel("mean angle error, validation [deg]", (("val_angle_deg", "of all angles", "tab:purple"),)),
    RATE_PANEL,
)

VALIDATION_HANDS = 512
"""Drawn once from the validation poses."""


@dataclass(frozen=True, eq=False)
class IKData:
    """What is trained on."""

    hand: HandModel
    train: PoseBank
    validation: PoseBank
    bank: PoseBank  # both, for the record


def open_data(hand: str, poses: Path | None) -> IKData:
    """A hand by name (`core.named_hands.open_hand`) and a bank of poses, of a file or the hand's own. Raises AssetError."""
    bank = load_poses(poses) if poses else open_poses(hand)
    return IKData(open_hand(hand), *split_poses(bank), bank)


def layer_named(name: str) -> type[HandLayer]:
    """What poses the hands: "own", or "smplx" for users of MANO. Raises UsageError for another name."""
    if name == "smplx":
        from handmesh.kinematics.smplx_layer import SmplxLayer

        return SmplxLayer
    if name != "own":
        raise UsageError(f"there is no hand layer {name!r:.40}: use own or smplx")
    return HandLayer


def train_ik(
    spec: IKSpec, data: IKData, out: Path, device: torch.device, resume: bool = False, layer: type[HandLayer] = HandLayer
) -> list[dict[str, float]]:
    """Trains a net and fills the run folder `out` -> one row of figures an epoch (what metrics.csv shows).

    Raises UsageError when `out` already holds a run and `resume` is not requested, or when it is requested with other settings;
    HandsynthError when the loss is no longer finite.
    """
    return IKTraining(spec, data, out, device, resume, layer).run()


class IKTraining:
    """The state of a training under way."""

    def __init__(
        self, spec: IKSpec, data: IKData, out: Path, device: torch.device, resume: bool, layer: type[HandLayer] = HandLayer
    ) -> None:
        self.spec, self.hand, self.out, self.device = spec, data.hand, out, device
        self.config = run_config(spec, data)
        check_folder(out, self.config, resume)
        torch.manual_seed(spec.seed)
        self.net = IKNet(data.hand, spec.dofs, spec.known_shape, spec.widths).to(device)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=spec.lr, fused=True)
        self.progress = Progress()
        if resume and (out / CHECKPOINT).exists():
            self.progress = load_checkpoint(out / CHECKPOINT, {"net": self.net}, self.optimizer)
        self.layer = layer(keypoint_hand(data.hand)).to(device)
        self.whole = layer(data.hand).to(device)
        plain = replace(spec, jitter_deg=0.0)
        self.draws, validation = (
            HandDraws(data.hand, poses.theta, fitted_angles(data.hand, poses.theta), how, purpose)
            for poses, how, purpose in ((data.train, spec, "training"), (data.validation, plain, "validation"))
        )
        self.validation = IKBatch(*(t.to(device) for t in validation.batch(0, VALIDATION_HANDS)))

    def run(self) -> list[dict[str, float]]:
        """Every epoch that is left."""
        write_run(self.out, self.config, self.hand)
        recorder = Recorder(self.out, self.progress.steps_done, IK_PANELS)
        try:
            while self.progress.epoch < self.spec.epochs:
                sums = self._epoch()
                row = self._row(sums)
                self.progress.history.append(row)
                self.progress.epoch += 1
                tqdm.write(_line(row, self.spec.epochs), file=sys.stderr)
                more = {"hand": self.hand.digest, "epoch": self.progress.epoch}
                save_weights(self.net, self.out / WEIGHTS, self.spec.net, more)
                recorder.epoch(self.progress.history)
                # Last, as it says that the epoch is done: killed before this, a resumed run does the epoch again.
                save_checkpoint(self.out / CHECKPOINT, {"net": self.net}, self.optimizer, self.progress)
        finally:
            recorder.close()
        return self.progress.history

    def _epoch(self) -> dict[str, float]:
        """The steps of one epoch -> means of the loss and its terms."""
        steps, sums = self.spec.steps_per_epoch, {"loss": 0.0}
        self.net.train()
        title = f"epoch {self.progress.epoch + 1}/{self.spec.epochs}"
        for step in tqdm(range(steps), title, unit="step", mininterval=1):
            for name, value in self._step(steps).items():
                sums[name] = sums.get(name, 0.0) + value
            if not math.isfinite(sums["loss"]):
                raise HandsynthError(
                    f"the loss is no longer finite at step {step + 1} of epoch {self.progress.epoch + 1}: training stopped; start "
                    f"again with a lower --lr (it was {self.spec.lr:g})"
                )
        return {name: value / steps for name, value in sums.items()}

    def _step(self, steps: int) -> dict[str, float]:
        """One step of Adam -> the loss and its terms."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.spec, self.progress.steps_done, steps)
        batch = IKBatch(*(t.to(self.device) for t in self.draws.batch(self.progress.steps_done, self.spec.batch)))
        terms = self._losses(batch)
        loss = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.progress.steps_done += 1
        return {"loss": loss.item()} | {name: term.item() for name, term in terms.items()}

    def _losses(self, batch: IKBatch) -> dict[str, torch.Tensor]:
        found = self.net(batch.keypoints, batch.beta if self.spec.known_shape else None)
        keypoints = self.layer(self.net.theta(found.pose), found.beta).keypoints
        return ik_losses(found, keypoints, batch.pose, batch.beta, batch.true_keypoints, self.spec.joint_unit_m)

    @torch.no_grad()
    def _row(self, sums: dict[str, float]) -> dict[str, float]:
        """The figures of an epoch, the net evaluated on the validation hands."""
        self.net.eval()
        batch = self.validation
        terms = self._losses(batch)
        found = self.net(batch.keypoints, batch.beta if self.spec.known_shape else None)
        hands = self.whole(self.net.theta(found.pose), found.beta)
        true = self.whole(batch.theta, batch.beta)
        row = {"epoch": self.progress.epoch + 1.0, "steps": float(self.progress.steps_done)}
        row |= {f"train_{name}": value for name, value in sums.items()}
        row["val_loss"] = float(torch.stack(list(terms.values())).sum())
        row |= {f"val_{name}": float(value) for name, value in terms.items()}
        row["val_angle_deg"] = math.degrees(row["val_angles"])
        row["val_pa_mpjpe_mm"] = _aligned_error_mm(hands.keypoints, batch.true_keypoints)
        row["val_pa_mpvpe_mm"] = _aligned_error_mm(hands.vertices, true.vertices)
        row["noise_pa_mpjpe_mm"] = _aligned_error_mm(batch.keypoints, batch.true_keypoints)
        row["lr"] = self.optimizer.param_groups[0]["lr"]
        return row


def run_config(spec: IKSpec, data: IKData) -> dict[str, Any]:
    """What config.yaml says: settings, hand and poses."""
    return {
        "kind": "ik",
        "training": spec_to_dict(spec),
        "hand": {"name": data.hand.name, "digest": data.hand.digest, "licence": data.hand.licence},
        "poses": {"digest": data.bank.digest, "training": len(data.train.names), "validation": len(data.validation.names)},
    }


def _aligned_error_mm(points: torch.Tensor, true: torch.Tensor) -> float:
    found, truth = (t.cpu().numpy().astype(np.float64) for t in (points, true))
    return mean_error_mm(align_similarity(found, truth), truth)


def _line(row: dict[str, float], epochs: int) -> str:
    return (
        f"{time.strftime('%H:%M:%S')} epoch {row['epoch']:.0f}/{epochs}: loss {row['train_loss']:.3f}; validation loss "
        f"{row['val_loss']:.3f}, angles {row['val_angle_deg']:.1f} deg, PA-MPJPE {row['val_pa_mpjpe_mm']:.1f}, "
        f"PA-MPVPE {row['val_pa_mpvpe_mm']:.1f} mm"
    )
