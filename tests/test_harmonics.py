"""Ambient light as spherical harmonics: analytic values, a Monte-Carlo twin, rotation, and what a renderer without them shows."""

import numpy as np
import pytest

from handsynth.core.harmonics import TERMS, light_on, sky_weights, split, terms, turned

N = 200_000


def sphere(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Directions that cover the sphere evenly (a Fibonacci lattice), and the solid angle of each."""
    k = np.arange(count) + 0.5
    z, azimuth = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(azimuth), r * np.sin(azimuth), z], -1), np.full(count, 4 * np.pi / count)


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def test_light_from_everywhere_lights_everything_alike():
    """Radiance 1 gives E = 1 whatever the normal: the surface shows its albedo."""
    directions, angles = sphere(N)
    sky = sky_weights(directions, angles) @ np.ones((N, 3))
    np.testing.assert_allclose(sky[0], 1, atol=1e-4)
    np.testing.assert_allclose(sky[1:], 0, atol=1e-4)


def test_a_half_sky_has_its_analytic_light():
    """Light from one half of the sphere alone: E = 1/2 + (n . up) / 2 to order 2, as it is exactly."""
    directions, angles = sphere(N)
    up = np.array([0.48, -0.6, 0.64])
    sky = sky_weights(directions, angles) @ (directions @ up > 0)[:, None].astype(float)
    normals = sphere(500)[0]
    np.testing.assert_allclose(terms(normals) @ sky, 0.5 + 0.5 * (normals @ up)[:, None], atol=2e-3)


@pytest.mark.parametrize("seed", range(3))
def test_smooth_skies_agree_with_monte_carlo_integration(seed):
    """For light that is itself of order 2, E is the cosine-weighted mean over the half-sphere, drawn at random."""
    rng = np.random.default_rng(seed)
    radiance = np.concatenate([[[3.0, 3.0, 3.0]], rng.normal(0, 0.5, (TERMS - 1, 3))])
    directions, angles = sphere(N)
    sky = sky_weights(directions, angles) @ (terms(directions) @ radiance)
    for normal in sphere(7)[0]:
        drawn = rng.normal(size=(400_000, 3))
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        cosine = np.maximum(drawn @ normal, 0)
        integral = 4 * (cosine[:, None] * (terms(drawn) @ radiance)).mean(0)  # 4 pi over pi
        np.testing.assert_allclose(light_on(sky, normal), integral, rtol=0.01)


def test_a_turned_sky_lights_turned_normals_alike():
    rng = np.random.default_rng(3)
    for _ in range(5):
        sky, rotation, normals = rng.normal(size=(TERMS, 3)), random_rotation(rng), sphere(50)[0]
        np.testing.assert_allclose(terms(normals @ rotation.T) @ turned(sky, rotation), terms(normals) @ sky, atol=1e-12)


def test_light_is_never_negative():
    """A lamp in the dark, whose polynomial falls below 0 on the other side."""
    lamp = np.array([[0.0, 0.0, 1.0]])
    sky = sky_weights(lamp, np.array([4 * np.pi])) @ np.ones((1, 3))
    normals = sphere(200)[0]
    assert (terms(normals) @ sky).min() < -0.1
    assert light_on(sky, normals).min() == 0


def test_split_light_has_the_sky_s_mean_and_direction():
    """Light from everywhere and a lamp, for renderers without harmonics: neither negative, with the sky's orders 0 and 1."""
    directions, angles = sphere(N)
    rng = np.random.default_rng(4)
    for _ in range(5):
        light = np.maximum(directions @ rng.normal(size=3) + rng.uniform(-0.5, 0.5), 0)[:, None] * [1.0, 0.7, 0.4]
        sky = sky_weights(directions, angles) @ light
        everywhere, direction, color = split(sky)
        assert everywhere.min() >= 0
        assert color.min() >= 0
        shown = everywhere + np.maximum(directions @ direction, 0)[:, None] * color
        orders = (terms(directions)[:, :4].T * [[1], [3], [3], [3]]) @ shown / N
        np.testing.assert_allclose(orders, sky[:4], atol=2e-3)
    assert np.isfinite(np.concatenate([part.ravel() for part in split(np.zeros((TERMS, 3)))])).all()
