"""FreiHAND's folder rebuilt in its exact structure from synthetic hands, for tests; none of its images or numbers."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import simplejpeg

from handsynth.core.hand import PosedHand, pose_hand
from handsynth.core.toy import toy_hand

ORIGINALS, SIZE = 11, 224
K = np.array([[480.0, 0, 112], [0, 480, 111], [0, 0, 1]])
HAND = dataclasses.replace(toy_hand(), fingertip_table="freihand", hands_mean=np.random.default_rng(1).normal(0, 0.3, (15, 3)))
"""A hand whose mean pose is far from flat, so that forgetting it shows."""


def random_hands(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, PosedHand]:
    """Poses (n, 16, 3) relative to the flat hand, shapes (n, 10), and the hands before the camera."""
    rng = np.random.default_rng(seed)
    theta, beta = rng.normal(0, 0.3, (count, 16, 3)), rng.normal(0, 1, (count, 10))
    return theta, beta, pose_hand(HAND, theta, beta, rng.uniform([-0.05, -0.05, 0.5], [0.05, 0.05, 0.8], (count, 3)))


def write_training(src: Path) -> tuple[np.ndarray, PosedHand]:
    """Writes the training set; returns the (n, 16, 3) poses relative to the flat hand, and the hands."""
    theta, beta, posed = random_hands(ORIGINALS, 0)
    mano = np.concatenate([theta.reshape(ORIGINALS, 48), beta, np.zeros((ORIGINALS, 3))], 1)
    mano[:, 3:48] -= HAND.hands_mean.ravel()
    _write_images(src / "training" / "rgb", 4 * ORIGINALS)
    _write_images(src / "training" / "mask", ORIGINALS, white=True)
    labels = {"K": np.tile(K, (ORIGINALS, 1, 1)), "mano": mano[:, None], "xyz": posed.keypoints, "verts": posed.vertices}
    _write_lists(src, "training", labels)
    return theta, posed


def write_evaluation(src: Path, count: int, annotated: bool = True) -> PosedHand:
    """Writes an evaluation set, with the annotations that were published later if `annotated`; returns its hands."""
    _, _, posed = random_hands(count, 2)
    _write_images(src / "evaluation" / "rgb", count)
    scale = np.linalg.norm(posed.keypoints[:, 9] - posed.keypoints[:, 10], axis=1)
    _write_lists(src, "evaluation", {"K": np.tile(K, (count, 1, 1)), "scale": scale})
    if annotated:
        _write_lists(src, "evaluation", {"xyz": posed.keypoints, "verts": posed.vertices})
    return posed


def _write_images(folder: Path, count: int, white: bool = False) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        image = np.full((SIZE, SIZE, 3), 255 if white else 3 * i, np.uint8)
        (folder / f"{i:08d}.jpg").write_bytes(simplejpeg.encode_jpeg(image, 95))


def _write_lists(src: Path, split: str, values: dict[str, np.ndarray]) -> None:
    for name, rows in values.items():
        (src / f"{split}_{name}.json").write_text(json.dumps(rows.tolist()))
