"""What a fit makes small, as a sum of squares: targets, priors, soft limits and the bend term of equation 3.

    2 E = sum_v w_v |v - v*|^2 / s^2 + k sum_p |p - p*|^2 / s^2 + |beta|^2 + |alpha - alpha_IK|^2 / s_a^2
          + |beyond limits|^2 / s_l^2 + |backward bend|^2 / s_b^2

With s the noise of the targets and s_a that of the IK net's angles, E is the negative logarithm of the posterior of a hand with
standard normal beta: noisy targets lean on the priors, clean ones do not. Section 3.4 of the paper names the terms (joints,
vertices, bend) and leaves norms and weights open; there the IK net is where the search starts, and its angles are no prior.

Equation 3: fingers do not bend backwards. For the bones b1 = tip - DIP, b2 = DIP - PIP, b3 = PIP - MCP of a finger,
(b1 x b2) . (b2 x b3) is negative where the two joints bend opposite ways. The paper sums relu of its negative over four fingers.
Bones are taken at unit length here, so that the measure is the product of the two joints' sines (times the cosine between their
axes) whatever the size of the hand; with raw bones it is about 1e-7 m^4.
"""

from dataclasses import dataclass, replace
from math import radians
from typing import NamedTuple

import numpy as np

from handmesh.kinematics.linear import ANGLES, BETA, HandState, Index, LinearHand, Skeleton
from handsynth.core.errors import UsageError

_CACHED_FLOATS = 800_000
"""Entries of the Jacobians that are made at once: 8 hands of 778 vertices, 3 MB, about the cache of a core."""


@dataclass(frozen=True)
class EnergySettings:
    """Scales of the terms: each is what one standard deviation is worth. Raises UsageError for a scale that is not positive."""

    noise_m: float = 1e-3  # of a target's coordinate: how far a feasible hand may be from what is given [m]
    keypoint_weight: float = 1.0  # of a keypoint against a vertex
    shape_prior: float = 1.0  # on |beta|^2
    angle_std_deg: float = 0.0  # of a net's angles where targets hold them; 0: they are no prior
    limit_deg: float = 1.0  # beyond a limit
    bend: bool = True  # equation 3 on four fingers
    bend_deg: float = 0.5  # of a finger's backward bend; much less, and the steps zigzag about straight fingers
    bend_margin_deg: float = 0.5  # forward bend that a finger should keep, so that what is left lies on the right side of zero

    def __post_init__(self) -> None:
        for name in ("noise_m", "limit_deg", "bend_deg"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} is {getattr(self, name)}: give a positive number")


class Targets(NamedTuple):
    """What B hands should match. Metres, radians."""

    vertices: np.ndarray  # (B, V, 3)
    keypoints: np.ndarray  # (B, 21, 3)
    weights: np.ndarray | None = None  # (B, V) of vertices, not negative, mean 1; None means equal
    angles: np.ndarray | None = None  # (B, 23) as a net has found them

    def at(self, index: Index) -> "Targets":
        """The hands of that index."""
        return Targets(*(None if value is None else value[index] for value in self))  # type: ignore[arg-type]


class NormalEquations(NamedTuple):
    """E, its gradient and its Gauss-Newton Hessian J^T J at B states, float64."""

    value: np.ndarray  # (B,)
    gradient: np.ndarray  # (B, U)
    hessian: np.ndarray  # (B, U, U)


class FitEnergy:
    """E of one hand model with given scales."""

    def __init__(self, linear: LinearHand, limits: np.ndarray, settings: EnergySettings, frozen_shape: bool = False) -> None:
        """`limits` (23, 2) [rad]. A frozen shape is no unknown: its columns are left out."""
        self.linear, self.limits, self.settings, self.frozen_shape = linear, limits.astype(linear.dtype), settings, frozen_shape
        self.num_unknowns = BETA.start if frozen_shape else linear.num_unknowns
        self._memory = np.empty((0,), linear.dtype)  # for the Jacobian, kept: fresh pages cost as much as the arithmetic

    def stiffer(self) -> "FitEnergy":
        """The same with a quarter of the bend's scale: sixteen times the weight on what bends backwards."""
        settings = replace(self.settings, bend_deg=self.settings.bend_deg / 4)
        return FitEnergy(self.linear, self.limits, settings, self.frozen_shape)

    def value(self, state: HandState, targets: Targets) -> np.ndarray:
        """(B,) E at states: the readable form, which tests hold `normal_equations` to."""
        s, (vertices, keypoints) = self.settings, self.linear.points(state)
        square = np.square(vertices - targets.vertices).sum(-1)
        if targets.weights is not None:
            square = square * targets.weights
        data = square.sum(-1) + s.keypoint_weight * np.square(keypoints - targets.keypoints).sum((-1, -2))
        total = data / s.noise_m**2 + np.square(self._beyond(state.angles)).sum(-1)
        if not self.frozen_shape:
            total = total + s.shape_prior * np.square(state.beta).sum(-1)
        if s.angle_std_deg and targets.angles is not None:
            total = total + np.square((state.angles - targets.angles) / radians(s.angle_std_deg)).sum(-1)
        if s.bend:
            short = np.maximum(radians(s.bend_margin_deg) - backward_bend(keypoints), 0)
            total = total + np.square(short / radians(s.bend_deg)).sum(-1)
        return total / 2

    def normal_equations(self, state: HandState, targets: Targets) -> NormalEquations:
        """E, gradient and Hessian at (B,) states. The residual rides along as one more row of the Jacobian."""
        s, u, count = self.settings, self.num_unknowns, len(state.angles)
        gram = np.empty((count, u + 1, u + 1), self.linear.dtype)
        keypoint_rows = np.empty((count, u + 1, 3, targets.keypoints.shape[1]), self.linear.dtype)
        keypoints = np.empty_like(targets.keypoints)
        skeleton = self.linear.skeleton(state)
        size = max(1, _CACHED_FLOATS // ((u + 1) * 3 * self.linear.num_vertices))
        for start in range(0, count, size):
            part = slice(start, start + size)
            self._gram(skeleton.at(part), targets.at(part), gram[part], keypoint_rows[part], keypoints[part])
        keypoint_rows[:, u] = (keypoints - targets.keypoints).swapaxes(1, 2)
        flat = keypoint_rows.reshape(count, u + 1, -1)
        whole = (gram + s.keypoint_weight * (flat @ flat.swapaxes(1, 2))).astype(np.float64) / s.noise_m**2
        hessian, gradient, value = whole[:, :u, :u], whole[:, :u, u], whole[:, u, u]

        diagonal = np.einsum("buu->bu", hessian)  # a view
        beyond = self._beyond(state.angles).astype(np.float64)
        scale = radians(s.limit_deg)
        gradient[:, ANGLES] += beyond / scale
        diagonal[:, ANGLES] += (beyond != 0) / scale**2
        value = value + np.square(beyond).sum(-1)
        if not self.frozen_shape:
            gradient[:, BETA] += s.shape_prior * state.beta
            diagonal[:, BETA] += s.shape_prior
            value = value + s.shape_prior * np.square(state.beta.astype(np.float64)).sum(-1)
        if s.angle_std_deg and targets.angles is not None:
            std = radians(s.angle_std_deg)
            away = ((state.angles - targets.angles) / std).astype(np.float64)
            gradient[:, ANGLES] += away / std
            diagonal[:, ANGLES] += 1 / std**2
            value = value + np.square(away).sum(-1)
        if s.bend:
            residual, jacobian = self._bend(keypoints, keypoint_rows[:, :u])
            gradient += (jacobian.swapaxes(1, 2) @ residual[..., None])[..., 0]
            hessian += jacobian.swapaxes(1, 2) @ jacobian
            value = value + np.square(residual).sum(-1)
        return NormalEquations(value / 2, gradient, hessian)

    def _beyond(self, angles: np.ndarray) -> np.ndarray:
        """(B, 23) angles -> how far beyond its limit, in scales, signed; zero within."""
        nearest = np.clip(angles, self.limits[:, 0], self.limits[:, 1])
        return (angles - nearest) / radians(self.settings.limit_deg)

    def _gram(
        self, skeleton: Skeleton, targets: Targets, gram: np.ndarray, keypoint_rows: np.ndarray, keypoints: np.ndarray
    ) -> None:
        """Fills, for a few hands, inner products of the vertices' rows, and rows and places of the keypoints."""
        u = self.num_unknowns
        rows = self._memory[: len(gram)]  # (B, U + 1, 3, V)
        if len(rows) < len(gram):
            rows = self._memory = np.empty((len(gram), u + 1, 3, self.linear.num_vertices), self.linear.dtype)
        vertices = self.linear.linearise(skeleton, rows[:, :u])
        np.subtract(vertices, targets.vertices.swapaxes(1, 2), out=rows[:, u])
        keypoint_rows[:] = rows @ self.linear.keypoint_regressor.T
        keypoints[:] = self.linear.regress(vertices)
        if targets.weights is not None:
            rows *= np.sqrt(targets.weights)[:, None, None]
        flat = rows.reshape(len(rows), u + 1, -1)
        np.matmul(flat, flat.swapaxes(1, 2), out=gram)

    def _bend(self, keypoints: np.ndarray, derivatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, 4) residuals of the bend term and (B, 4, U) their derivatives, float64; (B, U, 3, 21) derivatives of keypoints."""
        measure, by_points = backward_bend_gradients(keypoints)  # (B, 4), (B, finger, point, 3)
        # (B, U, 3, finger, point): what each finger's points do.
        moved = derivatives[..., np.array(BEND_CHAINS)]
        slope = np.einsum("bucfp,bfpc->bfu", moved, by_points).astype(np.float64)
        scale = radians(self.settings.bend_deg)
        residual = np.maximum(radians(self.settings.bend_margin_deg) - measure.astype(np.float64), 0) / scale
        return residual, -slope / scale * (residual > 0)[..., None]


BEND_CHAINS = ((5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20))
"""MCP, PIP, DIP and tip of index, middle, ring and pinky, in FreiHAND's order of keypoints."""


def bend_measures(keypoints: np.ndarray) -> np.ndarray:
    """(..., 21, 3) keypoints, any unit -> (..., 4) (b1 x b2) . (b2 x b3) of unit bones: index, middle, ring, pinky."""
    (u1, u2, u3), _ = _bones(keypoints)
    return _measure(u1, u2, u3)


def bend_penalty(keypoints: np.ndarray) -> np.ndarray:
    """Equation 3. (..., 21, 3) keypoints -> (...) sum over four fingers of relu(-measure)."""
    return np.maximum(-bend_measures(keypoints), 0).sum(-1)


def has_bend_violation(keypoints: np.ndarray, tolerance: float = 0.0) -> np.ndarray:
    """(..., 21, 3) keypoints -> (...) bool: any of the four fingers bends backwards by more than the tolerance."""
    return np.asarray((bend_measures(keypoints) < -tolerance).any(-1))


BEND_SOFTNESS = 1e-3
"""Sine below which `backward_bend` fades: it has no direction for a finger that is straight at both joints."""


def backward_bend(keypoints: np.ndarray) -> np.ndarray:
    """(..., 21, 3) keypoints -> (..., 4) the measure as an angle [rad]: of its sign, about the smaller of the two joints' bends.

    The measure itself is a product of two sines, so flat where the finger is straight that a solver cannot follow it; divided
    by the root of the sum of their squares it has a slope of one.
    """
    (u1, u2, u3), _ = _bones(keypoints)
    return _measure(u1, u2, u3) / _size((u1 * u2).sum(-1), (u2 * u3).sum(-1))


def backward_bend_gradients(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B, 21, 3) keypoints -> `backward_bend` (B, 4), and its gradients (B, 4, 4, 3) by finger and MCP, PIP, DIP, tip."""
    (u1, u2, u3), lengths = _bones(keypoints)
    u12, u23 = (u1 * u2).sum(-1, keepdims=True), (u2 * u3).sum(-1, keepdims=True)
    size = _size(u12, u23)
    ratio = _measure(u1, u2, u3)[..., None] / size
    # By unit bones: of the measure (u1.u2)(u2.u3) - u1.u3, and of the size, the root of 2 - (u1.u2)^2 - (u2.u3)^2 + softness^2.
    pull = ratio / size
    by_unit = np.stack(
        [u23 * u2 - u3 + pull * u12 * u2, u23 * u1 + u12 * u3 + pull * (u12 * u1 + u23 * u3), u12 * u2 - u1 + pull * u23 * u2], 2
    ) / np.expand_dims(size, 2)
    units = np.stack([u1, u2, u3], 2)
    by_bone = (by_unit - units * (by_unit * units).sum(-1, keepdims=True)) / lengths  # a unit vector only turns
    d1, d2, d3 = np.moveaxis(by_bone, 2, 0)
    return ratio[..., 0], np.stack([-d3, d3 - d2, d2 - d1, d1], 2)


def _size(u12: np.ndarray, u23: np.ndarray) -> np.ndarray:
    """Root of the sum of the two joints' squared sines, from their cosines."""
    return np.sqrt(np.maximum(1 - u12 * u12, 0) + np.maximum(1 - u23 * u23, 0) + BEND_SOFTNESS**2)


def _bones(keypoints: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """Unit bones from tip to palm, (..., 4, 3) each, and their lengths (..., 4, 3, 1)."""
    chains = keypoints[..., np.array(BEND_CHAINS), :]  # (..., finger, point, 3)
    bones = (chains[..., 1:, :] - chains[..., :-1, :])[..., ::-1, :]
    lengths = np.maximum(np.linalg.norm(bones, axis=-1, keepdims=True), 1e-9)
    units = bones / lengths
    return (units[..., 0, :], units[..., 1, :], units[..., 2, :]), lengths


def _measure(u1: np.ndarray, u2: np.ndarray, u3: np.ndarray) -> np.ndarray:
    """(b1 x b2) . (b2 x b3) of unit bones, by Lagrange's identity."""
    return (u1 * u2).sum(-1) * (u2 * u3).sum(-1) - (u1 * u3).sum(-1)
