"""From a human hand to a robot's: the optimum within limits, as dex-retargeting finds it; files in, files out; hostile text."""

import csv
import json
import time
from pathlib import Path

import numpy as np
import pytest
import robot_files
import trimesh
import yaml
from hands import hand_of
from typer.testing import CliRunner

from handmesh.cli.main import make_app
from handmesh.kinematics.dof import DOF_NAMES, dof_limits
from handmesh.kinematics.joint_coordinates import from_joint_coordinates, revolute_kinematics
from handmesh.robot.articulated import articulate
from handmesh.robot.bridge import open_target, retarget_clip
from handmesh.robot.clip import HumanClip, RobotClip, read_clip, write_robot_clip
from handmesh.robot.description import FREE_BASE, read_description
from handmesh.robot.dex import dex_retarget
from handmesh.robot.draw import robot_parts
from handmesh.robot.gestures import named_gestures
from handmesh.robot.kinematics import RobotHand
from handmesh.robot.retarget import human_vectors, retarget, robot_vectors, vector_errors
from handmesh.robot.simulate import Simulated, simulate
from handmesh.robot.task import MODES, ROBOTS, make_task, named_config, read_config
from handmesh.robot.wrist_frame import to_wrist_frame
from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.mirror import mirror_points


def coordinates(frames: int, seed: int = 0) -> np.ndarray:
    """(frames, 23): smoothly from gesture to gesture."""
    poses = np.stack([pose for _, pose in named_gestures(hand_of("embedded"))])
    return eased(poses[np.random.default_rng(seed).permutation(len(poses))[: max(frames // 20, 2) + 1]], frames)


def eased(keys: np.ndarray, frames: int) -> np.ndarray:
    """(K, 23) key poses -> (frames, 23) from one to the next, at rest in each."""
    at = np.linspace(0, len(keys) - 1, frames)
    first = np.minimum(at.astype(int), len(keys) - 2)
    share = (at - first)[:, None]
    share = share**2 * (3 - 2 * share)
    return keys[first] * (1 - share) + keys[first + 1] * share


def human(frames: int, seed: int = 0, side: str = "right") -> np.ndarray:
    """(frames, 21, 3) keypoints of the embedded hand in its wrist's frame."""
    hand = hand_of("embedded")
    points = revolute_kinematics(hand, np.zeros(hand.num_shapes), coordinates(frames, seed))
    return to_wrist_frame(points if side == "right" else mirror_points(points), side)


def opened(folder: Path, mode: str = "vector", format: str = "urdf", **options) -> tuple[RobotHand, object]:
    description, correspondences = robot_files.gripper(folder, mode, format, **options)
    task = make_task(read_config(correspondences))
    return RobotHand(read_description(description, mode == "position"), task.joints), task


def reachable(robot: RobotHand, task, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """(T, n) joint positions, smooth and within limits, and (T, 21, 3) keypoints whose vectors are the robot's own."""
    phase = np.linspace(0, 2 * np.pi, frames)[:, None] + np.arange(len(robot.names))
    q = robot.limits.mean(1) + 0.4 * np.ptp(robot.limits, axis=1) * np.sin(phase)
    keypoints = np.zeros((frames, 21, 3))
    keypoints[:, task.human[1]] = robot_vectors(robot, task, q) / task.scale
    return q, keypoints


@pytest.mark.parametrize("format", ["urdf", "mjcf"])
def test_vectors_that_the_robot_can_have_it_gets(format, tmp_path):
    """Within a millimetre and smoothly, from whichever format; joints stay within their limits."""
    robot, task = opened(tmp_path, format=format)
    assert len(robot.names) == 12
    _, keypoints = reachable(robot, task, 60)
    found = retarget(robot, task, keypoints)
    assert np.quantile(vector_errors(robot, task, keypoints, found), 0.95) < 1e-3
    assert ((found >= robot.limits[:, 0]) & (found <= robot.limits[:, 1])).all()


def test_what_is_out_of_reach_ends_at_the_limits(tmp_path):
    """A target far behind the palm: no joint beyond its limit, some on it, and no better place nearby."""
    robot, task = opened(tmp_path)
    keypoints = np.zeros((1, 21, 3))
    keypoints[:, [4, 8, 16]] = (-0.3, 0.1, 0.0)
    found = retarget(robot, task, keypoints)
    low, high = robot.limits.T
    assert ((found >= low) & (found <= high)).all()
    assert ((found == low) | (found == high)).sum() >= 3
    nearby = np.clip(found + np.random.default_rng(0).normal(0, 0.05, (200, 12)), low, high)
    best = vector_errors(robot, task, keypoints, found).sum()
    assert vector_errors(robot, task, np.repeat(keypoints, 200, 0), nearby).sum(1).min() > best - 1e-4


@pytest.mark.parametrize("format", ["urdf", "mjcf"])
def test_followers_follow(format, tmp_path):
    """Mimic in URDF, a joint equality in MJCF: such joints are not free, and every position keeps the law."""
    robot, task = opened(tmp_path, format=format, mimic=True)
    assert len(robot.names) == 9
    assert len(robot.all_names) == 12
    full = robot.expand(retarget(robot, task, human(20)))
    column = {name: full[:, k] for k, name in enumerate(robot.all_names)}
    for finger in robot_files.FINGERS:
        np.testing.assert_allclose(column[f"{finger}_3"], 0.8 * column[f"{finger}_2"] + 0.05, atol=1e-12)


def test_derivatives_are_those_of_the_places(tmp_path):
    """Against differences, with followers."""
    robot, task = opened(tmp_path, mimic=True)
    q = np.random.default_rng(0).uniform(*robot.limits.T, (3, 9))
    _, jacobians = robot.places(q, task.ends, derivatives=True)
    for k, step in enumerate(1e-6 * np.eye(9)):
        numeric = (robot.places(q + step, task.ends)[0] - robot.places(q - step, task.ends)[0]) / 2e-6
        np.testing.assert_allclose(jacobians[..., k], numeric, atol=1e-7)


def test_formats_agree(tmp_path):
    """URDF and MJCF of one gripper: equal places for equal joints."""
    (a, task), (b, _) = opened(tmp_path / "a"), opened(tmp_path / "b", format="mjcf")
    assert a.names == b.names
    q = np.random.default_rng(0).uniform(*a.limits.T, (20, 12))
    np.testing.assert_allclose(a.places(q, task.ends)[0], b.places(q, task.ends)[0], atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["vector", "dexpilot"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_own_and_dex_retargeting_agree(mode, side, tmp_path):
    """The same robot and clip: fingertip vectors within 5 mm of each other at the median, ours no farther from the human ones."""
    pytest.importorskip("dex_retargeting")
    robot, task = opened(tmp_path, mode)
    keypoints = human(60, side=side)
    if side == "left":
        keypoints = keypoints * (1, -1, 1)  # the gripper is a right hand
    own, dex = retarget(robot, task, keypoints), dex_retarget(robot, task, keypoints)
    apart = np.linalg.norm(robot_vectors(robot, task, own) - robot_vectors(robot, task, dex), axis=-1)[:, task.tips]
    assert np.median(apart) < 5e-3
    ours, theirs = (np.median(vector_errors(robot, task, keypoints, q)[:, task.tips]) for q in (own, dex))
    assert ours < theirs + 1e-3


def test_position_mode_moves_the_base(tmp_path):
    """A hand that is carried about: fingertips are where the human's are, in the world, though no finger is so long."""
    robot, task = opened(tmp_path, "position")
    assert robot.names[:6] == FREE_BASE
    q, keypoints = reachable(robot, task, 20)
    q[:, :3], q[:, 3:6] = (0.3, -0.2, 0.5), (0.2, 0.3, -0.4)
    keypoints[:, task.human[1]] = robot.places(q, task.ends)[0]
    found = retarget(robot, task, keypoints)
    assert np.median(vector_errors(robot, task, keypoints, found)) < 2e-3


def test_dexpilot_closes_fingers_that_come_near(tmp_path):
    """Fingertips 20 mm apart touch; the same fingers 80 mm apart do not; between, they stay as they were."""
    robot, task = opened(tmp_path, "dexpilot")
    keypoints = np.zeros((4, 21, 3))
    keypoints[:, 8], keypoints[:, 16] = (0.06, 0.03, 0.15), (0.02, -0.01, 0.2)
    for t, gap in enumerate((0.08, 0.02, 0.04, 0.08)):
        keypoints[t, 4] = keypoints[t, 8] - (0, gap, 0)
    found = retarget(robot, task, keypoints)
    apart = np.linalg.norm(robot_vectors(robot, task, found)[:, 0], axis=-1)
    assert (apart[[1, 2]] < 0.02).all()
    assert (apart[[0, 3]] > 0.03).all()


@pytest.mark.slow
def test_two_hundred_frames_a_second(tmp_path):
    """Of processor time, the exported hand's 23 joints and ten vectors."""
    with open_target("hand", "right", hand_of("embedded")) as target:
        keypoints = human(400)
        begin = time.process_time()
        found = retarget(target.robot, target.task, keypoints)
        rate = len(keypoints) / (time.process_time() - begin)
    assert found.shape == (400, 23)
    assert rate > 200


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_exported_hand_gets_its_own_angles_back(side, tmp_path):
    """Angles go to it as they are; from keypoints alone its fingertips come within a few millimetres of the human ones."""
    hand = hand_of("embedded")
    clip = HumanClip(np.arange(20) / 30, human(20, side=side), side, coordinates(20))
    with open_target("hand", side, hand) as target:
        direct, _ = retarget_clip(target, clip, "own", hand)
        assert direct.names == DOF_NAMES
        np.testing.assert_allclose(direct.positions, clip.coordinates)
        found, free = retarget_clip(target, HumanClip(clip.times, clip.keypoints, side), "own", hand)
        assert found.names == DOF_NAMES
        assert np.median(vector_errors(target.robot, target.task, clip.keypoints, free)) < 4e-3


def test_shipped_correspondences_are_dex_retargetings():
    """Of every robot, mode and side: links, keypoints and scale as in the package's own files."""
    constants = pytest.importorskip("dex_retargeting.constants")
    for robot in ROBOTS:
        for mode in MODES:
            for side in ("right", "left"):
                names = constants.RobotName[robot], constants.RetargetingType[mode], constants.HandType[side]
                theirs = yaml.safe_load(constants.get_default_config_path(*names).read_text())["retargeting"]
                ours, description = named_config(robot, mode, side)
                assert description == theirs["urdf_path"]
                a, b = make_task(ours), make_task(theirs)
                if (robot, mode, side) != ("allegro", "dexpilot", "left"):  # theirs has the right hand's fingers, in reverse
                    assert (a.origins, a.ends) == (b.origins, b.ends), (robot, mode, side)
                np.testing.assert_array_equal(a.human, b.human)
                assert (a.scale, a.joints) == (b.scale, b.joints)


def test_a_clip_is_read_from_every_file(tmp_path):
    """The same angles as .npz, .csv, the JSON of kinematics fit; keypoints as .npy and the lines of predict."""
    hand, q = hand_of("embedded"), coordinates(5)
    angles = from_joint_coordinates(q).values
    times = np.arange(5) / 10
    np.savez(tmp_path / "a.npz", angles=angles, time=times, side="left")
    with open(tmp_path / "a.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["time_s", *(f"{name}_deg" for name in DOF_NAMES)])
        rows.writerows([t, *row] for t, row in zip(times, np.rad2deg(angles), strict=True))
    clips = [read_clip(tmp_path / name, hand, "left", 10) for name in ("a.npz", "a.csv")]
    robot = RobotClip(times, DOF_NAMES, clips[0].coordinates, np.tile([-2.0, 2.0], (23, 1)))
    write_robot_clip(tmp_path, "robot", robot, {})
    clips.append(read_clip(tmp_path / "robot.npz", hand, "left", 1))
    for clip in clips:
        assert clip.side == "left"
        np.testing.assert_allclose(clip.times, times)
        np.testing.assert_allclose(clip.coordinates, clips[0].coordinates, atol=1e-6)
        np.testing.assert_allclose(clip.keypoints, clips[0].keypoints, atol=1e-3)  # two axes at a knuckle: nearly
        assert clip.vertices.shape == (5, hand.num_vertices, 3)
    np.save(tmp_path / "k.npy", clips[0].keypoints)
    lines = [{"side": "left", "time_s": t, "keypoints_cam": k.tolist()} for t, k in zip(times, clips[0].keypoints, strict=True)]
    (tmp_path / "k.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for name in ("k.npy", "k.jsonl"):
        clip = read_clip(tmp_path / name, hand, "left", 10)
        np.testing.assert_allclose(clip.keypoints, clips[0].keypoints)
        np.testing.assert_allclose(clip.times, times)


def test_a_robots_clip_has_velocities_limits_and_lerobots_columns(tmp_path):
    """Velocities are those of the positions; joints beyond limits are named."""
    times = np.linspace(0, 1, 101)
    positions = np.stack([np.sin(3 * times), 0 * times], 1)
    clip = RobotClip(times, ("a", "b"), positions, np.array([[-0.5, 0.5], [-1, 1]]))
    np.testing.assert_allclose(clip.velocities[1:-1, 0], 3 * np.cos(3 * times)[1:-1], atol=1e-3)
    (found,) = clip.beyond()
    assert (found["name"], found["limits"]) == ("a", [-0.5, 0.5])
    assert found["worst"] == pytest.approx(1, abs=1e-3)
    assert found["frames"] == (positions[:, 0] > 0.501).sum()
    files = write_robot_clip(tmp_path, "r", clip, {"robot": "x"})
    data = np.load(tmp_path / files["npz"], allow_pickle=False)
    np.testing.assert_array_equal(data["qpos"], positions)
    np.testing.assert_array_equal(data["action"][:-1], data["observation.state"][1:])
    assert data["observation.state"].dtype == np.float32
    assert data["timestamp"][-1] == 1
    assert float(data["fps"]) == pytest.approx(100)
    assert json.loads(str(data["about"]))["robot"] == "x"
    rows = list(csv.DictReader((tmp_path / files["csv"]).open()))
    assert float(rows[50]["a"]) == pytest.approx(np.sin(1.5), abs=1e-5)
    assert json.loads((tmp_path / files["jsonl"]).read_text().splitlines()[50])["joints"]["a"] == pytest.approx(
        np.sin(1.5), abs=1e-5
    )


def command(*arguments) -> dict:
    return json.loads(CliRunner().invoke(make_app(), ["retarget", *map(str, arguments), "--json"], catch_exceptions=False).stdout)


def test_the_command_draws_and_writes(tmp_path):
    """A frame of keypoints to the gripper: an image; figures by finger."""
    description, correspondences = robot_files.gripper(tmp_path)
    np.save(tmp_path / "k.npy", human(1))
    about = ["--robot", description, "--correspondences", correspondences, "--out", tmp_path / "out"]
    result = command(tmp_path / "k.npy", *about)
    assert set(result["fingertips"]["fingers"]) == {"thumb", "index", "ring"}
    assert result["beyond_limits"] == []
    assert {file.name for file in (tmp_path / "out").iterdir()} == set(result["files"].values())
    assert (tmp_path / "out" / "comparison.png").stat().st_size > 5000


def played(names: tuple[str, ...], frames: int, side: str = "right") -> tuple[RobotClip, Simulated]:
    """A clip from gesture to gesture, `frames` each at 30 a second, and what the simulated hand makes of it."""
    hand = hand_of("embedded")
    poses = np.stack([dict(named_gestures(hand))[name] for name in names])
    count = (len(names) - 1) * frames + 1
    clip = RobotClip(np.arange(count) / 30, DOF_NAMES, eased(poses, count), dof_limits(hand.joint_limits))
    return clip, simulate(articulate(hand, None, side, "dex"), clip)


@pytest.mark.parametrize("side", ["right", "left"])
def test_servos_follow_a_clip_whose_fingers_pass_through_each_other(side):
    """A little finger that opens beside a closed ring finger goes through it where angles are interpolated: it hooked there."""
    clip, done = played(("thumb_aside", "call_me", "thumb_up", "hook"), 24, side)
    assert done.error_deg.max() < 3
    (passing,) = done.passing
    assert passing.between == ("ring", "pinky")
    assert 4 < passing.deepest_mm < 7
    assert 0.1 < passing.seconds < clip.times[-1] / 2
    assert done.warnings == 0


def test_servos_do_not_lag():
    """Errors while the hand moves are those of a hand at rest: targets lead by what damping holds back."""
    clip, done = played(("flat", "hook", "flat"), 20)
    moving = np.abs(clip.velocities).max(1) > 2
    assert moving.sum() > 10
    assert np.median(done.error_deg[moving].max(1)) < 1
    assert done.passing == done.too_fast == ()
    assert "index_pip_flexion" in played(("flat", "hook"), 8)[1].too_fast


def test_fingers_that_press_are_kept_apart():
    """Gestures whose links are up to two millimetres inside each other: the hand's touch, and feel it."""
    for name in ("tight_fist", "ok"):
        _, done = played(("flat", name, name), 20)
        assert done.passing == ()
        assert done.touch_n[30:].max(1).min() > 0.5
        assert done.error_deg.max() < 6


@pytest.mark.slow
def test_the_command_simulates_the_hand(tmp_path):
    """A clip of angles: the servos follow it, and the simulated clip is as long."""
    np.savez(tmp_path / "a.npz", angles=np.linspace(0, 0.4, 24)[:, None] * np.ones(23) * [d.endswith("flexion") for d in DOF_NAMES])
    result = command(tmp_path / "a.npz", "--robot", "hand", "--out", tmp_path / "out", "--simulate", "--no-draw")
    assert result["simulated"]["error_deg"]["median"] < 3
    assert result["simulated"]["warnings"] == 0
    assert np.load(tmp_path / "out" / "simulated.npz")["qpos"].shape == (24, 23)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--robot", "allegro"], AssetError, "give a folder that holds allegro_hand/allegro_hand_right.urdf"),
        (["--robot", "nobody"], UsageError, "no robot is called so"),
        (["--robot", "{urdf}"], UsageError, "--correspondences FILE.yaml"),
        (["--robot", "hand", "--method", "magic"], UsageError, "use own or dex"),
        (["--robot", "allegro", "--mode", "shadow"], UsageError, "use vector, position, dexpilot"),
        (["--robot", "{urdf}", "--correspondences", "{yaml}", "--simulate"], UsageError, "--simulate is for --robot hand"),
        (["--robot", "hand", "--scale", "-1"], UsageError, "expected a number above 0"),
    ],
)
def test_bad_commands_get_a_sentence(arguments, error, message, tmp_path):
    description, correspondences = robot_files.gripper(tmp_path)
    np.save(tmp_path / "k.npy", human(1))
    words = [word.format(urdf=description, yaml=correspondences) for word in arguments]
    with pytest.raises(error, match=message):
        command(tmp_path / "k.npy", *words, "--out", tmp_path / "out")


BOMB = '<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (robot_files.urdf(extra=BOMB), "declares a document type or entities"),
        (robot_files.urdf(extra='<!DOCTYPE r SYSTEM "file:///etc/passwd">'), "declares a document type or entities"),
        (robot_files.urdf(links='<link name="stray"/>'), "a robot has one root"),
        (robot_files.urdf().replace("revolute", "ball"), "MuJoCo refuses it"),
        (robot_files.urdf().replace('type="revolute"', 'type="floating"'), "MuJoCo refuses it|ball or free"),
        ("<robot/>" * 2, "cannot be read"),
        ("<a>" * 300, "inside each other"),
        ("<html/>", "neither robot"),
        ("", "cannot be read"),
        ('<mujoco><include file="/etc/passwd"/></mujoco>', "leads out"),
        ('<mujoco><include file="robot.urdf"/></mujoco>', "includes itself"),
        ('<mujoco><include file="gone.xml"/></mujoco>', "which is not there"),
        ("<mujoco><worldbody><body><freejoint/></body></worldbody></mujoco>", "ball or free joints|MuJoCo refuses"),
    ],
)
def test_hostile_descriptions_are_refused_in_a_sentence(text, message, tmp_path):
    """No entity is expanded, and no path leads out of the folder."""
    (tmp_path / "robot.urdf").write_text(text)
    with pytest.raises(HandsynthError, match=message):
        RobotHand(read_description(tmp_path / "robot.urdf"))


def test_meshes_outside_the_folder_are_not_opened(tmp_path):
    """Whatever way leads to them; those inside are drawn."""
    for place in (tmp_path, tmp_path / "robot"):
        place.mkdir(exist_ok=True)
        trimesh.creation.box((0.01, 0.01, 0.01)).export(place / "x.stl")
    (tmp_path / "robot" / "link.stl").symlink_to(tmp_path / "x.stl")
    for name, count in (
        ("x.stl", 1),
        ("package://p/x.stl", 1),
        ("../x.stl", 0),
        (f"{tmp_path}/x.stl", 0),
        ("link.stl", 0),
        ("", 0),
    ):
        visual = f'<link name="palm"><visual><geometry><mesh filename="{name}"/></geometry></visual></link>'
        (tmp_path / "robot" / "r.urdf").write_text(robot_files.urdf().replace('<link name="palm"/>', visual))
        description = read_description(tmp_path / "robot" / "r.urdf")
        assert len(description.visuals) == count, name
        assert len(robot_parts(RobotHand(description))) == count


def test_an_mjcf_includes_from_its_folder(tmp_path):
    (tmp_path / "fingers.xml").write_text(robot_files.mjcf())
    (tmp_path / "robot.xml").write_text('<mujoco><include file="fingers.xml"/></mujoco>')
    assert len(RobotHand(read_description(tmp_path / "robot.xml")).names) == 12


@pytest.mark.parametrize(
    "change",
    [
        {"type": "magic"},
        {"surprise": 1},
        {"target_task_link_names": "thumb_tip"},
        {"target_link_human_indices": [[0] * 3, [4, 8, 99]]},
        {"target_link_human_indices": [[0] * 3]},
        {"scaling_factor": -1},
        {"scaling_factor": {}},
    ],
)
def test_bad_correspondences_are_refused(change, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump({"retargeting": robot_files.config() | change}))
    with pytest.raises(HandsynthError, match="cannot be read as correspondences"):
        read_config(file)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"hands": []}', b'{"hands": [{}]}', b"\xff"])
@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".npz", ".npy"])
def test_damaged_clips_are_refused(content, suffix, tmp_path):
    (tmp_path / f"c{suffix}").write_bytes(content)
    with pytest.raises(HandsynthError, match="cannot be read as a clip"):
        read_clip(tmp_path / f"c{suffix}", hand_of("toy"), "right", 30)


def test_human_vectors_begin_where_the_task_says(tmp_path):
    task = make_task({**robot_files.config(), "target_link_human_indices": [[5, 0, 9], [4, 8, 16]]})
    points = human(3)
    np.testing.assert_allclose(human_vectors(task, points)[:, 0], points[:, 4] - points[:, 5])
