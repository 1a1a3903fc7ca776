"""smplx's linear blend skinning (Pavlakos et al. 2019) in the place of our own: the tests' oracle, and a choice for users of MANO.

smplx is licensed for non-commercial purposes only, as MANO is: its terms forbid even training nets for commercial use with it. It
comes with the extra `mano`, and nothing else imports it.
"""

import torch
from torch import Tensor

from handmesh.kinematics.hand_layer import HandLayer
from handsynth.core.errors import AssetError
from handsynth.core.hand import HandModel


class SmplxLayer(HandLayer):
    """`HandLayer` by smplx: equal up to rounding. Raises AssetError when smplx is not installed."""

    def __init__(self, hand: HandModel, dtype: torch.dtype = torch.float32) -> None:
        try:
            from smplx.lbs import lbs
        except ModuleNotFoundError:
            raise AssetError("smplx is not installed: pip install 'handsynth[mano]' (its licence is non-commercial)") from None
        super().__init__(hand, dtype)
        self._lbs = lbs
        arrays = {
            "v_template": hand.v_template[None],
            "shapedirs": hand.shapedirs,
            "posedirs": hand.posedirs.reshape(-1, hand.posedirs.shape[-1]).T,  # (9 (J - 1), 3 V)
            "J_regressor": hand.J_regressor,
            "lbs_weights": hand.weights,
        }
        self._arguments = (*arrays, "parents")
        for name, array in arrays.items():
            self.register_buffer(name, torch.tensor(array, dtype=dtype), persistent=False)
        self.register_buffer("parents", torch.tensor(hand.parents), persistent=False)

    def skin_and_joints(self, theta: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        """As `HandLayer`'s."""
        return self._lbs(beta, theta.flatten(1), **{name: getattr(self, name) for name in self._arguments})
