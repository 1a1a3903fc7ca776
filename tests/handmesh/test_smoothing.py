"""The filter of followed hands: it does not stay behind what moves, averages what does not, and leaves what is exact."""

import types
from pathlib import Path

import numpy as np
import pytest
from clips import FPS, render_clip

import handmesh
from handmesh.estimation.smoothing import PAUSE_S, Cutoffs, Follower, Smoother
from handmesh.kinematics.dof import dof_limits
from handmesh.kinematics.linear import HandState, linear_hand
from handsynth.core.named_hands import open_hand
from handsynth.core.rotation import rotmat_to_rotvec, rotvec_to_rotmat

DT = 1 / 30
HAND = open_hand("embedded")
STD = np.full(778, 10.0)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The filter's benchmark as a module."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import bench_smoothing

    return bench_smoothing


def followed(
    values: np.ndarray, cutoff_hz: float, per_speed: float = 0.0, dt: float | np.ndarray = DT, derivatives: int = 2
) -> np.ndarray:
    """(T, N) values -> what the filter shows of them."""
    filter_ = Follower(np.full(values.shape[1], cutoff_hz), per_speed, derivatives)
    shown, out = values[0], [values[0]]
    for value, step in zip(values[1:], np.broadcast_to(dt, len(values) - 1), strict=True):
        shown = shown + filter_(value - shown, float(step))
        out.append(shown)
    return np.stack(out)


def acceleration(values: np.ndarray) -> float:
    return float(np.abs(np.diff(values, n=2, axis=0)).mean())


def states(times: np.ndarray) -> list[HandState]:
    """A hand that turns, moves and bends its fingers at steady speeds; for two seconds within their limits."""
    turns = rotvec_to_rotmat(times[:, None] * np.array([0.3, 1.0, -0.5]))
    places = np.array([0.05, -0.1, 0.6]) + times[:, None] * np.array([0.1, 0.05, 0.2])
    limits = dof_limits(HAND.joint_limits)
    angles = limits.mean(1) + 0.4 * (times[:, None] - 1) * np.diff(limits).T
    return [HandState(turns[k, None], places[k, None], angles[k, None], np.full((1, 10), 0.5)) for k in range(len(times))]


def smoothed(found: list[HandState], steps: np.ndarray | float = DT, cutoffs: Cutoffs | None = None) -> list[HandState]:
    smoother = Smoother(HAND, cutoffs or Cutoffs())
    return [smoother(state, STD, float(dt)) for state, dt in zip(found, np.broadcast_to(steps, len(found)), strict=True)]


def keypoints(found: list[HandState]) -> np.ndarray:
    return linear_hand(HAND).points(HandState(*(np.concatenate(part) for part in zip(*found, strict=True))))[1]


@pytest.mark.parametrize("cutoffs", [(2.0, 0.0), (1.75, 1.5), (4.0, 0.0)])
def test_what_moves_steadily_is_not_behind(cutoffs):
    """After a second, lines and parabolas are followed to a hundredth of what they move in a frame."""
    times = np.arange(60)[:, None] * DT
    for curve, speed in ((3 * times, 3.0), (5 * times**2, 10.0)):
        assert np.abs(followed(curve, *cutoffs) - curve)[30:].max() < 0.01 * speed * DT


def test_a_whole_hand_that_moves_steadily_is_not_behind():
    """Turning, coming nearer and bending at once: keypoints within 0.2 mm in its second second, at up to 0.4 m/s."""
    truth = states(np.arange(60) * DT)
    true = keypoints(truth)
    assert np.linalg.norm(np.diff(true, axis=0), axis=-1).max() > 0.3 * DT
    assert np.linalg.norm(keypoints(smoothed(truth)) - true, axis=-1)[30:].max() < 2e-4


def test_noise_at_rest_is_averaged():
    """Accelerations of what is noisy fall below half; what does not change becomes a mean."""
    noise = np.random.default_rng(0).normal(size=(400, 8))
    cutoffs = Cutoffs()
    for cutoff, share in ((cutoffs.angles, 0.45), (cutoffs.turn, 0.48), (cutoffs.place, 0.75), (cutoffs.depth, 0.45)):
        assert acceleration(followed(noise, cutoff)) < share * acceleration(noise)
    first = followed(noise, 0.03, derivatives=0)
    np.testing.assert_allclose(first[20], noise[:21].mean(0), atol=0.1 * noise.std())  # an average, not what came first


def test_a_frame_of_which_the_net_is_unsure_moves_little():
    """A hand found elsewhere in one frame follows it by half or more, and by an eighth when the deviation has grown threefold."""
    first, second = states(np.array([0.0, 0.2]))
    moved = {}
    for factor in (1.0, 3.0):
        smoother = Smoother(HAND)
        for _ in range(30):
            smoother(first, STD, DT)
        shown = smoother(second, factor * STD, DT)
        moved[factor] = np.linalg.norm(shown.angles - first.angles) / np.linalg.norm(second.angles - first.angles)
    assert moved[1.0] > 0.5
    assert moved[3.0] < 0.15


def test_a_step_is_reached_soon_and_overshot_little():
    """Half of it in the first frame, all of it within a quarter of a second; by a fifth beyond at most, and then it rests."""
    step = (np.arange(90)[:, None] >= 30).astype(float)
    for cutoff in Cutoffs()[:4]:
        after = followed(step, cutoff)[30:, 0]
        assert after[0] > 0.4
        assert after[:4].max() > 0.95
        assert after.max() < 1.25
        assert after[8:].min() > 0.9
        np.testing.assert_allclose(after[30:], 1.0, atol=0.01)


def test_the_frame_rate_does_not_matter():
    """60, 30, 15 and unsteady frames a second show the same curve, which sways once in two seconds: within a fortieth of it."""
    unsteady = np.append(0, np.cumsum(np.random.default_rng(0).uniform(0.3, 1.7, 90) * DT))
    for times in (np.arange(180) / 60, np.arange(90) / 30, np.arange(45) / 15, unsteady):
        curve = np.sin(np.pi * times)[:, None]
        assert np.abs(followed(curve, 2.0, dt=np.diff(times)) - curve)[times > 1].max() < 1 / 40


def test_no_joint_is_carried_beyond_its_limits():
    """Fingers that run into their ends and stop there are shown at their ends; where one was found beyond, no farther than that."""
    least, greatest = dof_limits(HAND.joint_limits).T
    (first,) = states(np.array([0.0]))
    shares = np.clip(np.arange(40) / 10, 0, 1)[:, None]
    for end in (least, greatest, 1.1 * greatest):
        found = [first._replace(angles=share * end[None]) for share in shares]
        shown = np.concatenate([state.angles for state in smoothed(found)])
        assert (shown >= np.minimum(least, end) - 1e-9).all()
        assert (shown <= np.maximum(greatest, end) + 1e-9).all()
        np.testing.assert_allclose(shown[-1], end, atol=0.01)


def test_what_is_exact_is_left():
    """A hand at rest stays where it is, turns go the short way, and rotations stay rotations."""
    first, _ = states(np.array([1.0, 1.3]))
    for shown in smoothed([first] * 5):
        for found, given in zip(shown, first, strict=True):
            np.testing.assert_allclose(found, given, atol=1e-9)
    for degrees in (30.0, 178.0):  # through half a turn of the whole hand
        turn = rotvec_to_rotmat(np.array([[0, np.deg2rad(degrees), 0]]))
        second = first._replace(rotation=turn @ first.rotation, translation=first.translation + 0.1)
        between = smoothed([first, first, second])[-1]
        np.testing.assert_allclose(between.rotation @ between.rotation.swapaxes(1, 2), np.eye(3)[None], atol=1e-9)
        way = rotmat_to_rotvec(between.rotation @ first.rotation.swapaxes(1, 2))[0]
        assert 0 < way[1] < np.deg2rad(degrees)
        assert abs(way[[0, 2]]).max() < 1e-9
        assert first.translation[0, 2] < between.translation[0, 2] < second.translation[0, 2]


def test_a_pause_starts_anew():
    """After it the hand is shown as it was found, and nothing of how it moved before is left."""
    truth = states(np.arange(30) * DT)
    smoother = Smoother(HAND)
    for state in truth:
        smoother(state, STD, DT)
    for dt in (1.01 * PAUSE_S, DT, DT):
        for found, given in zip(smoother(truth[0], STD, dt), truth[0], strict=True):
            np.testing.assert_allclose(found, given, atol=1e-9)


def test_an_error_of_the_size_is_none_of_the_place():
    """A hand found larger and so much farther in one frame covers the same pixels: shown at its old depth, on the same pixels."""
    (first,) = states(np.array([0.5]))
    smoother = Smoother(HAND)
    for _ in range(30):
        smoother(first, STD, DT)
    larger = first.beta.copy()
    larger[0, 0] += 2.0

    def wrist(state: HandState) -> np.ndarray:
        return (state.translation + smoother._rest(state.beta)[0])[0]

    grown = smoother._size(larger) / smoother._size(first.beta)
    assert abs(grown - 1) > 0.02
    translation = grown * wrist(first)[None] - smoother._rest(larger)[0]
    shown = smoother(first._replace(beta=larger, translation=translation), STD, DT)
    moved = wrist(shown) - wrist(first)
    assert np.linalg.norm(moved) < 0.05 * np.linalg.norm((grown - 1) * wrist(first))
    np.testing.assert_allclose(wrist(shown)[:2] / wrist(shown)[2], wrist(first)[:2] / wrist(first)[2], atol=1e-9)


def swaying(times: np.ndarray, direction: tuple[float, float, float]) -> np.ndarray:
    """(T, 21, 3) points half a metre away, each of which sways along the direction at a phase of its own."""
    phases = np.linspace(0, 2, 21)
    return np.array([0.02, 0, 0.5]) + 0.05 * np.sin(3 * times[:, None] + phases)[..., None] * np.array(direction)


def test_the_benchmark_finds_a_delay(bench: types.ModuleType):
    """Points that are 20 ms late are found so through noise, and behind by that times their speed, in every direction in which they
    move, and in no other; early ones are ahead."""
    rng, times = np.random.default_rng(0), np.arange(120) / 60
    for direction, still in (((0.6, 0.8, 0.0), "line of sight"), ((0, 0, 1.0), "across the line of sight"), ((0, 0.6, 0.8), None)):
        for delay in (0.02, -0.02):
            truth = swaying(times, direction)
            shown, beside = (points + rng.normal(0, 1e-3, truth.shape) for points in (swaying(times - delay, direction), truth))
            found = {name: bench.lag([bench.behind(shown, beside, truth, 60.0, name)] * 3) for name in bench.DIRECTIONS}
            for name in set(bench.DIRECTIONS) - {still}:
                assert found[name]["lag_ms"] == pytest.approx(1000 * delay, abs=2.0)
                assert found[name]["behind_mm"] == pytest.approx(1000 * delay * found[name]["speed_m_s"], abs=0.2)
                assert abs(found[name]["behind_weighted_mm"]) > abs(found[name]["behind_mm"])
            assert not still or abs(found[still]["behind_mm"]) < 0.15


def test_the_benchmark_measures_the_filter_that_is_shown(bench: types.ModuleType):
    """Its filtered hands are those of `load(mode="video")`, frame by frame, of either side; and both tables are made."""
    opened = bench.open_net(None, threads=1)
    clips = []
    for side in ("right", "left"):
        made = render_clip(6, side=side)
        xy = (made.keypoints[0] @ made.K.T)[:, :2] / made.keypoints[0][:, 2:]
        box = np.concatenate([xy.min(0) - 20, xy.max(0) + 20])
        clips.append(bench.Clip(made.images, made.keypoints, made.K, side, box, FPS))
    for clip in clips:
        hands = handmesh.Hands(opened, mode="video", fps=FPS)
        shown = [
            hands(image, K=clip.K, sides=clip.side, boxes=None if k else [clip.box])[0].keypoints
            for k, image in enumerate(clip.images)
        ]
        np.testing.assert_allclose(bench.follow(opened, clip)[bench.FILTERED], np.stack(shown), atol=1e-6)
    tables = bench.tables(clips, opened)
    assert [row["hand"] for row in tables["smoothing"]] == ["as fitted", "shape averaged", "filtered"]
    assert [row["frames"] for row in tables["smoothing"]] == [12, 12, 12]
    assert len(tables["smoothing_lag"]) == 12
