"""sample_recipe: from (spec, library, index) to every decision of one sample. Pure: no order, no state, no clock."""

import numpy as np

from handsynth.assets.library import Library
from handsynth.core.conventions import FINGER_JOINTS
from handsynth.core.rng import stream
from handsynth.core.rotation import rotmat_to_rotvec
from handsynth.recipe.priors import (
    UPRIGHT,
    rounded,
    sample_background,
    sample_camera,
    sample_lights,
    sample_pose,
    sample_sensor,
    uniform,
)
from handsynth.recipe.proxy import HandProxy
from handsynth.recipe.recipe import Recipe
from handsynth.recipe.spec import DatasetSpec

FRAME_MARGIN_M = 0.008
"""Surface between the proxy's points that framing must not cut off [m]; a test holds every vertex inside the picture."""


class RecipeSampler:
    """Holds what all samples of a dataset share; `sample(index)` is a pure function of it."""

    def __init__(self, spec: DatasetSpec, library: Library) -> None:
        """Precomputes the proxy hand from the library's hand and pose bank."""
        self.spec, self.library = spec, library
        self.proxy = HandProxy(library.hand, library.bank.theta)
        self.upright = rotmat_to_rotvec(UPRIGHT)

    def sample(self, index: int) -> Recipe:
        """The recipe of sample `index`, 0 <= index < spec.samples.

        One named random stream per purpose: a new draw for lights leaves every camera where it was.
        """
        spec, library = self.spec, self.library
        if not 0 <= index < spec.samples:
            raise IndexError(f"sample {index} of {spec.samples}")

        draw = index % (spec.camera.draws if spec.camera.order == "grid" else spec.pose.draws)
        pose = sample_pose(stream(spec.seed, index, "pose"), spec.pose, self.proxy, len(library.bank.theta), index, draw)
        fingers = library.bank.theta[pose.bank_index].copy()
        for name, row in pose.fingers.items():
            joints = np.array(FINGER_JOINTS[name]) - 1
            fingers[joints] = library.bank.theta[row][joints]
        theta = np.concatenate([self.upright[None], fingers])

        beta = stream(spec.seed, index, "shape").normal(0, spec.beta_std, library.hand.num_shapes)
        alpha = stream(spec.seed, index, "skin").normal(0, spec.alpha_std, library.num_skin_components)
        points = self.proxy.points(theta, beta)
        lights, ambient = sample_lights(stream(spec.seed, index, "light"), spec.light)
        left = uniform(stream(spec.seed, index, "side"), (0, 1)) < spec.left_fraction
        return Recipe(
            index=index,
            side="left" if left else "right",
            theta=rounded(theta),
            beta=rounded(beta),
            trans=(0.0, 0.0, 0.0),
            alpha=rounded(alpha),
            pose=pose,
            camera=sample_camera(stream(spec.seed, index, "camera"), spec.camera, points, spec.image_size, index, FRAME_MARGIN_M),
            lights=lights,
            ambient=ambient,
            background=sample_background(stream(spec.seed, index, "background"), spec.background, len(library.backgrounds)),
            sensor=sample_sensor(stream(spec.seed, index, "sensor"), spec.sensor),
        )
