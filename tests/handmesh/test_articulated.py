"""The articulated model: its files load in MuJoCo and move as our own kinematics; its links are solid, whole and apart."""

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import mujoco
import numpy as np
import pytest
import trimesh
from hands import hand_of
from typer.testing import CliRunner

from handmesh.cli.main import make_app
from handmesh.kinematics.dof import DOF_NAMES, DOFS, dof_limits
from handmesh.kinematics.joint_coordinates import revolute_kinematics
from handmesh.robot.articulated import DENSITY, LINK_NAMES, ArticulatedHand, articulate
from handmesh.robot.export import FORMATS, export_articulated
from handmesh.robot.links import Piece, closed_mesh, cut_links
from handmesh.robot.urdf import urdf
from handsynth.core.conventions import FINGERS, KEYPOINT_NAMES
from handsynth.core.errors import UsageError
from handsynth.core.hand import HandModel, save_hand
from handsynth.core.mirror import mirror_points

TIPS = [f"{finger}_tip" for finger in FINGERS]
TIP_ROWS = [KEYPOINT_NAMES.index(name) for name in TIPS]
BETA = np.array([0.8, -0.6, 0.5, 0.3])
LEVEL = 1e-9  # of numbers in the files [m], [rad]


class Exported(NamedTuple):
    """A model, its file, and what MuJoCo makes of it."""

    hand: HandModel
    side: str
    format: str
    model: ArticulatedHand
    file: Path
    mj: mujoco.MjModel

    def forward(self, angles: np.ndarray) -> np.ndarray:
        """(23,) joint coordinates -> (5, 3) fingertips from the wrist, by MuJoCo."""
        data = mujoco.MjData(self.mj)
        for name, angle in zip(DOF_NAMES, angles, strict=True):
            data.joint(name).qpos = angle
        mujoco.mj_forward(self.mj, data)
        return np.array([data.body(tip).xpos if self.format == "urdf" else data.site(tip).xpos for tip in TIPS])


CASES = [(hand, side, format) for hand in ("embedded", "toy") for side in ("right", "left") for format in FORMATS]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def exported(request, tmp_path_factory) -> Exported:
    name, side, format = request.param
    hand = hand_of(name)
    model = articulate(hand, BETA, side)
    file = tmp_path_factory.mktemp("robot") / f"{name}.{format}"
    export_articulated(model, file, format)
    return Exported(hand, side, format, model, file, mujoco.MjModel.from_xml_path(str(file)))


def test_fingertips_are_those_of_our_kinematics(exported):
    """Over 100 random poses within the limits, by an engine that shares no code with ours: acceptance asks for 0.1 mm."""
    limits = dof_limits(exported.hand.joint_limits)
    angles = np.random.default_rng(0).uniform(limits[:, 0], limits[:, 1], (100, 23))
    wanted = revolute_kinematics(exported.hand, np.pad(BETA, (0, exported.hand.num_shapes - len(BETA))), angles)
    wanted = wanted if exported.side == "right" else mirror_points(wanted)
    wanted = wanted[:, TIP_ROWS] - wanted[:, :1]
    found = np.array([exported.forward(pose) for pose in angles])
    assert np.linalg.norm(found - wanted, axis=-1).max() < 1e-7
    assert np.ptp(found, axis=0).min(1).max() > 0.03  # they do move


def test_joints_have_the_names_order_and_limits_of_the_dofs(exported):
    """`qpos`, and `ctrl` where there are servos, are the 23 degrees of freedom in DOFS' order: an array of them fits as it is."""
    mj, limits = exported.mj, dof_limits(exported.hand.joint_limits)
    assert [mj.joint(k).name for k in range(mj.njnt)] == list(DOF_NAMES)
    assert mj.nq == mj.nv == 23
    assert mj.jnt_limited.all()
    np.testing.assert_allclose(mj.jnt_range, limits, atol=LEVEL)
    if exported.format == "mjcf":
        assert [mj.actuator(k).name for k in range(mj.nu)] == list(DOF_NAMES)
        np.testing.assert_array_equal(mj.actuator_trnid[:, 0], np.arange(23))
        np.testing.assert_allclose(mj.actuator_ctrlrange, limits, atol=LEVEL)


def test_positive_flexion_bends_to_the_palm(exported):
    """On left hands too, where axes are mirrored and signs are not: fingertips go down, -y."""
    flat = exported.forward(np.zeros(23))
    for k, dof in enumerate(DOFS):
        if dof.motion == "flexion" and dof.finger != "thumb":
            tip = FINGERS.index(dof.finger)
            assert (exported.forward(np.eye(23)[k] * 0.5) - flat)[tip, 1] < -3e-3, dof.name


def test_mass_is_the_hands(exported):
    """The links' masses add up to the closed hand at the density of tissue; the file's bodies have their mass, centre and inertia,
    small ones counted with the link that they belong to.
    """
    hand, vertices = exported.hand, exported.hand.v_template + exported.hand.shapedirs[..., : len(BETA)] @ BETA
    whole = closed_mesh(Piece(vertices, hand.faces, np.zeros(len(vertices), bool)), domes=False)
    assert exported.model.mass == pytest.approx(DENSITY * whole.volume, rel=1e-3)
    assert exported.mj.body_mass.sum() == pytest.approx(exported.model.mass, rel=1e-6)
    data = mujoco.MjData(exported.mj)
    mujoco.mj_forward(exported.mj, data)
    for link in exported.model.links:
        small = [f"{joint.name}_link" for joint in link.joints[:-1]] + ([link.tip[0]] if link.tip else [])
        bodies = [exported.mj.body(name).id for name in [link.name, *(small if exported.format == "urdf" else [])]]
        masses, centres = exported.mj.body_mass[bodies], data.xipos[bodies] - data.body(link.name).xpos
        centre = masses @ centres / masses.sum()
        assert masses.sum() == pytest.approx(link.mass)
        np.testing.assert_allclose(centre, link.centre, atol=1e-8)
        inertia = np.zeros((3, 3))
        for body, mass, offset in zip(bodies, masses, centres - centre, strict=True):
            axes = data.ximat[body].reshape(3, 3)
            inertia += axes @ np.diag(exported.mj.body_inertia[body]) @ axes.T
            inertia += mass * (offset @ offset * np.eye(3) - np.outer(offset, offset))
        np.testing.assert_allclose(inertia, link.inertia, atol=1e-6 * np.trace(link.inertia))


def test_every_link_of_the_urdf_is_a_body():
    """Whatever the shape: mass above zero, and the principal moments that a body can have; simulators guess them otherwise."""
    for name, beta, side in (("embedded", BETA, "left"), ("embedded", np.full(10, -2.0), "right"), ("toy", np.zeros(1), "right")):
        model = articulate(hand_of(name), beta, side)
        root, masses = urdf(model, "meshes"), []
        base, *bodies = root.findall("link")
        assert len(base) == 0  # KDL refuses a root with an inertia
        assert len(bodies) == 16 + (23 - 15) + 5  # bones, carriers between axes, fingertips
        for link in bodies:
            values = {k: float(v) for k, v in link.find("inertial/inertia").attrib.items()}
            moments = np.linalg.eigvalsh(np.array([[values[f"i{min(a, b)}{max(a, b)}"] for a in "xyz"] for b in "xyz"]))
            masses.append(float(link.find("inertial/mass").get("value")))
            assert masses[-1] > 1e-6, link.get("name")
            assert moments[0] > 0, link.get("name")
            assert moments[2] < (moments[0] + moments[1]) * (1 + 1e-6), link.get("name")
        assert sum(masses) == pytest.approx(model.mass, rel=1e-7)


@pytest.mark.parametrize("gravity", [(0, -9.81, 0), (0, 9.81, 0), (0, 0, -9.81), (9.81, 0, 0)])
@pytest.mark.parametrize("name", ["embedded", "toy"])
def test_a_limp_hand_comes_to_rest(name, gravity):
    """Nothing drives the URDF's joints: whichever way is down it falls, and eight seconds later it hardly moves."""
    mj = load(hand_of(name), "urdf")
    mj.opt.gravity[:] = gravity
    data, fastest = mujoco.MjData(mj), 0.0
    while data.time < 8:
        mujoco.mj_step(mj, data)
        fastest = max(fastest, np.abs(data.qvel).max())
    assert fastest > 1
    assert np.abs(data.qvel).max() < 0.15


def test_damping_of_the_urdf_bears_explicit_steps():
    """In any pose within the limits, steps of 1/240 s that integrate damping explicitly, as PyBullet's do, decrease velocities."""
    for name in ("embedded", "toy"):
        hand = hand_of(name)
        mj, limits = load(hand, "urdf"), dof_limits(hand.joint_limits)
        data, mass = mujoco.MjData(mj), np.zeros((23, 23))
        for pose in np.random.default_rng(0).uniform(limits[:, 0], limits[:, 1], (300, 23)):
            data.qpos[:] = pose
            mujoco.mj_forward(mj, data)
            for k, column in enumerate(np.eye(23)):
                mujoco.mj_mulM(mj, data, mass[k], column)
            rates = np.linalg.eigvals(np.linalg.solve(mass, np.diag(mj.dof_damping))).real
            assert 0 < rates.min()
            assert rates.max() / 240 < 1.5  # a velocity is multiplied by 1 minus this


def test_it_falls_without_breaking(exported):
    """Half a second of gravity: everything stays finite and near its limits, without a warning."""
    data = mujoco.MjData(exported.mj)
    for _ in range(250):
        mujoco.mj_step(exported.mj, data)
    assert np.isfinite(data.qpos).all()
    assert np.isfinite(data.qvel).all()
    assert max(warning.number for warning in data.warning) == 0
    limits, slack = exported.mj.jnt_range, np.deg2rad(20)  # MuJoCo's limits give way to what falls on them
    assert ((data.qpos > limits[:, 0] - slack) & (data.qpos < limits[:, 1] + slack)).all()
    assert np.abs(data.qpos).max() > 1e-4  # gravity is there


def test_servos_reach_what_they_are_told():
    """The MJCF's controls are angles: a second after a command each revolute joint is within two degrees of it, or at its limit."""
    hand = hand_of("toy")
    limits = dof_limits(hand.joint_limits)
    wanted = limits[:, 0] + 0.6 * (limits[:, 1] - limits[:, 0])
    wanted[[k for k, dof in enumerate(DOFS) if dof.motion != "flexion"]] = 0  # fingers apart
    wanted[[k for k, dof in enumerate(DOFS) if dof.finger == "thumb"]] = 0
    mj = load(hand, "mjcf")
    data = mujoco.MjData(mj)
    data.ctrl[:] = wanted
    for _ in range(500):
        mujoco.mj_step(mj, data)
    assert np.rad2deg(np.abs(data.qpos - wanted)).max() < 2


def load(hand: HandModel, format: str) -> mujoco.MjModel:
    """By way of memory: no file is written."""
    model = articulate(hand)
    document = ET.tostring(FORMATS[format](model, "meshes"), encoding="unicode")
    stl = {f"meshes/{link.name}.stl": trimesh.exchange.stl.export_stl(link.mesh) for link in model.links}
    return mujoco.MjModel.from_xml_string(document, {name: data for name, data in stl.items()})


def test_capsules_do_not_touch_on_the_flat_hand(exported):
    """No contact where nothing presses, and bending one finger alone makes none between neighbours in its chain."""
    data = mujoco.MjData(exported.mj)
    mujoco.mj_forward(exported.mj, data)
    assert data.ncon == 0
    data.joint("index_mcp_flexion").qpos = np.deg2rad(85)
    mujoco.mj_forward(exported.mj, data)
    assert data.ncon == 0


def test_meshes_are_solids_about_their_bones(exported):
    """Each link's file is the closed surface of the model, about the ends of its capsules and its fingertip."""
    for link in exported.model.links:
        assert link.mesh.is_volume, link.name
        stl = trimesh.load(exported.file.parent / "meshes" / exported.file.stem / f"{link.name}.stl")
        np.testing.assert_allclose(stl.bounds, link.mesh.bounds, atol=1e-7)
        low, high = link.mesh.bounds + np.array([[-2e-3], [2e-3]])
        for capsule in link.capsules:
            for end in (capsule.start, capsule.end):
                assert ((end > low) & (end < high)).all(), link.name
        if link.tip:
            assert ((link.tip[1] >= low) & (link.tip[1] <= high)).all()


def test_left_is_the_mirror_image_of_right():
    """Positions and meshes in x = 0, axes as axial vectors; masses and limits are equal."""
    hand = hand_of("embedded")
    for right, left in zip(articulate(hand, BETA).links, articulate(hand, BETA, "left").links, strict=True):
        assert right.name == left.name
        assert left.mass == pytest.approx(right.mass, rel=1e-12)
        assert left.mesh.volume == pytest.approx(right.mesh.volume, rel=1e-12)
        np.testing.assert_allclose(left.mesh.vertices, right.mesh.vertices * (-1, 1, 1), atol=1e-15)
        for a, b in zip(right.joints, left.joints, strict=True):
            assert (a.name, a.limits) == (b.name, b.limits)
            np.testing.assert_allclose(b.axis, a.axis * (1, -1, -1), atol=1e-15)


@pytest.mark.parametrize("name", ["embedded", "toy"])
def test_pieces_are_the_whole_skin(name):
    """Cutting loses and doubles nothing: areas add up to the hand's, and each vertex of it lies in exactly one piece."""
    hand = hand_of(name)
    pieces = cut_links(hand, hand.v_template)
    area = sum(trimesh.Trimesh(piece.vertices, piece.faces, process=False).area for piece in pieces)
    assert area == pytest.approx(trimesh.Trimesh(hand.v_template, hand.faces, process=False).area, rel=1e-9)
    assert sum((~piece.cut).sum() for piece in pieces) == hand.num_vertices
    assert min(len(piece.faces) for piece in pieces) > 10


def test_links_are_named_by_finger_and_bone():
    assert set(LINK_NAMES) == set(range(16))
    assert LINK_NAMES[0] == "palm"
    assert [LINK_NAMES[j] for j in (13, 14, 15)] == ["thumb_metacarpal", "thumb_proximal", "thumb_distal"]
    assert [LINK_NAMES[j] for j in (7, 8, 9)] == ["pinky_proximal", "pinky_middle", "pinky_distal"]


@pytest.mark.parametrize("format", FORMATS)
def test_texts_of_a_hand_cannot_break_the_file(format, tmp_path):
    """A hand's name and licence come from outside: they stay inside the comment, and the licence is there."""
    hand = replace(hand_of("toy"), name='x"><evil/>', licence="CC0 --><worldbody/><!-- \x01 --- end-")
    export_articulated(articulate(hand), tmp_path / "a b&c.xml", format)
    text = (tmp_path / "a b&c.xml").read_text()
    assert "CC0" in text.split("-->")[0]
    assert not list(ET.fromstring(text).iter("evil"))
    mujoco.MjModel.from_xml_path(str(tmp_path / "a b&c.xml"))


@pytest.mark.parametrize(
    ("beta", "side", "message"),
    [
        (np.zeros(11), "right", "takes at most 10 values of beta, not 11"),
        (np.array([0.1, np.nan]), "right", "beta holds NaN or infinity"),
        (np.array([1e6]), "right", "times as large as a hand"),
        (np.append(np.zeros(9), -40.0), "right", "pinky_proximal has no volume, or is folded into itself"),
        (np.zeros(1), "middle", "right or left, not 'middle'"),
    ],
)
def test_what_cannot_be_a_hand_is_refused(beta, side, message):
    with pytest.raises(UsageError, match=message):
        articulate(hand_of("toy"), beta, side)


def test_a_hand_without_fingers_is_refused():
    """Weights that leave a joint no skin: the error names the link."""
    hand = hand_of("toy")
    weights = np.zeros_like(hand.weights)
    weights[:, 0] = 1
    with pytest.raises(UsageError, match="index_proximal has no volume"):
        articulate(replace(hand, weights=weights))


@pytest.mark.parametrize("format", FORMATS)
def test_command_writes_what_loads(format, tmp_path):
    """The embedded hand by default; --json names revolute joints and meshes."""
    out = tmp_path / "deep" / f"hand.{format}"
    arguments = ["kinematics", "export", "--format", format, str(out), "--beta", "-1,0.5", "--side", "left", "--json"]
    message = json.loads(CliRunner().invoke(make_app(), arguments, catch_exceptions=False).stdout)
    assert message["joints"] == list(DOF_NAMES)
    assert message["beta"][:3] == [-1, 0.5, 0]
    assert len(message["meshes"]) == 16
    assert all(Path(mesh).parent == out.parent / "meshes" / "hand" for mesh in message["meshes"])
    assert mujoco.MjModel.from_xml_path(str(out)).njnt == 23


def test_command_takes_a_runs_hand(tmp_path):
    """--run takes the run's hand.npz and --hand a file: the same file gives the same bytes."""
    run = tmp_path / "run"
    run.mkdir()
    save_hand(run / "hand.npz", hand_of("toy"))
    for option, value, out in (("--run", run, "a"), ("--hand", run / "hand.npz", "b")):
        arguments = ["kinematics", "export", str(tmp_path / out / "h.xml"), "--format", "mjcf", option, str(value)]
        assert "right toy hand" in CliRunner().invoke(make_app(), arguments, catch_exceptions=False).stdout
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "sdf"], "no format is called 'sdf': use urdf, mjcf or usd"),
        (["--format", "urdf", "--beta", "1;2"], "--beta takes numbers"),
        (["--format", "urdf", "--run", "nowhere"], "nowhere is neither a folder nor the name of shipped weights"),
        (["--format", "urdf", "--run", "a", "--hand", "b"], "give one of them"),
        (["--format", "urdf", "--side", "both"], "right or left"),
    ],
)
def test_bad_commands_get_a_sentence(arguments, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        CliRunner().invoke(make_app(), ["kinematics", "export", str(tmp_path / "x.urdf"), *arguments], catch_exceptions=False)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(UsageError, match="is a folder: give the file to write"):
        CliRunner().invoke(make_app(), ["kinematics", "export", str(tmp_path), "--format", "urdf"], catch_exceptions=False)
