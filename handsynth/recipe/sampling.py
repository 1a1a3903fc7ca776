"""sample_recipe: from (spec, library, index) to every decision of one sample. Pure: no order, no state, no clock."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from handsynth.assets.library import Library
from handsynth.core.conventions import FINGER_JOINTS
from handsynth.core.rng import stream
from handsynth.core.rotation import rotmat_to_rotvec
from handsynth.recipe.proxy import HandProxy
from handsynth.recipe.recipe import PoseChoice, Recipe
from handsynth.recipe.samplers import (
    UPRIGHT,
    rounded,
    sample_background,
    sample_camera,
    sample_lights,
    sample_pose,
    sample_sensor,
    uniform,
)
from handsynth.recipe.spec import DatasetSpec

FRAME_MARGIN_M = 0.008
"""Surface between the proxy's points that framing must not cut off [m]; a test holds every vertex inside the image."""

BATCH = 32
"""Hands posed at once."""


class RecipeSampler:
    """Holds what all samples of a dataset share; `sample(index)` is a pure function of it."""

    def __init__(self, spec: DatasetSpec, library: Library) -> None:
        """Precomputes the proxy hand from the library's hand and pose bank."""
        self.spec, self.library = spec, library
        self.proxy = HandProxy(library.hand, library.bank.theta)
        self.upright = rotmat_to_rotvec(UPRIGHT)

    def sample(self, index: int) -> Recipe:
        """The recipe of sample `index`, 0 <= index < spec.samples."""
        return self.sample_many([index])[0]

    def sample_many(self, indices: Sequence[int]) -> list[Recipe]:
        """The recipes of some samples; hands are posed BATCH at a time, and no digit depends on their company.

        One named random stream per purpose: a new draw for lights leaves every camera where it was.
        """
        recipes: list[Recipe] = []
        for start in range(0, len(indices), BATCH):
            hands = [self._draw_hand(index) for index in indices[start : start + BATCH]]
            points = self.proxy.points(np.array([h.theta for h in hands]), np.array([h.beta for h in hands]))
            recipes += [self._finish(hand, seen) for hand, seen in zip(hands, points, strict=True)]
        return recipes

    def _draw_hand(self, index: int) -> "_Hand":
        """Pose and shape of one sample."""
        spec, library = self.spec, self.library
        if not 0 <= index < spec.samples:
            raise IndexError(f"sample {index} of {spec.samples}")
        draw = index % (spec.camera.draws if spec.camera.order == "grid" else spec.pose.draws)
        pose = sample_pose(stream(spec.seed, index, "pose"), spec.pose, self.proxy, len(library.bank.theta), index, draw)
        theta = np.empty((library.hand.num_joints, 3))
        theta[0], theta[1:] = self.upright, library.bank.theta[pose.bank_index]
        for name, row in pose.fingers.items():
            joints = np.array(FINGER_JOINTS[name])
            theta[joints] = library.bank.theta[row][joints - 1]
        beta = stream(spec.seed, index, "shape").normal(0, spec.beta_std, library.hand.num_shapes)
        return _Hand(index, pose, theta, beta)

    def _finish(self, hand: "_Hand", points: np.ndarray) -> Recipe:
        """Everything else; the camera frames `points` (N, 3) [m, world]."""
        spec, library, index = self.spec, self.library, hand.index
        alpha = stream(spec.seed, index, "skin").normal(0, spec.alpha_std, library.skin_source.num_components)
        lights, ambient = sample_lights(stream(spec.seed, index, "light"), spec.light)
        left = uniform(stream(spec.seed, index, "side"), (0, 1)) < spec.left_fraction
        return Recipe(
            index=index,
            side="left" if left else "right",
            theta=rounded(hand.theta),
            beta=rounded(hand.beta),
            trans=(0.0, 0.0, 0.0),
            alpha=rounded(alpha),
            pose=hand.pose,
            camera=sample_camera(stream(spec.seed, index, "camera"), spec.camera, points, spec.image_size, index, FRAME_MARGIN_M),
            lights=lights,
            ambient=ambient,
            background=sample_background(stream(spec.seed, index, "background"), spec.background, len(library.backgrounds)),
            sensor=sample_sensor(stream(spec.seed, index, "sensor"), spec.sensor),
        )


@dataclass(frozen=True, eq=False)
class _Hand:
    """A hand that is not framed yet."""

    index: int
    pose: PoseChoice
    theta: np.ndarray  # (16, 3) [rad]
    beta: np.ndarray  # (S,)
