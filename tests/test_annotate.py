"""Annotation: depth at pixels, visibility with hand-made occluders, and labels that follow from one another."""

import dataclasses

import numpy as np
import pytest

from handsynth.annotate import annotate
from handsynth.core.camera import intrinsics, project
from handsynth.core.conventions import (
    ARM_PART,
    CLOTHING_PART,
    FINGER_JOINTS,
    FINGERS,
    KEYPOINT_NAMES,
    KEYPOINT_PARTS,
    OCCLUDER_GAP_M,
    SCHEMA,
    VISIBLE_TOLERANCE_M,
)
from handsynth.core.hand import keypoints_from_vertices, pose_hand
from handsynth.core.mirror import mirror_points, mirror_theta
from handsynth.core.sample import FIELDS, OPTIONAL, field_shapes
from handsynth.recipe.recipe import ArmChoice
from handsynth.scene.arm import make_arm
from handsynth.scene.lattice import Lattice
from handsynth.scene.upper_arm import whole_faces
from handsynth.visibility import LATTICE, clearance, front_at_pixels, fronts, keypoint_clearance, visible_share

SIZE = 256
K = intrinsics(400.0, (128.0, 128.0))


@pytest.fixture(scope="module")
def labels(stage):
    """Labels of every recipe of the stage."""
    ambient = np.array([recipe.ambient.color for recipe in stage.recipes])
    background = {"name": "grey", "licence": "none", "replaced": False}
    backgrounds = [background] * len(stage.recipes)
    return annotate(stage.recipes, stage.hands, stage.library.hand, SIZE, "identity", ambient, backgrounds)


def test_front_at_pixels_is_what_the_passes_hold(stage):
    """At keypoints and at random pixels, the label's depth and part are what the renderer's passes hold there.

    OpenGL places corners on a grid of 1/256 px, so a pixel in a thousand, at a silhouette, may see another surface.
    """
    rng, wrong, seen = np.random.default_rng(0), np.zeros(2, int), 0
    for row, view in enumerate(stage.views):
        found = stage.generator.renderer.render(view, ("depth", "parts"))
        keypoints = np.floor(project(stage.hands.keypoints[row], stage.hands.K[row]))
        (hand,) = view.meshes
        low, high = np.floor(project(hand.vertices, view.K).min(0)), np.ceil(project(hand.vertices, view.K).max(0))
        pixels = np.concatenate([keypoints, rng.integers(low, high, (400, 2))]).astype(int)
        depth, face = front_at_pixels(hand.vertices.astype(np.float64), stage.closed_faces, view.K, pixels)
        column, line = pixels.T
        expected = found.depth[line, column].astype(float)
        # As inverse depth, background is 0 and nothing is infinite; 0.5 m and 50 um differ by 2e-4.
        same = np.abs(1 / depth - np.divide(1, expected, out=np.zeros_like(expected), where=expected > 0)) < 2e-4
        part = np.where(face >= 0, stage.library.hand.closed_parts[face] + 1, 0)
        wrong += (~same).sum(), (part != found.parts[line, column]).sum()
        seen += (expected > 0).sum()
        assert same[:21].mean() > 0.9
    assert (wrong < [0.001 * 421 * len(stage.views), 0.003 * 421 * len(stage.views)]).all(), wrong
    assert seen > 2000


def slow_front(vertices: np.ndarray, faces: np.ndarray, K: np.ndarray, pixel: np.ndarray) -> tuple[float, int]:
    """The readable twin: the ray through a pixel's centre against every triangle (Moeller and Trumbore 1997)."""
    ray = np.linalg.inv(K) @ [*(pixel + 0.5), 1.0]
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    depth = (normal * a).sum(1) / (normal @ ray)
    point = depth[:, None] * ray
    inside = np.all([(np.cross(q - p, point - p) * normal).sum(1) >= 0 for p, q in ((a, b), (b, c), (c, a))], 0)
    depth = np.where(inside & (depth > 0), depth, np.inf)
    return depth.min(), int(depth.argmin()) if np.isfinite(depth.min()) else -1


def test_front_at_pixels_is_its_slow_twin(stage):
    """Over whole batches depth and face are those of a ray against every triangle."""
    rng = np.random.default_rng(1)
    vertices, K = stage.hands.vertices[:12].astype(np.float64), stage.hands.K[:12]
    pixels = rng.integers(20, 236, (12, 40, 2))
    depth, face = front_at_pixels(vertices, stage.closed_faces, K, pixels)
    for row in range(12):
        for k, pixel in enumerate(pixels[row]):
            expected = slow_front(vertices[row], stage.closed_faces, K[row], pixel)
            assert depth[row, k] == pytest.approx(expected[0], rel=1e-9)
            assert face[row, k] == expected[1]
    assert 0.1 < (face >= 0).mean() < 0.9


def wall(depth: float, x: tuple[float, float], y: tuple[float, float]) -> np.ndarray:
    """(4, 3) corners of a rectangle across the optical axis [m]."""
    return np.array([[x[0], y[0], depth], [x[1], y[0], depth], [x[1], y[1], depth], [x[0], y[1], depth]])


WALL_FACES = np.array([[0, 1, 2], [0, 2, 3]])


def front(vertices: np.ndarray, faces: np.ndarray, pixels: list) -> list[float]:
    return front_at_pixels(vertices, faces, K, np.array(pixels))[0].tolist()


@pytest.mark.parametrize("faces", [WALL_FACES, WALL_FACES[:, ::-1]])
def test_a_wall_stands_before_the_pixels_that_it_covers(faces):
    """Whichever way it faces."""
    assert front(wall(0.4, (-0.02, 0.02), (-0.02, 0.02)), faces, [[128, 128], [200, 128], [128, 20]]) == [0.4, np.inf, np.inf]


def test_of_two_walls_the_nearer_counts():
    """In either order of the faces; the face that is named is the nearer one's."""
    both = np.concatenate([wall(0.6, (-1, 1), (-1, 1)), wall(0.3, (-0.02, 0.02), (-0.02, 0.02))])
    faces = np.concatenate([WALL_FACES, WALL_FACES + 4])
    for order in (faces, faces[::-1]):
        depth, face = front_at_pixels(both, order, K, np.array([[128, 128], [200, 128], [5000, -3]]))
        np.testing.assert_allclose(depth, [0.3, 0.6, np.inf])
        assert (order[face[:2], 0] >= 4).tolist() == [True, False]
        assert face[2] == -1


def test_a_slanted_wall_has_the_depth_of_its_plane():
    """Depth is interpolated in perspective: the plane z = 0.4 + x / 2 met by the ray of a pixel's centre."""
    x = np.array([-0.1, 0.1, 0.1, -0.1])
    corners = np.stack([x, np.array([-0.1, -0.1, 0.1, 0.1]), 0.4 + 0.5 * x], 1)
    pixels = np.array([[100, 120], [128, 128], [190, 90]])
    ray_x = (pixels[:, 0] + 0.5 - K[0, 2]) / K[0, 0]
    np.testing.assert_allclose(front(corners, WALL_FACES, pixels), 0.4 / (1 - 0.5 * ray_x), rtol=1e-12)
    assert np.isinf(front(corners, WALL_FACES, [[2, 2]])).all()


def parts_of_its_finger(keypoint: str) -> set[int]:
    """The parts of the finger that a keypoint belongs to; of the wrist none."""
    return next((set(joints) for finger, joints in FINGER_JOINTS.items() if keypoint.startswith(finger)), set())


@pytest.mark.parametrize("k", range(21))
def test_another_part_in_front_hides_and_the_own_one_from_the_tolerance_on(k):
    """A keypoint's own parts are its finger's, of the wrist and of each finger's first joint the palm too, of the wrist also the
    forearm: they hide it when more than the tolerance in front. Whatever else lies in front hides it, however thin."""
    name, z = KEYPOINT_NAMES[k], 0.5
    own = parts_of_its_finger(name) | ({0} if name == "wrist" or name.endswith("1") else set())
    own |= {ARM_PART - 1, CLOTHING_PART - 1} if name == "wrist" else set()
    assert set(KEYPOINT_PARTS[k]) == own
    for part in range(CLOTHING_PART):
        free = VISIBLE_TOLERANCE_M if part in own else OCCLUDER_GAP_M
        for gap in (-0.1, 0.0, 0.0005, free - 1e-6):
            assert clearance(np.full(21, z), np.full(21, z - gap), np.full(21, part))[k] > 0
        for gap in (free + 1e-6, 0.0201, 0.3):
            assert clearance(np.full(21, z), np.full(21, z - gap), np.full(21, part))[k] < 0
    assert clearance(np.full(21, z), np.full(21, np.inf), np.full(21, -1))[k] == np.inf, "background hides nothing"


def test_a_fingertip_behind_another_finger_is_hidden_however_near(stage):
    """The index's tip just behind the middle finger's flat tip, touching it, is hidden; from the other side it is visible.

    Its depth is a distal phalanx, 12 to 18 mm, behind the surface in front: a tolerance of 20 mm alone let it through.
    """
    hand = stage.library.hand
    theta = np.zeros((16, 3))
    posed = pose_hand(hand, theta, np.zeros(10))
    moved = posed.vertices.copy()
    finger = {name: np.isin(hand.weights.argmax(1), FINGER_JOINTS[name]) for name in ("index", "middle")}
    # Seen along -y (the palm towards the camera), the whole index lies behind the middle finger, against its back.
    shift = posed.vertices[hand.fingertips[2]] - posed.vertices[hand.fingertips[1]]
    moved[finger["index"]] += shift * [1, 0, 1]
    back, front_of_index = moved[finger["middle"], 1].max(), moved[finger["index"], 1].min()
    moved[finger["index"], 1] += back - front_of_index + 1e-4
    tip = FINGERS.index("index")
    for side, expected in ((1, 0), (-1, 1)):  # camera before the palm, camera behind the hand
        rotation = np.array([[1.0, 0, 0], [0, 0, side], [0, side, 0]])
        seen = (moved - moved[hand.fingertips[1]]) @ rotation.T + [0, 0, 0.5]
        keypoints = keypoints_from_vertices(hand, seen)
        inside, clear = keypoint_clearance(keypoints, project(keypoints, K), seen, hand, K, SIZE)
        k = 4 + 4 * tip
        assert inside[k]
        assert (clear[k] >= 0) == expected
        depth, _ = front_at_pixels(seen, hand.closed_faces, K, np.floor(project(keypoints, K)))
        if not expected:
            assert 0.005 < keypoints[k, 2] - depth[k] < VISIBLE_TOLERANCE_M, "the tolerance alone would pass it"


def test_outside_the_image_nothing_is_visible(stage):
    """A point beyond any border is not in the image, one on the first pixel is."""
    hand, edge = stage.library.hand, np.full((21, 2), 100.0)
    edge[:6] = [0.0, 0.0], [255.99, 255.99], [-0.01, 9.0], [9.0, -0.01], [256.0, 9.0], [9.0, 256.0]
    points = np.concatenate([(edge - 128) / 400 * 0.5, np.full((21, 1), 0.5)], 1)
    inside, clear = keypoint_clearance(points, edge, hand.v_template + np.array([0, 0, 0.9]), hand, K, SIZE)
    assert inside[:6].tolist() == [True, True, False, False, False, False]
    assert (clear >= 0).all(), "what stands behind hides nothing"


def test_labels_are_the_schema(labels):
    """Every field of the schema, no other, in the shape that it states."""
    for found in labels:
        assert set(found) | OPTIONAL == set(FIELDS)
        for name, shape in field_shapes(SCHEMA, 10).items():
            assert name not in found or shape is None or np.shape(found[name]) == shape, name


def test_box_is_tight(labels, stage):
    """Every projected vertex lies in bbox_xyxy and each side touches one, within half of the last decimal."""
    for row, found in enumerate(labels):
        xy = project(stage.hands.vertices[row].astype(float), np.array(found["K"]))
        np.testing.assert_allclose(found["bbox_xyxy"], [*xy.min(0), *xy.max(0)], atol=0.51e-4)


def test_labels_follow_from_theta_beta_and_camera(labels, stage):
    """theta, beta and trans as written, posed as their side says and moved by T_cam_world, give keypoints_cam and vertices.

    A left hand's theta and trans are those of the mirrored right hand. Tolerance: 1e-6 m of the grid on both sides.
    """
    hand, sides = stage.library.hand, set()
    for row, found in enumerate(labels):
        theta, trans, left = np.reshape(found["theta"], (16, 3)), np.array(found["trans"]), found["side"] == "left"
        posed = pose_hand(
            hand, *((mirror_theta(theta), found["beta"], mirror_points(trans)) if left else (theta, found["beta"], trans))
        )
        world = mirror_points(posed.vertices) if left else posed.vertices
        T = np.array(found["T_cam_world"])
        vertices = world @ T[:3, :3].T + T[:3, 3]
        np.testing.assert_allclose(stage.hands.vertices[row], vertices, atol=1e-6)
        tips_and_joints = keypoints_from_vertices(hand, vertices)
        np.testing.assert_allclose(found["keypoints_cam"], tips_and_joints, atol=2e-6)
        sides.add(found["side"])
    assert sides == {"right", "left"}


def test_visibility_is_neither_always_nor_never(labels):
    """Over random views each keypoint is seen in some and hidden in others."""
    share = np.mean([found["keypoints_visible"] for found in labels], 0)
    assert (share > 0.2).all()
    assert 0.5 < share.mean() < 0.98
    assert set(np.unique([found["keypoints_visible"] for found in labels])) == {0, 1}


@pytest.fixture(scope="module")
def armed(stage):
    """The stage's hands with forearms, whose wrists bend in all directions; every fourth hand stays bare."""
    rng, recipes = np.random.default_rng(2), []
    for row, recipe in enumerate(stage.recipes):
        flexion, deviation, twist = (rng.uniform(-1, 1, 3) * (60, 20, 80)).round(6).tolist()
        choice = ArmChoice(flexion, deviation, twist, 1.0, 0, 0.5, 0.5, 0.5, 0.0)
        recipes.append(dataclasses.replace(recipe, arm=choice if row % 4 else None))
    return recipes, stage.generator.poses.pose(recipes, SIZE)


@pytest.fixture(scope="module")
def armed_labels(stage, armed):
    recipes, hands = armed
    return annotate(recipes, hands, stage.library.hand, SIZE, "identity", np.zeros((len(recipes), 3)), [{}] * len(recipes))


def in_view(armed) -> list[int]:
    """Rows of hands whose forearm lies before the camera."""
    return [row for row, arm in enumerate(armed[1].arms) if arm is not None and arm[:, 2].min() > 0.05]


def test_hand_and_arm_are_what_stands_in_front_at_every_pixel(stage, armed):
    """Inverse depths are those of front_at_pixels, of the hand alone and, where it is nearer, of the forearm in
    both sewn together without a cap. Left and right hands."""
    hand, hands, rows = stage.library.hand, armed[1], in_view(armed)[:12]
    arm = whole_faces(make_arm(hand))
    vertices, arms, K = (
        hands.vertices[rows].astype(np.float64),
        np.array([hands.arms[row] for row in rows], np.float64),
        hands.K[rows],
    )
    step = 5
    pixels = np.stack(np.meshgrid(*[np.arange(0, SIZE, step)] * 2), -1).reshape(-1, 2)
    nearest = fronts(vertices, arms, hand, K, hands.is_left[rows], SIZE)
    found = [nearest[part][:, ::step, ::step] for part in (0, ARM_PART)]
    sewn = np.concatenate([hand.faces, arm + hand.num_vertices])
    both = np.concatenate([vertices, arms], 1)
    for inverse, points, faces in ((found[0], vertices, hand.faces), (np.maximum(*found), both, sewn)):
        depth, face = front_at_pixels(points, faces, K, np.broadcast_to(pixels, (len(rows), *pixels.shape)))
        expected = np.where(np.isfinite(depth), 1 / depth, 0).reshape(inverse.shape)
        assert (np.abs(inverse - expected) > 1e-4).mean() < 1e-4
        assert (expected > 0).mean() > 0.05
    of_arm = (face >= len(hand.faces)).reshape(inverse.shape)
    assert (of_arm != (found[1] > found[0])).mean() < 1e-4
    assert of_arm.mean() > 0.05
    assert set(hands.is_left[rows]) == {True, False}


def test_keypoints_lie_behind_hand_and_forearm_as_behind_one_mesh(stage, armed):
    """Their clearance is that of the slow search through the faces of both, sewn together without a cap."""
    hand, hands, rows = stage.library.hand, armed[1], in_view(armed)
    arm = whole_faces(make_arm(hand))
    keypoints, K, arms = hands.keypoints[rows], hands.K[rows], np.array([hands.arms[row] for row in rows])
    xy = project(keypoints, K)
    inside, clear = keypoint_clearance(keypoints, xy, hands.vertices[rows], hand, K, SIZE, arms=arms)
    both, faces = (
        np.concatenate([hands.vertices[rows], arms], 1).astype(np.float64),
        np.concatenate([hand.faces, arm + hand.num_vertices]),
    )
    parts = np.append(hand.parts, np.full(len(arm), ARM_PART - 1))
    depth, face = front_at_pixels(both, faces, K, np.floor(np.where(inside[..., None], xy, 0)))
    np.testing.assert_array_equal(clear, clearance(keypoints[..., 2], depth, parts[face]))
    assert (parts[face] == ARM_PART - 1)[inside].sum() > 5


@pytest.mark.parametrize("size", [48, 64, 200, 256])
def test_the_visible_share_is_counted_on_the_stated_lattice(stage, armed, size):
    """Every k-th pixel of every k-th row from k // 2 on, k = max(1, size // 64), by the slow test of what is in front."""
    hand, hands, rows = stage.library.hand, armed[1], in_view(armed)[:6]
    arm, step = whole_faces(make_arm(hand)), max(1, size // LATTICE)
    K = np.diag([size / SIZE, size / SIZE, 1]) @ hands.K[rows]
    vertices, arms = hands.vertices[rows].astype(np.float64), np.array([hands.arms[row] for row in rows], np.float64)
    shares = visible_share(vertices, arms, hand, K, hands.is_left[rows], size)
    pixels = np.stack(np.meshgrid(*[np.arange(step // 2, size, step)] * 2), -1).reshape(-1, 2)
    faces = np.concatenate([hand.faces, arm + hand.num_vertices])
    for row, share in enumerate(shares):
        whole = np.isfinite(front_at_pixels(vertices[row], hand.closed_faces, K[row], pixels)[0])
        _, face = front_at_pixels(np.concatenate([vertices[row], arms[row]]), faces, K[row], pixels)
        seen = (face >= 0) & (face < len(hand.faces))
        assert abs(share - (seen & whole).sum() / whole.sum()) < 2 / whole.sum()
    assert shares.min() < 0.9


def test_a_forearm_hides_and_never_reveals(stage, armed, armed_labels, labels):
    """Whatever is visible with a forearm is visible without; some keypoints are hidden by it; bare hands keep their labels."""
    hidden = 0
    for row, (found, bare) in enumerate(zip(armed_labels, labels, strict=True)):
        if armed[0][row].arm is None:
            own = {"ambient_used", "background"}
            assert {key: found[key] for key in found if key not in own} == {key: bare[key] for key in bare if key not in own}
            assert (found["arm"], found["visible_share"]) == (None, 1.0)
        elif row in in_view(armed):
            with_arm, without = np.array(found["keypoints_visible"]), np.array(bare["keypoints_visible"])
            assert (with_arm <= without).all()
            hidden += (with_arm < without).sum()
            choice = armed[0][row].arm
            assert found["arm"] == {
                name: getattr(choice, name) for name in ("flexion_deg", "deviation_deg", "twist_deg", "elbow_deg")
            }
            assert 0 <= found["visible_share"] <= 1
            assert found["recipe"]["arm"] == vars(choice)
    assert hidden > 5


def test_labels_do_not_hang_on_who_else_has_a_forearm(stage, armed, armed_labels):
    """Each sample alone has the labels that it has in a batch of hands with and without."""
    recipes = armed[0]
    for row in (0, 1, 5, 8):
        alone = stage.generator.poses.pose(recipes[row : row + 1], SIZE)
        (found,) = annotate(recipes[row : row + 1], alone, stage.library.hand, SIZE, "identity", np.zeros((1, 3)), [{}])
        assert found == armed_labels[row]


@dataclasses.dataclass(frozen=True)
class Board:
    """A stand-in for clothing: a flat box before a hand."""

    vertices: np.ndarray
    faces: np.ndarray
    part: int = CLOTHING_PART


BOX_FACES = np.array(
    [
        [0, 1, 2], [0, 2, 3], [7, 6, 5], [7, 5, 4], [0, 4, 5], [0, 5, 1],
        [1, 5, 6], [1, 6, 2], [2, 6, 7], [2, 7, 3], [3, 7, 4], [3, 4, 0],
    ]
)[:, ::-1]  # fmt: skip
"""Of a box whose corners are `wall` near, then far: seen from the camera its outside is in front."""


def board(z: float, x: tuple[float, float], y: tuple[float, float], is_left: bool, depth: float = 0.002) -> Board:
    """A box across the optical axis, wound as a hand is: of a left one mirrored, so the other way around."""
    corners = np.concatenate([wall(z, x, y), wall(z + depth, x, y)])
    if is_left:
        corners = corners[[1, 0, 3, 2, 5, 4, 7, 6]]
    return Board(corners.astype(np.float32), BOX_FACES)


def boards(stage, gap: float) -> list[tuple[Board, ...]]:
    """Before the middle finger's second joint of every second hand, nearer than all of it by `gap`; hands have none, one or two."""
    worn: list[tuple[Board, ...]] = []
    for row in range(len(stage.recipes)):
        x, y, z = stage.hands.keypoints[row, 10]
        z, side = stage.hands.vertices[row, :, 2].min() - gap, 0.012
        x, y = x / stage.hands.keypoints[row, 10, 2] * z, y / stage.hands.keypoints[row, 10, 2] * z
        one = board(z, (x - side, x + side), (y - side, y + side), bool(stage.hands.is_left[row]))
        far = board(3.0, (x - 5, x + 5), (y - 5, y + 5), bool(stage.hands.is_left[row]))
        worn.append(((), (one,), (), (far, one))[row % 4])
    return worn


def annotated(stage, recipes, hands, worn=()):
    count = len(recipes)
    return annotate(recipes, hands, stage.library.hand, SIZE, "identity", np.zeros((count, 3)), [{}] * count, worn)


def test_what_is_worn_hides_what_is_behind_it_and_never_reveals(stage, armed):
    """Before hands with and without forearms: the joint behind is hidden, the share falls; what lies behind the hand is nothing."""
    for recipes, hands in ((stage.recipes, stage.hands), armed):
        worn = boards(stage, 0.01)
        bare, dressed = annotated(stage, recipes, hands), annotated(stage, recipes, hands, worn)
        for row, (one, other) in enumerate(zip(bare, dressed, strict=True)):
            if not worn[row]:
                assert one == other
                continue
            assert other["keypoints_visible"][10] == 0
            assert (np.array(other["keypoints_visible"]) <= np.array(one["keypoints_visible"])).all()
            assert other["visible_share"] <= one["visible_share"]
            same = set(one) - {"keypoints_visible", "visible_share"}
            assert {key: other[key] for key in same} == {key: one[key] for key in same}
        assert np.mean([one["visible_share"] - other["visible_share"] for one, other in zip(bare, dressed, strict=True)]) > 0.02
        behind = [tuple(board(3.0, (-9, 9), (-9, 9), bool(left)) for _ in range(2)) for left in hands.is_left]
        assert annotated(stage, recipes, hands, behind) == bare


def test_labels_do_not_hang_on_what_others_wear(stage):
    worn = boards(stage, 0.01)
    together = annotated(stage, stage.recipes, stage.hands, worn)
    for row in (0, 1, 3, 7):
        recipes = stage.recipes[row : row + 1]
        hands = stage.generator.poses.pose(recipes, SIZE)
        assert annotated(stage, recipes, hands, worn[row : row + 1]) == [together[row]]


@pytest.mark.parametrize("with_arm", [False, True])
def test_fronts_and_shares_see_what_is_worn(stage, armed, with_arm):
    """Every pixel of the clothing alone, and the share of the hand that it leaves, are those of rays against every face."""
    hand, rows = stage.library.hand, [row for row in in_view(armed) if row % 4 in (1, 3)][:6]
    hands = armed[1] if with_arm else stage.hands
    worn = [boards(stage, 0.01)[row] for row in rows]
    arms = np.array([hands.arms[row] for row in rows], np.float64) if with_arm else None
    one = hands.vertices[rows].astype(np.float64), arms, hand, hands.K[rows], hands.is_left[rows], SIZE, worn
    own, arm, clothing = (fronts(*one)[part] for part in (0, ARM_PART, CLOTHING_PART))
    pixels = np.stack(np.meshgrid(*[np.arange(SIZE)] * 2), -1).reshape(-1, 2)
    for k, surfaces in enumerate(worn):
        depth = np.min([front_at_pixels(s.vertices.astype(float), s.faces, hands.K[rows[k]], pixels)[0] for s in surfaces], 0)
        np.testing.assert_allclose(clothing[k].ravel(), np.where(np.isfinite(depth), 1 / depth, 0), atol=1e-4)
    step = SIZE // LATTICE
    hand_alone = fronts(*one[:1], None, *one[2:])[0]
    hand_alone, own, before = (
        layer[:, step // 2 :: step, step // 2 :: step] for layer in (hand_alone, own, np.maximum(arm, clothing))
    )
    seen, whole = ((own > 0) & (own >= before)).sum((1, 2)), (hand_alone > 0).sum((1, 2))
    np.testing.assert_allclose(visible_share(*one), seen / whole, atol=0.003)


@pytest.mark.parametrize("k", range(21))
def test_clothing_hides_as_the_forearm_does(stage, k):
    """A surface before a keypoint hides it from 1 mm on, before the wrist from 20 mm on; the nearest surface decides."""
    keypoints = np.tile([0.0, 0.0, 0.6], (21, 1))
    xy, far = np.full((21, 2), 128.0), stage.library.hand.v_template + np.array([0, 0, 5.0])
    limit = VISIBLE_TOLERANCE_M if KEYPOINT_NAMES[k] == "wrist" else OCCLUDER_GAP_M
    for gap in (limit - 1e-5, limit + 1e-5):
        worn = [(board(0.6 - gap, (-1, 1), (-1, 1), False),)]
        inside, clear = keypoint_clearance(keypoints, xy, far, stage.library.hand, K, SIZE, beside=worn)
        assert inside.all()
        assert (clear[k] >= 0) == (gap < limit)


def test_what_winds_around_a_point_covers_it(stage, armed):
    """The shortcut of visible_share, by edges, covers the points at which the slow look at every face finds something; where depths
    are looked for in part, they are those of the whole. Left and right hands, hands and forearms.
    """
    hand, hands, rows = stage.library.hand, armed[1], in_view(armed)[:12]
    arms, K, is_left = np.array([hands.arms[row] for row in rows], np.float64), hands.K[rows], hands.is_left[rows]
    for vertices, faces in ((hands.vertices[rows], hand.closed_faces), (arms, whole_faces(make_arm(hand)))):
        lattice = Lattice(vertices.astype(np.float64), faces, K, SIZE, 2, is_left)
        whole, some = lattice.front(), np.random.default_rng(4).random((len(rows), SIZE // 2, SIZE // 2)) < 0.01
        assert (lattice.covered() != (whole > 0)).mean() < 1e-5
        assert 0.02 < (whole > 0).mean() < 0.6
        np.testing.assert_array_equal(lattice.front(some), np.where(some, whole, 0))
        assert not lattice.front(np.zeros_like(some)).any()
