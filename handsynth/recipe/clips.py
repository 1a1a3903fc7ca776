"""Clips: trajectories of fingers, hand, wrist and camera, and the recipes of frames. A pure function of clip and frame number.

Fingers move from pose to pose of the bank with the least jerk (Flash and Hogan 1985), at drawn speeds, on ways on which no finger
runs through another. Hand and camera sway in sums of two sines, so that neither jerks. A hand that holds something keeps its
fingers still, so that it stays as it was fitted; hand and arm carry it along.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from handsynth.assets.environments.light_map import map_rotation
from handsynth.core.camera import intrinsics, orbit_T_cam_world, project
from handsynth.core.conventions import FINGERS
from handsynth.core.mirror import mirrored
from handsynth.core.rotation import rotmat_to_rotvec, rotvec_to_rotmat
from handsynth.recipe.draws import DECIMALS, rounded, rounded_few, uniform
from handsynth.recipe.interpolation import FingerBlender
from handsynth.recipe.moments import camera_rotation, far_homography
from handsynth.recipe.recipe import (
    MAX_EXPOSURES,
    Ambient,
    ArmChoice,
    BackgroundChoice,
    CameraChoice,
    ClipChoice,
    EnvironmentChoice,
    Light,
    Moment,
    PoseChoice,
    Recipe,
)
from handsynth.recipe.samplers import (
    FRAME_MARGIN_M,
    LEAST_SEEN,
    TWIST_LIMIT_DEG,
    UPRIGHT,
    RecipeSampler,
    camera_matrices,
    frame_spans,
    place_camera,
    sample_arms,
    sample_poses,
)
from handsynth.recipe.spec import WRIST_LIMITS_DEG
from handsynth.recipe.wardrobe import worn_together
from handsynth.recipe.wear import Worn

PEAK = 15 / 8
"""Greatest speed of a movement of least jerk, over its mean speed."""

MAX_LAG = 0.15
"""So much of a movement's time a finger sets out later than the first, or arrives earlier than the last."""

TRIES, CHECKED = 16, 12
"""Poses that are tried before the fingers rest, and places on the way to each where fingers must not collide."""

REST_S = 0.25
"""How long they then rest [s]."""

BEGUN_S = 1.0
"""A clip begins up to so long after its first pause did, so that first frames show hands that move too [s]."""

SINES = ((0.7, 1.0), (0.3, 1.9))
"""Share of the way and rate over the drawn one of each of the two sines of a sway."""

TURN_SHARES = np.array([1.0, 0.3, 0.6])
"""Of a hand's turn about its own axes: pronation, deviation, flexion; as far as each goes in daily use."""

ROLL_SHARE = 0.5
"""Of a camera's turn, about its own axis."""

EXPOSURE_PX = 1.25
"""Moments of an exposure are so many pixels apart, or less, as long as MAX_EXPOSURES allows."""

FEW_FRAMES = 6
"""So many frames of a clip, evenly apart, decide whether an arm or a thing hides the hand."""

SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Of a hand's turn, what its wrist may take; the forearm turns with the hand by what is left."""


@dataclass(frozen=True, eq=False)
class _Movement:
    """Of the fingers, from pose to pose."""

    start_s: float
    duration_s: float
    lags: np.ndarray  # (5,) shares of the duration
    first: PoseChoice
    second: PoseChoice

    def shares(self, times: np.ndarray) -> np.ndarray:
        """(T,) shares of the duration -> (T, 5) how far each finger is."""
        s = np.clip((times[:, None] - self.lags) / (1 - MAX_LAG), 0, 1)
        return np.asarray(s**3 * (10 + s * (6 * s - 15)))


@dataclass(frozen=True, eq=False)
class _Clip:
    """What was drawn for one: T = frames + 1 states, the last one after the last frame."""

    base: Recipe  # of the frame before whose camera background and light stand as they were drawn
    facing: tuple[float, float, float]  # that camera's angles [deg]
    poses: list[PoseChoice]
    theta: np.ndarray  # (T, 16, 3)
    trans: np.ndarray  # (T, 3)
    cameras: list[CameraChoice]
    wrists: np.ndarray | None  # (T, 3) flexion, deviation and twist [deg]
    noise_keys: list[int]
    shutter: float
    exposures: list[int]


class ClipSampler:
    """Recipes of the frames of clips, drawn with the parts of a RecipeSampler."""

    def __init__(self, sampler: RecipeSampler) -> None:
        self._sampler, self._spec, self._library = sampler, sampler.spec, sampler.library
        self._blender = FingerBlender(self._library, sampler.proxy, self._spec.pose)
        self._clip = lru_cache(maxsize=2)(self._draw)

    def sample(self, index: int) -> Recipe:
        """The recipe of frame index % frames of clip index // frames."""
        frames = self._spec.sequence.frames
        if not 0 <= index < self._spec.samples:
            raise IndexError(f"sample {index} of {self._spec.samples}")
        number, frame = divmod(index, frames)
        clip = self._clip(number)
        base, camera = clip.base, clip.cameras[frame]
        turn = camera_rotation(camera, base.side) @ camera_rotation(base.camera, base.side).T
        lights, ambient, environment = _turned_light(base, turn)
        arm = base.arm
        if arm is not None and clip.wrists is not None:
            flexion, deviation, twist = rounded(clip.wrists[frame])
            arm = replace(arm, flexion_deg=flexion, deviation_deg=deviation, twist_deg=twist)
        after = Moment(
            rounded(clip.theta[frame + 1]),
            rounded(clip.trans[frame + 1]),
            clip.cameras[frame + 1],
            None if clip.wrists is None else rounded(clip.wrists[frame + 1]),
        )
        time_s, last = round(frame / self._spec.sequence.fps, DECIMALS), frame == frames - 1
        return replace(
            base,
            index=index,
            theta=rounded(clip.theta[frame]),
            trans=rounded(clip.trans[frame]),
            pose=clip.poses[frame],
            camera=camera,
            lights=lights,
            ambient=ambient,
            environment=environment,
            sensor=replace(base.sensor, noise_key=clip.noise_keys[frame]),
            arm=arm,
            clip=ClipChoice(number, frame, time_s, last, clip.shutter, clip.exposures[frame], clip.facing, after),
        )

    def _draw(self, number: int) -> _Clip:
        """Everything of clip `number`, each part from a stream of its own that the number names."""
        sampler, sequence = self._sampler, self._spec.sequence
        hand = sampler.draw_hands([number])[0]
        times = np.arange(sequence.frames + 1) / sequence.fps
        if hand.held is None:
            poses, fingers = self._fingers(number, hand.pose, times)
        else:
            poses, fingers = [hand.pose] * len(times), hand.theta[None, 1:].repeat(len(times), 0)
        rng = sampler.stream(number, "hand motion")
        hz = uniform(rng, sequence.hand_hz)
        turn = TURN_SHARES * _sway(rng, times, math.radians(uniform(rng, sequence.hand_turn_deg)), hz)
        trans = np.round(_sway(rng, times, uniform(rng, sequence.hand_way_m), hz), DECIMALS)
        # All is looked at from the hand's side, as if it stood upright and the camera alone moved.
        rotation = UPRIGHT @ rotvec_to_rotmat(turn) @ UPRIGHT.T
        root = self._library.hand.rest_joints[0] + self._library.hand.joint_shapedirs[0] @ hand.beta
        theta = np.concatenate([np.tile(hand.theta[0], (len(times), 1, 1)), fingers], 1)
        upright = sampler.proxy.points(theta, np.tile(hand.beta, (len(times), 1)))
        moved = np.tile(np.eye(4), (len(times), 1, 1))
        moved[:, :3, :3], moved[:, :3, 3] = rotation, root - rotation @ root + trans
        points = upright @ rotation.swapaxes(1, 2) + moved[:, None, :3, 3]
        theta[:, 0] = rotmat_to_rotvec(rotation @ UPRIGHT)
        cameras = self._cameras(number, points, times)
        T_cam_world = np.array([camera_matrices(camera)[1] for camera in cameras])
        few = np.linspace(0, len(times) - 1, min(FEW_FRAMES, len(times))).round().astype(int)
        beheld = upright[few], (T_cam_world @ moved)[few]
        arm, wrists = self._arm(number, *beheld, np.rad2deg(turn), few)
        worn = self._worn(number, *beheld, arm, wrists, few)
        held = hand.held
        if held is not None and any(sampler.hidden_by_held(held, hand.beta, *view) for view in zip(*beheld, strict=True)):
            held = None
        middle = len(times) // 2
        base = sampler.recipe(hand, cameras[middle], arm, worn, held)
        K = intrinsics(base.camera.focal_px, base.camera.principal_xy)
        xy = project(points @ T_cam_world[:, :3, :3].swapaxes(1, 2) + T_cam_world[:, None, :3, 3], K)
        corners = self._corners(base, cameras)
        background = _with_room(base.background, corners / self._spec.image_size)
        shutter = uniform(sampler.stream(number, "shutter"), sequence.shutter)
        return _Clip(
            base=replace(base, background=background),
            facing=(base.camera.elevation_deg, base.camera.azimuth_deg, base.camera.roll_deg),
            poses=poses,
            theta=theta,
            trans=trans,
            cameras=cameras,
            wrists=wrists,
            noise_keys=sampler.stream(number, "noise").integers(2**31, size=sequence.frames).tolist(),
            shutter=shutter,
            exposures=_exposures(shutter, xy, corners),
        )

    def _fingers(self, number: int, pose: PoseChoice, times: np.ndarray) -> tuple[list[PoseChoice], np.ndarray]:
        """Poses at `times` (T,) [s], the first of which is on the way from `pose`, and (T, 15, 3) their angles."""
        sequence, proxy, spec = self._spec.sequence, self._sampler.proxy, self._spec.pose
        rng = self._sampler.stream(number, "fingers")
        now = -BEGUN_S * float(rng.random())
        movements = []
        while now < times[-1]:
            now += uniform(rng, sequence.pause_s)
            speed = math.radians(uniform(rng, sequence.finger_deg_s))
            for _ in range(TRIES):
                target = sample_poses([rng], spec, proxy, len(self._library.bank.theta), [number], [0])[0]
                lags = MAX_LAG * rng.random(5)
                duration = PEAK * self._blender.angle_between(_rows(pose), _rows(target)) / speed / (1 - MAX_LAG)
                movement = _Movement(now, duration, lags, pose, target)
                if duration > 1 / sequence.fps and self._is_free(movement):
                    movements.append(movement)
                    now, pose = now + duration, target
                    break
            else:
                now += REST_S
        poses, theta = [], np.empty((len(times), 15, 3))
        for k, time in enumerate(times.tolist()):
            begun = [movement for movement in movements if movement.start_s <= time]
            movement = begun[-1] if begun else _Movement(0.0, 1.0, np.zeros(5), movements[0].first if movements else pose, pose)
            shares = movement.shares(np.array([(time - movement.start_s) / movement.duration_s if begun else 0.0]))
            found, theta[k : k + 1] = self._on_the_way(movement, np.round(shares, DECIMALS))
            poses += found
        return poses, theta

    def _is_free(self, movement: _Movement) -> bool:
        """Whether no finger runs through another, or bends as no pose of the bank does."""
        shares = movement.shares(np.arange(1, CHECKED) / CHECKED)
        rows, others = (np.tile(_rows(pose), (len(shares), 1)) for pose in (movement.first, movement.second))
        return not self._blender.turned(self._blender.fingers_of(rows), rows, others, shares, rows != others)[1].any()

    def _on_the_way(self, movement: _Movement, shares: np.ndarray) -> tuple[list[PoseChoice], np.ndarray]:
        """Poses whose fingers are so far (T, 5), and (T, 15, 3) their angles."""
        first = movement.first
        rows, others = (np.tile(_rows(pose), (len(shares), 1)) for pose in (first, movement.second))
        moving = (rows != others) & (shares > 0)
        theta, _ = self._blender.turned(self._blender.fingers_of(rows), rows, others, shares, moving)
        poses = [
            PoseChoice(
                first.bank_index, first.draw, first.fingers,
                {FINGERS[f]: (int(others[t, f]), float(shares[t, f])) for f in np.flatnonzero(moving[t])},
            )
            for t in range(len(shares))
        ]  # fmt: skip
        return poses, theta

    def _cameras(self, number: int, points: np.ndarray, times: np.ndarray) -> list[CameraChoice]:
        """A camera that sways and sees all of `points` (T, N, 3) [m, world] at all times; its focal length never changes."""
        spec, sequence = self._spec, self._spec.sequence
        rng = self._sampler.stream(number, "camera")
        elevation, azimuth, roll, distance, fill, offset = place_camera(rng, spec.camera, number)
        rng = self._sampler.stream(number, "camera motion")
        hz = uniform(rng, sequence.camera_hz)
        turn = _sway(rng, times, uniform(rng, sequence.camera_turn_deg), hz) * [1, 1, ROLL_SHARE]
        way = _sway(rng, times, uniform(rng, sequence.camera_way_m), hz)
        angles = np.round(np.array([elevation, azimuth, roll]) + turn, DECIMALS)
        target = np.round((points.min((0, 1)) + points.max((0, 1))) / 2 + way, DECIMALS)
        places = list(zip(angles.tolist(), target, strict=True))
        radians = [(math.radians(e), math.radians(a), math.radians(r), t) for (e, a, r), t in places]
        T = np.array([orbit_T_cam_world(e, a, r, distance, t) for e, a, r, t in radians])
        x, y, z = np.moveaxis(points @ T[:, :3, :3].swapaxes(1, 2) + T[:, None, :3, 3], -1, 0)
        focal, principal = frame_spans(x.ravel(), y.ravel(), z.ravel(), fill, offset, spec.image_size, FRAME_MARGIN_M)
        return [CameraChoice(e, a, r, distance, rounded(t), focal, principal) for (e, a, r), t in places]

    def _arm(
        self, number: int, upright: np.ndarray, T_cam_hand: np.ndarray, turn_deg: np.ndarray, few: np.ndarray
    ) -> tuple[ArmChoice | None, np.ndarray | None]:
        """An arm that leaves the hand to be seen in all of the few frames, and (T, 3) flexion, deviation and twist of its wrist.

        Args:
            number: of the clip.
            upright: (F, N, 3) surface of the hand in these frames as if it stood upright [m].
            T_cam_hand: (F, 4, 4) from there to the cameras.
            turn_deg: (T, 3) turn of the hand about its own axes.
            few: (F,) numbers of the frames.
        """
        forearm = self._sampler.forearm
        if forearm is None:
            return None, None

        def path(flexion: np.ndarray, deviation: np.ndarray, twist: float = 0.0) -> np.ndarray:
            bent, leant, twisted = np.rad2deg([flexion[0], deviation[0], twist]).tolist()
            return np.deg2rad(wrist_path(bent, leant, twisted, turn_deg)[few]).T

        def is_seen(rows: list[int], flexion: np.ndarray, deviation: np.ndarray) -> np.ndarray:
            shares = forearm.seen_share(upright, T_cam_hand, *path(flexion, deviation)[:2])
            return np.array([shares.min() >= LEAST_SEEN])

        def fits(rows: list[int], flexion: np.ndarray, deviation: np.ndarray, twist: np.ndarray, elbow: np.ndarray) -> np.ndarray:
            bent, leant, twisted = path(flexion, deviation, float(twist[0]))
            room = forearm.upper_arm_fits(upright, T_cam_hand, bent, leant, twisted, np.tile(elbow, (len(few), 1)))
            return np.all(room, 0, keepdims=True)

        arm = sample_arms([self._sampler.stream(number, "arm")], self._spec.arm, is_seen, fits)[0]
        return (None, None) if arm is None else (arm, wrist_path(arm.flexion_deg, arm.deviation_deg, arm.twist_deg, turn_deg))

    def _worn(
        self,
        number: int,
        upright: np.ndarray,
        T_cam_hand: np.ndarray,
        arm: ArmChoice | None,
        wrists: np.ndarray | None,
        few: np.ndarray,
    ) -> Worn | None:
        """What the hand wears in all frames: no sleeve that hides it in one of the few."""
        if not any(vars(self._spec.wear).values()):
            return None
        worn = self._sampler._draw_worn(number, arm)
        if arm is not None and wrists is not None and self._sampler.forearm is not None and worn.sleeve is not None:
            arms = [replace(arm, flexion_deg=flexion, deviation_deg=deviation) for flexion, deviation, _ in wrists[few].tolist()]
            found = self._sampler._without_hiding_sleeves(self._sampler.forearm, upright, T_cam_hand, arms, [worn] * len(few))
            worn = min(found, key=lambda things: things.sleeve is not None)
        return worn_together(worn)

    def _corners(self, base: Recipe, cameras: Sequence[CameraChoice]) -> np.ndarray:
        """(T, 4, 2) where the background has what is seen at the corners of the image [px], with a pixel beyond."""
        size = self._spec.image_size
        K = intrinsics(base.camera.focal_px, base.camera.principal_xy)
        K = mirrored(K, size) if base.side == "left" else K
        turns = [camera_rotation(base.camera, base.side) @ camera_rotation(camera, base.side).T for camera in cameras]
        corners = np.array([(x, y, 1.0) for x in (-1.0, size + 1.0) for y in (-1.0, size + 1.0)])
        seen = corners @ far_homography(K, np.array(turns)).swapaxes(1, 2)
        return np.asarray(seen[..., :2] / seen[..., 2:])


def _rows(pose: PoseChoice) -> np.ndarray:
    """(5,) row of the bank of each finger, in the order of FINGERS."""
    return np.array([pose.fingers.get(name, pose.bank_index) for name in FINGERS])


def _sway(rng: np.random.Generator, times: np.ndarray, way: float, hz: float) -> np.ndarray:
    """(T, 3) at `times` (T,) [s]: nowhere longer than `way`, with no direction preferred."""
    total = np.zeros((len(times), 3))
    for share, rate in SINES:
        direction, phase = rng.normal(0, 1, 3), rng.random()
        direction *= share * way / np.linalg.norm(direction)
        total += np.sin(2 * np.pi * (hz * rate * times[:, None] + phase)) * direction
    return total


def wrist_path(flexion_deg: float, deviation_deg: float, twist_deg: float, turn_deg: np.ndarray) -> np.ndarray:
    """(T, 3) flexion, deviation and twist [deg] of a wrist whose hand turns by `turn_deg` (T, 3) about its own axes.

    It takes as much of the turn as its limits let it, so that the forearm keeps its place; the forearm turns by what is left.
    """
    low, high = np.array(WRIST_LIMITS_DEG).T
    bends = np.array([flexion_deg, deviation_deg]) + np.multiply.outer(SHARES, turn_deg[:, [2, 1]])  # (S, T, 2)
    within = (np.hypot(*np.moveaxis(bends / np.where(bends < 0, low, high), -1, 0)) <= 1).all(1)
    twists = twist_deg - np.multiply.outer(SHARES, turn_deg[:, 0])
    return np.column_stack([bends[_first(within)], twists[_first((np.abs(twists) <= TWIST_LIMIT_DEG).all(1))]])


def _first(which: np.ndarray) -> int:
    """The first that holds, or the last."""
    return int(which.argmax()) if which.any() else len(which) - 1


def _exposures(shutter: float, xy: np.ndarray, corners: np.ndarray) -> list[int]:
    """How many moments each frame is the mean of: (T, N, 2) places of the hand and (T, 4, 2) of the background [px]."""
    ways = [np.linalg.norm(np.diff(places, axis=0), axis=-1).max(1) for places in (xy, corners)]
    counts = 2 * np.ceil((shutter * np.maximum(*ways) / EXPOSURE_PX - 1) / 2) + 1
    return [int(count) for count in np.clip(counts, 1, MAX_EXPOSURES)]


def _with_room(choice: BackgroundChoice, places: np.ndarray) -> BackgroundChoice:
    """The square, smaller or elsewhere where it must be so that the image has all `places` (..., 2) in shares of its side."""
    before, after = (np.maximum(need.reshape(-1, 2).max(0), 0) for need in (-places, places - 1))
    if choice.flip:
        before[0], after[0] = after[0], before[0]
    scale = min(choice.scale, 1 / (1 + float((before + after).max())))
    if scale == 1:
        return choice
    room = scale / (1 - scale)
    sides = zip((choice.x, choice.y), before.tolist(), after.tolist(), strict=True)
    x, y = (min(max(at, low * room), 1 - high * room) for at, low, high in sides)
    x, y, scale = rounded_few(min(max(x, 0), 1), min(max(y, 0), 1), scale)
    return replace(choice, scale=scale, x=x, y=y)


def _turned_light(base: Recipe, turn: np.ndarray) -> tuple[tuple[Light, ...], Ambient, EnvironmentChoice | None]:
    """Lights that stay where they are while the camera is turned by `turn` (3, 3)."""
    lights = tuple(replace(light, direction_cam=rounded(turn @ light.direction_cam)) for light in base.lights)
    up = turn @ base.ambient.up_cam
    environment: Any = base.environment
    if environment is not None:
        left = map_rotation(up, 0).T @ turn @ map_rotation(np.array(base.ambient.up_cam), environment.yaw_deg)
        environment = replace(environment, yaw_deg=round(math.degrees(math.atan2(left[0, 2], left[0, 0])), DECIMALS) + 0.0)
    return lights, replace(base.ambient, up_cam=rounded(up)), environment
