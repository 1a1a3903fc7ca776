"""Patterns in 3-D, so that they run on across the seams of a texture: noise, drawn lines, scattered spots."""

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

_PERIOD = 32  # cells after which a noise repeats; its axes are turned at random, so that no repeat lines up with the hand


def smoothstep(x: np.ndarray, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, and a cubic between; `low` > `high` gives the falling one."""
    t = np.clip((x - low) / (np.asarray(high) - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def bump(x: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """Gaussian of height 1 and standard deviation `width`."""
    return np.exp(-0.5 * np.square(x / width))


def noise(points: np.ndarray, cell: float | tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of mean 0 and deviation 1: quadratic B-splines over a lattice of white noise.

    Args:
        points: (U, 3), or (U, 2) for a plane, in metres.
        cell: lattice spacing [m]; three values stretch it along the axes of `points`, which then are not turned.
        rng: draws the lattice.

    Returns:
        (U,) float32.
    """
    lattice = rng.normal(size=(_PERIOD,) * 3).astype(np.float32)
    turn = Rotation.random(rng=rng).as_matrix() if np.isscalar(cell) else np.eye(3)
    if points.shape[1] == 2:
        points = np.pad(points, ((0, 0), (0, 1)))
    lattice_points = points @ turn.T / np.asarray(cell) + rng.uniform(0, _PERIOD, 3)
    values = map_coordinates(lattice, lattice_points.T, order=2, mode="grid-wrap", prefilter=False)
    return _normalised(values)


def rough_noise(points: np.ndarray, cell: float, rng: np.random.Generator, octaves: int = 3, gain: float = 0.6) -> np.ndarray:
    """(U,) sum of noises, each half as wide and `gain` times as strong as the one before; mean 0, deviation 1."""
    return _normalised(np.sum([gain**k * noise(points, cell / 2**k, rng) for k in range(octaves)], axis=0))


def ridges(points: np.ndarray, cell: float | tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """(U,) thin lines in 0..1 where a noise changes sign: the net of fine furrows of skin."""
    return bump(noise(points, cell, rng), 0.22)


def warp(points: np.ndarray, cell: float, reach: float, rng: np.random.Generator) -> np.ndarray:
    """(U, 3) points moved by a smooth noise of deviation `reach` [m], so that lines drawn on them wobble."""
    return points + reach * np.stack([noise(points, cell, rng) for _ in range(points.shape[1])], 1)


def stroke(points: np.ndarray, path: np.ndarray, width: float, taper: float = 0.25) -> np.ndarray:
    """A line of Gaussian section drawn along a smooth curve, thinning out over the share `taper` at both ends.

    Args:
        points: (U, D) where to draw [m].
        path: (K, D) points that the curve passes, K >= 2 [m].
        width: standard deviation of the section [m].
        taper: share of the length, above 0 and at most 0.5.

    Returns:
        (U,) strength in 0..1.
    """
    curve = smooth_curve(path, 160)
    reach = 4 * width
    strength = np.zeros(len(points), np.float32)
    near = np.flatnonzero(((points > curve.min(0) - reach) & (points < curve.max(0) + reach)).all(1))
    distance, index = cKDTree(curve).query(points[near], distance_upper_bound=reach)
    found = np.isfinite(distance)
    along = index[found] / (len(curve) - 1)
    ends = smoothstep(along, 0.0, taper) * smoothstep(1.0 - along, 0.0, taper)
    strength[near[found]] = bump(distance[found], width * (0.45 + 0.55 * ends)) * ends
    return strength


def smooth_curve(path: np.ndarray, count: int) -> np.ndarray:
    """(count, D) points at equal steps of the parameter on the Catmull-Rom curve through the (K, D) points of `path`."""
    path = np.asarray(path, float)
    padded = np.concatenate([2 * path[:1] - path[1:2], path, 2 * path[-1:] - path[-2:-1]])
    t = np.linspace(0, len(path) - 1, count)
    k = np.minimum(t.astype(int), len(path) - 2)
    u = (t - k)[:, None]
    a, b, c, d = (padded[k + i] for i in range(4))
    return b + 0.5 * u * (c - a + u * (2 * a - 5 * b + 4 * c - d + u * (3 * (b - c) + d - a)))


def spots(points: np.ndarray, density: np.ndarray, radii: tuple[float, float], count: int, rng: np.random.Generator) -> np.ndarray:
    """Round soft-edged spots scattered where `density` is high.

    Args:
        points: (U, 3) [m].
        density: (U,) >= 0, chance of a spot's centre at each texel.
        radii: least and greatest radius [m].
        count: number of spots.
        rng: draws places, radii and strengths.

    Returns:
        (U,) strength in 0..1.
    """
    strength = np.zeros(len(points), np.float32)
    density = np.maximum(density, 0.0).astype(np.float64)  # a product of rounded shares may dip just below zero
    total = density.sum()
    if total <= 0:
        return strength
    tree = cKDTree(points)
    for centre in rng.choice(len(points), size=count, p=density / total):
        radius, height = rng.uniform(*radii), rng.uniform(0.4, 1.0)
        near = np.array(tree.query_ball_point(points[centre], 2.0 * radius))
        distance = np.linalg.norm(points[near] - points[centre], axis=1)
        strength[near] = np.maximum(strength[near], height * smoothstep(distance, 1.35 * radius, 0.55 * radius))
    return strength


def _normalised(values: np.ndarray) -> np.ndarray:
    """Mean 0, deviation 1, float32."""
    return ((values - values.mean()) / max(float(values.std()), 1e-9)).astype(np.float32)
