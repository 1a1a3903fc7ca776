"""Moments of a clip: what moves on the way from a frame to the next, and how a camera that turns moves what is far away."""

from dataclasses import replace
from typing import Any

import numpy as np

from handsynth.core.mirror import MIRROR
from handsynth.recipe.interpolation import quaternion_to_rotvec, rotvec_to_quaternion, slerp
from handsynth.recipe.recipe import CameraChoice, ClipChoice, Recipe
from handsynth.recipe.samplers import camera_matrices


def moment_at(recipe: Recipe, share: float) -> Recipe:
    """The recipe of a frame, `share` of the time until the next frame later (or earlier, below 0): only what moves is another.

    Joints turn the shortest way and all else moves straight on. Share 1 is the next frame. Raises nothing for recipes of clips.
    """
    clip = recipe.clip
    assert clip is not None  # other recipes have no moments
    after = clip.after
    start, end = (rotvec_to_quaternion(np.array(theta).reshape(-1, 3)) for theta in (recipe.theta, after.theta))
    theta = quaternion_to_rotvec(slerp(start, end, np.full(len(start), share)))
    arm = recipe.arm
    if arm is not None and after.wrist_deg is not None:
        wrist = _between((arm.flexion_deg, arm.deviation_deg, arm.twist_deg), after.wrist_deg, share)
        arm = replace(arm, flexion_deg=wrist[0], deviation_deg=wrist[1], twist_deg=wrist[2])
    camera = {name: _between(value, getattr(after.camera, name), share) for name, value in vars(recipe.camera).items()}
    return replace(
        recipe,
        theta=tuple(theta.ravel().tolist()),
        trans=_between(recipe.trans, after.trans, share),
        camera=CameraChoice(**camera),
        arm=arm,
    )


def _between(start: Any, end: Any, share: float) -> Any:
    """A number, or a tuple of them, on the straight way."""
    if isinstance(start, tuple):
        return tuple(_between(a, b, share) for a, b in zip(start, end, strict=True))
    return start + share * (end - start)


def exposure_shares(clip: ClipChoice) -> list[float]:
    """When light falls on a frame, in shares of the time until the next: evenly about 0, which is the middle one."""
    return [clip.shutter * ((k + 0.5) / clip.exposures - 0.5) for k in range(clip.exposures)]


def camera_rotation(camera: CameraChoice, side: str) -> np.ndarray:
    """(3, 3) world to camera; of a left hand that of the mirrored world, as its labels have it."""
    rotation = camera_matrices(camera)[1][:3, :3]
    return MIRROR[:3, :3] @ rotation @ MIRROR[:3, :3] if side == "left" else rotation


def turn_since_facing(recipe: Recipe) -> np.ndarray:
    """(3, 3) rotation from the camera before which a clip's background stands as it was cut to the recipe's camera."""
    assert recipe.clip is not None
    elevation, azimuth, roll = recipe.clip.facing_deg
    facing = replace(recipe.camera, elevation_deg=elevation, azimuth_deg=azimuth, roll_deg=roll)
    return camera_rotation(recipe.camera, recipe.side) @ camera_rotation(facing, recipe.side).T


def far_homography(K: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """(3, 3) homography of pixels of a camera with K (3, 3) [px] to those after it is turned by `turn` (..., 3, 3), of all that is
    far away.
    """
    return np.asarray(K @ turn @ np.linalg.inv(K))
