"""The exported hand in simulators: it stands, holds gestures, feels, opens in a scene; URDF and USD say the same as MJCF."""

import json
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import mujoco
import numpy as np
import pytest
import trimesh
from hands import hand_of
from typer.testing import CliRunner

from handmesh.cli.main import make_app
from handmesh.kinematics.dof import DOF_NAMES, dof_limits
from handmesh.kinematics.joint_coordinates import revolute_kinematics
from handmesh.robot.articulated import SIDES, articulate
from handmesh.robot.export import export_articulated
from handmesh.robot.gestures import named_gestures
from handmesh.robot.robot_xml import COUPLED, COUPLING, ExportOptions
from handmesh.robot.visuals import SHIPPED_SKIN, read_texture
from handmesh.robot.wrist_frame import to_wrist_frame, wrist_axes
from handsynth.core.conventions import FINGERS, KEYPOINT_NAMES
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.mirror import mirror_points

TIPS = [f"{finger}_tip" for finger in FINGERS]
TIP_ROWS = [KEYPOINT_NAMES.index(name) for name in TIPS]


def exported(
    folder: Path, side: str = "right", hand: str = "embedded", format: str = "mjcf", frame: str = "mano", **options
) -> Path:
    """A file, its scene beside it where it is MJCF."""
    model = hand_of(hand)
    options.setdefault("keyframes", named_gestures(model))
    texture = read_texture(SHIPPED_SKIN) if options.get("visuals") == "textured" else None
    out, scene = folder / f"{side}.{format}", folder / "scene.xml" if format == "mjcf" else None
    export_articulated(articulate(model, None, side, frame), out, format, ExportOptions(**options), texture, scene)
    return out


def loaded(*arguments, **options) -> tuple[mujoco.MjModel, mujoco.MjData]:
    mj = mujoco.MjModel.from_xml_path(str(exported(*arguments, **options)))
    return mj, mujoco.MjData(mj)


def warnings(data: mujoco.MjData) -> int:
    return sum(warning.number for warning in data.warning)


@pytest.mark.slow
@pytest.mark.parametrize("side", SIDES)
def test_it_stands_gravity_and_random_targets(side, tmp_path):
    """Ten seconds, a new target for every servo twice a second: no warning, nothing beyond limits, no link a millimetre inside
    another, and it moves.
    """
    mj, data = loaded(tmp_path, side)
    rng, deepest, moved = np.random.default_rng(0), 0.0, np.zeros(23)
    for step in range(round(10 / mj.opt.timestep)):
        if step % 250 == 0:
            data.ctrl[:] = rng.uniform(*mj.actuator_ctrlrange.T)
        mujoco.mj_step(mj, data)
        deepest = min(deepest, data.contact.dist[: data.ncon].min(initial=0))
        moved = np.maximum(moved, np.abs(data.qpos))
    assert warnings(data) == 0
    assert np.isfinite(data.qpos).all()
    assert deepest > -1e-3
    assert (moved > np.deg2rad(5)).all()
    beyond = np.maximum(mj.jnt_range[:, 0] - data.qpos, data.qpos - mj.jnt_range[:, 1])
    assert np.rad2deg(beyond.max()) < 1


@pytest.mark.slow
@pytest.mark.parametrize("side", SIDES)
def test_it_follows_gestures_within_three_degrees(side, tmp_path):
    """From the flat hand to each keyframe's controls under gravity: every joint, a second later."""
    mj, data = loaded(tmp_path, side)
    assert mj.nkey >= 50
    keys = np.linspace(1, mj.nkey - 1, 26).astype(int)
    for key in keys:
        mujoco.mj_resetData(mj, data)
        data.ctrl[:] = mj.key_ctrl[key]
        for _ in range(500):
            mujoco.mj_step(mj, data)
        assert np.rad2deg(np.abs(data.qpos - mj.key_qpos[key])).max() < 3, mj.key(key).name
    assert warnings(data) == 0


@pytest.mark.parametrize(("hand", "side"), [("embedded", "left"), ("toy", "right")])
def test_the_scene_opens_and_a_floating_hand_lies_on_its_floor(hand, side, tmp_path):
    """The same model with a floor; a floating hand falls on it and comes to rest above it."""
    out = exported(tmp_path, side, hand, floating=True)
    alone, mj = (mujoco.MjModel.from_xml_path(str(file)) for file in (out, tmp_path / "scene.xml"))
    assert (alone.nq, alone.nv, alone.nu) == (mj.nq, mj.nv, mj.nu) == (30, 29, 23)
    assert mj.ngeom == alone.ngeom + 1
    assert mj.nlight == 1
    data = mujoco.MjData(mj)
    mujoco.mj_resetDataKeyframe(mj, data, mj.key("flat").id)
    assert data.joint("base").qpos.tolist() == [0, 0, 0, 1, 0, 0, 0]
    for _ in range(750):
        mujoco.mj_step(mj, data)
    floor, tips = mj.geom("floor").pos[2], np.array([data.site(tip).xpos for tip in TIPS])
    assert warnings(data) == 0
    assert data.xpos[1, 2] < -0.01
    assert tips[:, 2].min() > floor - 2e-3
    assert np.abs(data.qvel[:3]).max() < 0.1


@pytest.mark.parametrize("collision", ["capsules", "convex"])
def test_no_contact_in_the_flat_hand(collision, tmp_path):
    """Excludes cover what would touch without being pressed, whatever the shapes."""
    for hand, side in (("embedded", "right"), ("embedded", "left"), ("toy", "right")):
        mj, data = loaded(tmp_path / hand, side, hand, collision=collision)
        mujoco.mj_forward(mj, data)
        assert data.ncon == 0
        solids = mj.geom_contype > 0
        assert set(mj.geom_bodyid[solids]) == set(range(1, 17))  # every link has one
        for _ in range(100):
            mujoco.mj_step(mj, data)
        assert warnings(data) == 0


def test_pads_feel_what_presses_them(tmp_path):
    """The sensor of the link that is pressed from the palm's side, and no other; pressed from the back, none."""
    text = exported(tmp_path).read_text()
    mj = mujoco.MjModel.from_xml_string(text.replace('meshdir="', f'meshdir="{tmp_path}/'))
    names = [mj.sensor(k).name for k in range(mj.nsensor)]
    assert len(names) == 15
    data = mujoco.MjData(mj)
    mujoco.mj_forward(mj, data)
    for link in ("index_distal", "thumb_distal", "pinky_middle"):
        pad = data.site(f"{link}_pad")
        geom = next(g for g in range(mj.ngeom) if mj.geom_bodyid[g] == mj.body(link).id and mj.geom_contype[g])
        palmar = pad.xpos - data.geom_xpos[geom]
        radius = mj.geom_size[geom, 0]
        for sign, felt in ((1, [f"{link}_touch"]), (-1, [])):
            place = data.geom_xpos[geom] + sign * palmar / np.linalg.norm(palmar) * (radius + 0.0039)
            ball = f'<worldbody><body pos="{place[0]} {place[1]} {place[2]}"><geom type="sphere" size="0.004"/></body>'
            pressed = mujoco.MjModel.from_xml_string(
                text.replace('meshdir="', f'meshdir="{tmp_path}/').replace("<worldbody>", ball, 1)
            )
            state = mujoco.MjData(pressed)
            mujoco.mj_step(pressed, state)
            assert state.ncon > 0
            assert [name for name in names if state.sensor(name).data[0] > 0] == felt, link


def test_coupled_fingers_bend_their_last_joints_together(tmp_path):
    """MJCF holds the law by an equality and has no servo for the joint; URDF says mimic; without the option neither has it."""
    mj, data = loaded(tmp_path, coupled=True)
    assert mj.nu == 19
    data.ctrl[:] = mj.key_ctrl[mj.key("claw").id]
    for _ in range(500):
        mujoco.mj_step(mj, data)
    for name, leader in COUPLED.items():
        assert float(data.joint(name).qpos[0]) == pytest.approx(COUPLING * float(data.joint(leader).qpos[0]), abs=np.deg2rad(1.5))
        assert data.joint(leader).qpos > np.deg2rad(20)
    root = ET.parse(exported(tmp_path, format="urdf", coupled=True)).getroot()
    laws = {j.get("name"): j.find("mimic").get("joint") for j in root.iter("joint") if j.find("mimic") is not None}
    assert laws == COUPLED
    for key in range(mj.nkey):
        for name, leader in COUPLED.items():
            qpos = dict(zip(DOF_NAMES, mj.key_qpos[key], strict=True))
            assert qpos[name] == pytest.approx(COUPLING * qpos[leader], abs=1e-6)
    assert b"mimic" not in exported(tmp_path, format="urdf").read_bytes()
    assert b"equality" not in exported(tmp_path).read_bytes()


@pytest.mark.parametrize("side", SIDES)
def test_fingertips_are_equal_in_every_reader(side, tmp_path):
    """MJCF and URDF in MuJoCo, URDF in yourdfpy and in Pinocchio: within 0.1 mm of our own kinematics, both frames."""
    pinocchio, yourdfpy = pytest.importorskip("pinocchio"), pytest.importorskip("yourdfpy")
    hand = hand_of("embedded")
    limits = dof_limits(hand.joint_limits)
    for frame in ("mano", "dex"):
        angles = np.random.default_rng(0).uniform(limits[:, 0], limits[:, 1], (5, 23))
        points = revolute_kinematics(hand, np.zeros(hand.num_shapes), np.concatenate([np.zeros((1, 23)), angles]))
        points = points if side == "right" else mirror_points(points)
        axes = wrist_axes(points[0], side) if frame == "dex" else np.eye(3)
        expected = ((points - points[:, :1]) @ axes)[1:, TIP_ROWS]
        urdf = exported(tmp_path, side, format="urdf", frame=frame)
        mj, data = loaded(tmp_path, side, frame=frame)
        mj_urdf = mujoco.MjModel.from_xml_path(str(urdf))
        data_urdf, robot = mujoco.MjData(mj_urdf), yourdfpy.URDF.load(str(urdf))
        pin = pinocchio.buildModelFromUrdf(str(urdf))
        pin_data = pin.createData()
        for pose, tips in zip(angles, expected, strict=True):
            named = dict(zip(DOF_NAMES, pose, strict=True))
            robot.update_cfg(named)
            configuration = np.zeros(pin.nq)
            for name, value in named.items():
                data.joint(name).qpos = data_urdf.joint(name).qpos = value
                configuration[pin.joints[pin.getJointId(name)].idx_q] = value
            mujoco.mj_forward(mj, data)
            mujoco.mj_forward(mj_urdf, data_urdf)
            pinocchio.framesForwardKinematics(pin, pin_data, configuration)
            for tip, place in zip(TIPS, tips, strict=True):
                found = [data.site(tip).xpos, data_urdf.body(tip).xpos, pin_data.oMf[pin.getFrameId(tip)].translation]
                found.append(robot.get_transform(tip)[:3, 3])
                assert np.abs(np.array(found) - place).max() < 1e-5


def test_wrist_frame_has_x_out_of_the_palm_and_z_to_the_middle_finger():
    """Of both sides; turning the hand about changes nothing, and points on a line are refused."""
    hand = hand_of("embedded")
    points = revolute_kinematics(hand, np.zeros(hand.num_shapes), np.zeros(23))
    np.testing.assert_allclose(wrist_axes(points, "right"), [[0, 0, -1], [-1, 0, 0], [0, 1, 0]], atol=0.25)
    np.testing.assert_allclose(wrist_axes(mirror_points(points), "left"), [[0, 0, 1], [-1, 0, 0], [0, -1, 0]], atol=0.25)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    np.testing.assert_allclose(to_wrist_frame(points @ turn.T + 0.3, "right"), to_wrist_frame(points, "right"), atol=1e-12)
    assert to_wrist_frame(points, "right")[9, :2] == pytest.approx([0, 0], abs=1e-12)
    with pytest.raises(HandsynthError, match="lie on a line"):
        wrist_axes(np.zeros((21, 3)), "right")


@pytest.mark.parametrize("format", ["urdf", "mjcf"])
@pytest.mark.parametrize("side", SIDES)
def test_textured_visuals_are_the_plain_ones_with_the_skin(format, side, tmp_path):
    """The same closed surface; each texel of the visible skin is where the hand's layout has it."""
    hand = hand_of("embedded")
    model = articulate(hand, None, side)
    out = exported(tmp_path, side, format=format, visuals="textured")
    for link in model.links:
        file = out.parent / "meshes" / side / f"{link.name}{'.glb' if format == 'urdf' else '.obj'}"
        mesh = trimesh.load(file, force="mesh", process=False)
        np.testing.assert_allclose(mesh.bounds, link.mesh.bounds, atol=1e-5)
        assert mesh.area == pytest.approx(link.mesh.area, rel=1e-3)
        assert np.asarray(mesh.visual.uv).shape == (len(mesh.vertices), 2)
        normals = np.einsum("fc,fc->f", mesh.face_normals, mesh.vertex_normals[mesh.faces].mean(1))
        assert (normals > 0).mean() > 0.95  # outside is outside, on left hands too
    if format == "mjcf":
        mj = mujoco.MjModel.from_xml_path(str(out))
        assert (mj.ntex, mj.nmat) == (1, 1)
    corners = np.concatenate([link.surface.vertices for link in model.links])
    assert len(corners) > hand.num_vertices


def test_mesh_prefix_goes_before_the_meshes_of_a_urdf(tmp_path):
    root = ET.parse(exported(tmp_path, format="urdf", mesh_prefix="package://my_hand/", collision="convex")).getroot()
    files = {mesh.get("filename") for mesh in root.iter("mesh")}
    assert len(files) == 32
    assert all(file.startswith("package://my_hand/meshes/right/") for file in files)
    assert all((tmp_path / file.removeprefix("package://my_hand/")).exists() for file in files)


def test_a_floating_urdf_has_a_floating_joint(tmp_path):
    mj = mujoco.MjModel.from_xml_path(str(exported(tmp_path, format="urdf", floating=True)))
    assert (mj.nq, mj.nv) == (30, 29)


@pytest.mark.parametrize("visuals", ["plain", "textured"])
def test_usd_holds_the_same_bodies_and_joints(visuals, tmp_path):
    """Masses, places, limits and axes as in the model; USD's own check of references finds the texture."""
    pytest.importorskip("pxr")
    from pxr import Usd, UsdGeom, UsdPhysics

    model = articulate(hand_of("embedded"), None, "left")
    stage = Usd.Stage.Open(str(exported(tmp_path, "left", format="usd", visuals=visuals)))
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1
    bodies = [prim for prim in stage.Traverse() if prim.HasAPI(UsdPhysics.RigidBodyAPI)]
    assert sum(UsdPhysics.MassAPI(prim).GetMassAttr().Get() for prim in bodies) == pytest.approx(model.mass, rel=1e-5)
    joints = {prim.GetName(): UsdPhysics.RevoluteJoint(prim) for prim in stage.Traverse() if prim.IsA(UsdPhysics.RevoluteJoint)}
    assert list(joints) == list(DOF_NAMES)
    for joint in (joint for link in model.links for joint in link.joints):
        found = joints[joint.name]
        limits = np.deg2rad([found.GetLowerLimitAttr().Get(), found.GetUpperLimitAttr().Get()])
        np.testing.assert_allclose(limits, joint.limits, atol=1e-5)
        turn = found.GetLocalRot0Attr().Get()
        w, v = turn.GetReal(), np.array(turn.GetImaginary())
        axis = np.array([1, 0, 0]) + 2 * np.cross(v, np.cross(v, [1, 0, 0]) + w * np.array([1, 0, 0]))
        np.testing.assert_allclose(axis, joint.axis, atol=1e-5)
    meshes = [UsdGeom.Mesh(prim) for prim in stage.Traverse() if prim.IsA(UsdGeom.Mesh)]
    assert len(meshes) == 16
    if visuals == "textured":
        textures = [prim.GetAttribute("inputs:file").Get() for prim in stage.Traverse() if prim.GetAttribute("inputs:file")]
        assert Path(textures[0].resolvedPath).exists()


def test_keyframes_are_named_within_limits_and_differ():
    """Of any hand, whatever its limits."""
    for name in ("embedded", "toy"):
        hand = hand_of(name)
        gestures, limits = named_gestures(hand), dof_limits(hand.joint_limits)
        names = [gesture for gesture, _ in gestures]
        assert names[0] == "flat"
        assert {"fist", "point_thumb_out", "peace", "pinch"} < set(names)
        assert len(set(names)) == len(names) > 50
        poses = np.stack([pose for _, pose in gestures])
        assert ((poses >= limits[:, 0]) & (poses <= limits[:, 1])).all()
        assert min(np.abs(a - b).max() for a, b in pairwise(poses)) > np.deg2rad(3)


def test_the_command_takes_every_option(tmp_path):
    out = tmp_path / "hand.xml"
    words = [
        "--floating",
        "--coupled",
        "--visuals",
        "textured",
        "--collision",
        "convex",
        "--frame",
        "dex",
        "--side",
        "left",
        "--json",
    ]
    arguments = ["kinematics", "export", str(out), "--format", "mjcf", *words]
    message = json.loads(CliRunner().invoke(make_app(), arguments, catch_exceptions=False).stdout)
    assert message["scene"] == str(tmp_path / "scene.xml")
    assert len(message["actuated"]) == 19
    assert mujoco.MjModel.from_xml_path(message["scene"]).nkey > 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "mjcf", "--mesh-prefix", "package://x"], "--mesh-prefix is for URDF"),
        (["--format", "urdf", "--mesh-prefix", "a b"], "expected a start of paths without spaces"),
        (["--format", "urdf", "--collision", "spheres"], "--collision spheres: use capsules or convex"),
        (["--format", "urdf", "--texture", "x.png"], "--texture is for --visuals textured"),
        (["--format", "urdf", "--visuals", "textured", "--texture", "x.png"], "x.png does not exist"),
        (["--format", "urdf", "--frame", "ros"], "no frame is called 'ros': use mano or dex"),
        (["--format", "urdf", "--scene", "s.xml"], "--scene is for MJCF"),
        (["--format", "mjcf", "--scene", "elsewhere/s.xml"], "expected another name in the folder of"),
    ],
)
def test_bad_options_get_a_sentence(arguments, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        CliRunner().invoke(make_app(), ["kinematics", "export", str(tmp_path / "x.xml"), *arguments], catch_exceptions=False)
    assert not list(tmp_path.iterdir())


def test_a_foreign_scene_is_not_overwritten(tmp_path):
    """Our own is."""
    (tmp_path / "scene.xml").write_text("<mujoco/>")
    with pytest.raises(UsageError, match="was not made by handmesh"):
        exported(tmp_path)
    assert (tmp_path / "scene.xml").read_text() == "<mujoco/>"
    (tmp_path / "scene.xml").unlink()
    exported(tmp_path)
    exported(tmp_path, "left")
    assert 'file="left.mjcf"' in (tmp_path / "scene.xml").read_text()
