"""What people wear: plain choices, sound surfaces that neither enter nor leave the arm, textures, and nails alone painted."""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from handsynth.assets.skins.painter.surface import rasterise_surface
from handsynth.assets.skins.skin import SkinModel, layout_fits
from handsynth.core.conventions import CLOTHING, FINGERS
from handsynth.core.errors import HandsynthError
from handsynth.core.fields import build
from handsynth.core.hand import HandModel, PosedHand, load_hand, pose_hand
from handsynth.core.locations import EMBEDDED_HAND
from handsynth.core.toy import toy_hand, toy_poses
from handsynth.recipe.spec import WearSpec, load_spec
from handsynth.recipe.wardrobe import (
    GARMENTS,
    beside_sleeve,
    beside_watch,
    sample_bracelet,
    sample_glove,
    sample_rings,
    sample_sleeve,
    sample_varnish,
    sample_watch,
    sample_worn,
    worn_together,
)
from handsynth.recipe.wear import LIMITS, WORDS, SleeveChoice, Worn, out_of_range
from handsynth.render.layers import CLOTH, LACQUER, LEATHER, METAL, PLASTIC, SKIN
from handsynth.scene.arm import MAX_DEVIATION, MAX_FLEXION, POLE_M, Arm, ArmShape, PosedArms, make_arm, pose_arms
from handsynth.scene.arm_skin import ALONG
from handsynth.scene.arm_skin import AROUND as ARM_AROUND
from handsynth.scene.wear import cloth, folds, sleeve, wrist
from handsynth.scene.wear.finger_ring import AROUND as RING_AROUND
from handsynth.scene.wear.finger_ring import PHALANX, PROFILE, FingerRings
from handsynth.scene.wear.glove import Gloves
from handsynth.scene.wear.sleeve import Sleeves
from handsynth.scene.wear.varnish import Varnish
from handsynth.scene.wear.wrist import Bracelets, Watches

FINISHES = {METAL, LACQUER, PLASTIC, LEATHER, CLOTH}
LENGTH = 0.25
SAMPLERS = {
    "sleeve": lambda rng: sample_sleeve(rng, LENGTH),
    "watch": sample_watch,
    "bracelet": sample_bracelet,
    "ring": lambda rng: sample_rings(rng)[0],
    "varnish": sample_varnish,
    "glove": sample_glove,
}
HANDS = {"toy": toy_hand, "embedded": lambda: load_hand(EMBEDDED_HAND)}


@dataclasses.dataclass(frozen=True)
class Arms:
    """One hand model with posed forearms: straight ones, and ones bent as far as wrists go in every direction."""

    hand: HandModel
    arm: Arm
    shapes: list[ArmShape]
    posed: PosedArms


COUNT = 48


@lru_cache(maxsize=2)
def arms_of(name: str) -> Arms:
    hand, rng = HANDS[name](), np.random.default_rng(4)
    arm = make_arm(hand)
    shapes = []
    for k in range(COUNT):
        size, angle = (1.0, 2 * np.pi * k / 16) if k < 32 else (0.5 * rng.random(), rng.uniform(0, 6.28))
        bend = size * MAX_FLEXION * np.cos(angle), size * MAX_DEVIATION * np.sin(angle)
        shapes.append(ArmShape(float(bend[0]), float(bend[1]), rng.uniform(-1.5, 1.5), rng.choice([0.6, 1.0, 1.5])))
    beta = rng.normal(size=(COUNT, hand.num_shapes)).clip(-2, 2)
    rim = pose_hand(hand, np.zeros((COUNT, hand.num_joints, 3)), beta).vertices[:, arm.rim]
    return Arms(hand, arm, shapes, pose_arms(arm, rim, np.tile(np.eye(3), (COUNT, 1, 1)), shapes))


@pytest.fixture(params=HANDS, scope="module")
def arms(request) -> Arms:
    return arms_of(request.param)


BARYCENTRIC = np.array([(a, b, 6 - a - b) for a in range(7) for b in range(7 - a)]) / 6

FINE = np.array([(a, b, 24 - a - b) for a in range(25) for b in range(25 - a)]) / 24


def on_faces(vertices: np.ndarray, faces: np.ndarray, grid: np.ndarray = BARYCENTRIC) -> np.ndarray:
    """(F, G, 3) points of some faces."""
    return np.einsum("gk,fkc->fgc", grid, vertices[faces])


def height_over(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(P,) signed distance [m] of points near a closed surface, negative inside: over the planes of the nearest of many points."""
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    dense = on_faces(vertices, faces)
    distance, nearest = cKDTree(dense.reshape(-1, 3)).query(points, k=4)
    heights = ((points[:, None] - dense.reshape(-1, 3)[nearest]) * np.repeat(normal, len(BARYCENTRIC), 0)[nearest]).sum(-1)
    return np.where(distance[:, 0] < 0.004, heights[:, 0], np.sign(heights.sum(1)) * distance[:, 0])


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = vertices[faces].swapaxes(0, 1)
    return float((np.cross(a, b) * c).sum() / 6)


def boundary(faces: np.ndarray) -> set[int]:
    """Vertices of the edges that have one face; raises when an edge is run through twice in one direction."""
    edges = [(int(f[k]), int(f[(k + 1) % 3])) for f in faces for k in range(3)]
    assert len(set(edges)) == len(edges)
    return {v for edge in set(edges) - {(b, a) for a, b in edges} for v in edge}


# Choices


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_choice_survives_json_and_comes_back_the_same(kind):
    """Every value is plain and rounded: what JSON stores is what is used. Unknown keys are refused."""
    for seed in range(50):
        choice = SAMPLERS[kind](np.random.default_rng(seed))
        stored = json.loads(json.dumps(dataclasses.asdict(choice)))
        assert build(type(choice), stored, "stored", HandsynthError) == choice
        assert all(round(v, 6) == v for v in stored.values() if isinstance(v, float))
        assert SAMPLERS[kind](np.random.default_rng(seed)) == choice
    with pytest.raises(HandsynthError, match="unknown key"):
        build(type(choice), stored | {"size": 3}, "stored", HandsynthError)


def test_frequencies_are_probabilities_and_shares():
    assert all(0 < probability < 1 for probability in vars(load_spec("default").wear).values())
    assert sum(garment.share for garment in GARMENTS.values()) == pytest.approx(1)
    drawn = [sample_sleeve(np.random.default_rng(k), LENGTH).garment for k in range(2000)]
    for name, garment in GARMENTS.items():
        assert drawn.count(name) / len(drawn) == pytest.approx(garment.share, abs=0.04)


def test_sleeves_hide_or_move_what_is_below_them():
    """A watch that is shown lies between rim and cuff; a long sleeve hides it, a rolled one leaves it where it is."""
    seen = set()
    for seed in range(300):
        rng = np.random.default_rng(seed)
        worn, watch, bracelet = sample_sleeve(rng, LENGTH), sample_watch(rng), sample_bracelet(rng)
        for thing, width in ((watch, 2 * watch.radius_m), (bracelet, bracelet.width_m)):
            found = beside_sleeve(worn, thing)
            seen.add((type(thing), found is None, found == thing))
            if found is not None:
                assert width / 2 < found.place_m < worn.cuff_m - width / 2
                assert found.place_m <= thing.place_m
    assert len(seen) >= 5  # each hidden, each left alone, some bracelet moved


def test_a_bracelet_beside_a_watch_never_meets_it():
    for seed in range(100):
        rng = np.random.default_rng(seed)
        watch, bracelet = sample_watch(rng), sample_bracelet(rng)
        moved = beside_watch(watch, bracelet)
        assert abs(moved.place_m - watch.place_m) > watch.radius_m + bracelet.width_m / 2
        assert moved.place_m < 0.1


def test_rings_of_one_hand_are_on_fingers_of_their_own():
    for seed in range(200):
        fingers = [ring.finger for ring in sample_rings(np.random.default_rng(seed))]
        assert 1 <= len(fingers) <= 3
        assert len(set(fingers)) == len(fingers) <= len(set(FINGERS))


def dressed(seed: int, **changes: float) -> Worn:
    """What someone wears who puts on everything, or some of it."""
    spec = WearSpec(**dict.fromkeys(CLOTHING, 1.0) | changes)
    return worn_together(sample_worn(spec, lambda name: np.random.default_rng([seed, CLOTHING.index(name)]), LENGTH)) or Worn()


@pytest.mark.parametrize("without", [(), ("sleeve",), ("glove",), ("glove", "sleeve")])
def test_what_is_worn_together_never_meets(without):
    """Watch and bracelet have room beside each other, between the glove's cuff and the sleeve's; no ring is below a glove."""
    together = 0
    for seed in range(300):
        worn = dressed(seed, **dict.fromkeys(without, 0.0))
        spans = [] if worn.glove is None else [(-1.0, worn.glove.cuff_m)]
        if worn.watch is not None:
            spans.append((worn.watch.place_m - worn.watch.radius_m, worn.watch.place_m + worn.watch.radius_m))
        if worn.bracelet is not None:
            spans.append((worn.bracelet.place_m - worn.bracelet.width_m / 2, worn.bracelet.place_m + worn.bracelet.width_m / 2))
        if worn.sleeve is not None and (worn.watch or worn.bracelet):
            spans.append((worn.sleeve.cuff_m, 1.0))
        spans.sort()
        assert all(stop < start for (_, stop), (start, _) in itertools.pairwise(spans)), (seed, spans)
        assert worn.glove is None or all(ring.share > worn.glove.reach for ring in worn.rings)
        together += worn.watch is not None and worn.bracelet is not None
    assert together > 0 or "glove" not in without


def test_everything_that_is_drawn_may_be_stored():
    """The limits of stored recipes refuse nothing that samplers draw, and every limit has a value near its drawn ones."""
    for seed in range(1000):
        assert list(out_of_range(dressed(seed))) == []
        assert list(out_of_range(dressed(seed, sleeve=0.0, glove=0.0))) == []


def test_labels_name_what_is_worn():
    assert dressed(0, sleeve=0, glove=0).clothing == ["bracelet", "rings", "varnish", "watch"]
    assert dressed(0, **dict.fromkeys(set(CLOTHING) - {"rings"}, 0.0)).clothing == ["rings"]
    assert Worn().clothing == []
    assert list(CLOTHING) == sorted(CLOTHING)
    assert (
        set(CLOTHING)
        == {field.name for field in dataclasses.fields(Worn)}
        == {field.name for field in dataclasses.fields(WearSpec)}
    )


def extreme(choice: Any, pick: Callable[[str], int]) -> Any:
    """The same kind of thing at the ends of what a stored recipe may hold: `pick` says which end of each value."""
    changes: dict[str, Any] = {}
    for key, value in vars(choice).items():
        if isinstance(value, tuple):
            changes[key] = (0, 255, 0) if pick(key) else (255, 0, 255)
        elif isinstance(value, str):
            changes[key] = WORDS[type(choice), key][-pick(key)]
        else:
            changes[key] = LIMITS[type(choice), key][pick(key)]
    return dataclasses.replace(choice, **changes)


def test_whatever_a_stored_recipe_holds_can_be_made(arms):
    """At the ends of all limits, together and mixed, surfaces are finite and near the forearm, and textures are made."""
    rng, hand = np.random.default_rng(12), arms.hand
    flat = pose_hand(hand, np.zeros((COUNT, hand.num_joints, 3)), np.zeros((COUNT, hand.num_shapes)))
    ends: list[Callable[[str], int]] = [lambda key: 0, lambda key: 1] + [lambda key: int(rng.integers(2))] * (COUNT - 2)
    made = {kind: [extreme(SAMPLERS[kind](rng), pick) for pick in ends] for kind in SAMPLERS}
    sleeves, watches, bracelets, rings = Sleeves(arms.arm), Watches(arms.arm), Bracelets(arms.arm), FingerRings(hand)
    for maker, kind, points in (
        (sleeves, "sleeve", sleeves.vertices(made["sleeve"], arms.shapes, arms.posed)),
        (watches, "watch", watches.vertices(made["watch"], arms.posed)),
        (bracelets, "bracelet", bracelets.vertices(made["bracelet"], arms.posed)),
        (rings, "ring", rings.vertices(made["ring"], flat.vertices, flat.joints)),
    ):
        assert np.isfinite(points).all(), kind
        assert np.abs(points).max() < 1, kind
        assert all(maker.albedo(choice).dtype == np.uint8 for choice in made[kind]), kind
    worn = [Worn(*things[:3], (things[3],), *things[4:]) for things in zip(*made.values(), strict=True)]
    assert all(list(out_of_range(things)) == [] for things in worn)


# Surfaces


def layouts(arms: Arms):
    return {
        "sleeve": Sleeves(arms.arm).layout,
        "watch": Watches(arms.arm).layout,
        "bracelet": Bracelets(arms.arm).layout,
        "ring": FingerRings(arms.hand).layout,
    }


def test_layouts_are_sound(arms):
    """Texture coordinates lie in the texture and belong to one vertex each; every vertex is used."""
    for kind, layout in layouts(arms).items():
        assert layout.uv.min() >= 0, kind
        assert layout.uv.max() <= 1, kind
        assert layout_fits(layout.faces, layout.uv_faces), kind
        assert np.array_equal(np.unique(layout.faces), np.arange(layout.faces.max() + 1)), kind
        assert layout.faces.dtype == layout.uv_faces.dtype == np.int32


def sleeves(arms: Arms):
    rng = np.random.default_rng(8)
    choices = [sample_sleeve(rng, arms.arm.length_m) for _ in range(COUNT)]
    made = Sleeves(arms.arm)
    return made, choices, made.vertices(choices, arms.shapes, arms.posed)


def test_cloth_never_enters_the_arm(arms):
    """At least 1 mm is clear over the whole cloth, for every garment, at the limits of the wrist too; it is never 45 mm away."""
    made, _, vertices = sleeves(arms)
    faces = made.layout.faces
    visible = faces[(faces >= sleeve.AROUND).all(1)]  # all but the seal, which hides in the arm
    grid = np.array([[1, 1, 1], [2, 1, 0], [0, 2, 1], [1, 0, 2]]) / 3
    for k in range(COUNT):
        points = np.concatenate([vertices[k, sleeve.AROUND :], on_faces(vertices[k], visible, grid).reshape(-1, 3)])
        heights = height_over(points, arms.posed.vertices[k], arms.arm.faces)
        assert heights.min() > 0.001, k
        assert heights.max() < 0.045, k


def test_a_sleeve_is_open_only_where_no_one_sees_it(arms):
    """Its one rim, the seal, lies inside the arm; everything else is closed and looks outward."""
    made, _, vertices = sleeves(arms)
    faces = made.layout.faces
    assert boundary(faces) == set(range(sleeve.AROUND))
    for k in range(COUNT):
        assert height_over(vertices[k, : sleeve.AROUND], arms.posed.vertices[k], arms.arm.faces).max() < 0
        assert volume(vertices[k], faces) > 0


def test_cloth_has_two_sides(arms):
    """At the places of the inner wall's rings the outer wall is outside it, by the cloth's thickness or more."""
    _, choices, vertices = sleeves(arms)
    around, walls = sleeve.AROUND, len(sleeve.WALL)
    inner = vertices[:, around : (1 + walls) * around].reshape(COUNT, walls, around, 3)
    outer = vertices[:, (2 + walls) * around :][:, : sleeve.OUTER * around].reshape(COUNT, sleeve.OUTER, around, 3)[:, sleeve.WALL]
    thickness = np.linalg.norm(outer - inner, axis=-1)
    for k, choice in enumerate(choices):
        assert thickness[k].min() >= 0.25 * choice.thickness_m
        assert thickness[k, -1].min() >= 0.9 * choice.thickness_m


def test_a_sleeve_covers_the_arm_from_its_cuff_to_the_end(arms):
    """Beyond the cuff no vertex of the arm is outside the sleeve; before it, the arm is bare."""
    made, choices, vertices = sleeves(arms)
    count, around = len(arms.arm.rim), len(arms.arm.angle)
    outer = made.layout.faces[(made.layout.faces >= (2 + len(sleeve.WALL)) * sleeve.AROUND).all(1)]
    for k in range(0, COUNT, 4):
        covered = np.flatnonzero(arms.posed.places > choices[k].cuff_m + 0.012)
        rows = np.concatenate([count + r * around + np.arange(around) for r in covered])
        assert height_over(arms.posed.vertices[k, rows], vertices[k], outer).max() < 0, k


def test_deeper_folds_stand_out_more(arms):
    """The height of folds changes the cloth, upwards and nowhere down."""
    made, choices, vertices = sleeves(arms)
    flat = made.vertices([dataclasses.replace(c, fold_m=0.0) for c in choices], arms.shapes, arms.posed)
    moved = np.linalg.norm(vertices - flat, axis=-1)
    assert np.median(moved.max(1)) > 0.002
    assert moved.max() < 0.035


def test_straps_lie_on_the_wrist(arms):
    """No strap enters the arm; none leaves it by more than lugs do. The case's face looks away from the arm."""
    rng = np.random.default_rng(9)
    choices = [sample_watch(rng) for _ in range(COUNT)]
    made = Watches(arms.arm)
    vertices = made.vertices(choices, arms.posed)
    strap = 6 * wrist.STRAP_AROUND
    for k, choice in enumerate(choices):
        heights = height_over(vertices[k, :strap], arms.posed.vertices[k], arms.arm.faces)
        assert heights.min() > 0, k
        assert heights.max() < 0.0085, k
        face = height_over(vertices[k, strap + 4 * wrist.CASE_AROUND : -8], arms.posed.vertices[k], arms.arm.faces)
        assert face.min() > (0 if k < 32 else 0.4 * choice.height_m), k
        faces = made.layout.faces[(made.layout.faces < strap).all(1)]
        assert volume(vertices[k], faces) > 0
        back = arms.posed.frame[k, 3, :, 1]
        dial = vertices[k, -9] - arms.posed.centre[k, 3]
        assert np.sign(dial @ back) == (1 if choice.side == "back" else -1)
    crown = made.num_vertices - 8
    foot = range(strap, strap + wrist.CASE_AROUND)
    assert boundary(made.layout.faces) == {*foot, *range(crown, crown + 4)}  # the case's foot in the wrist, the crown's in the case


def test_a_case_stands_in_the_wrist(arms):
    """Its open foot is nowhere above the skin by more than a strap is thick: no light shows below it."""
    rng = np.random.default_rng(10)
    choices = [dataclasses.replace(sample_watch(rng), side="back") for _ in range(COUNT)]
    vertices = Watches(arms.arm).vertices(choices, arms.posed)
    foot = slice(6 * wrist.STRAP_AROUND, 6 * wrist.STRAP_AROUND + wrist.CASE_AROUND)
    for k in range(32, COUNT):  # wrists bent by less than half
        heights = height_over(vertices[k, foot], arms.posed.vertices[k], arms.arm.faces)
        assert heights.max() < 0.004, k


def test_bracelets_go_around_the_wrist(arms):
    """They press into the skin by less than half a millimetre, and touch it or come near somewhere."""
    rng = np.random.default_rng(11)
    choices = [sample_bracelet(rng) for _ in range(COUNT)]
    made = Bracelets(arms.arm)
    vertices = made.vertices(choices, arms.posed)
    assert not boundary(made.layout.faces)
    for k, choice in enumerate(choices):
        heights = height_over(vertices[k], arms.posed.vertices[k], arms.arm.faces)
        assert heights.min() > -0.0005, k
        assert heights.min() < 0.004, k
        assert heights.max() < choice.thickness_m + 2 * choice.slack_m + 0.009, k
        assert volume(vertices[k], made.layout.faces) > 0


@lru_cache(maxsize=2)
def posed_hands(name: str) -> tuple[HandModel, PosedHand]:
    hand = HANDS[name]()
    fingers = toy_poses()
    theta = np.concatenate([np.random.default_rng(2).normal(size=(len(fingers), 1, 3)), fingers], 1)
    return hand, pose_hand(hand, theta, np.random.default_rng(3).normal(size=(len(fingers), 10)).clip(-2, 2))


@pytest.mark.parametrize("name", HANDS)
@pytest.mark.parametrize("finger", FINGERS)
def test_rings_fit_their_fingers(name, finger):
    """In every pose flesh stays inside the band but for a fraction of a millimetre, and the band is near it everywhere."""
    hand, posed = posed_hands(name)
    made = FingerRings(hand)
    rng = np.random.default_rng(6)
    for pose in range(len(posed.vertices)):
        choice = dataclasses.replace(sample_rings(rng)[0], finger=finger)
        vertices = made.vertices([choice], posed.vertices[[pose]], posed.joints[[pose]])[0]
        band = vertices[: RING_AROUND * PROFILE]
        start, end = posed.joints[pose][list(PHALANX[finger])]
        axis = (end - start) / np.linalg.norm(end - start)
        middle = band.mean(0)
        assert 0.3 < (middle - start) @ axis / np.linalg.norm(end - start) < 0.95
        # The finger's own skin in the ring's plane, against the band's inside.
        own = hand.faces[np.isin(hand.weights[hand.faces].sum(1).argmax(1), PHALANX[finger])]
        skin = on_faces(posed.vertices[pose], own, FINE).reshape(-1, 3) - middle
        skin = skin[np.abs(skin @ axis) < 0.001]
        skin -= (skin @ axis)[:, None] * axis
        away = band - middle
        away -= (away @ axis)[:, None] * axis
        inner = np.linalg.norm(away.reshape(RING_AROUND, PROFILE, 3), axis=-1).min(1)
        direction = away.reshape(RING_AROUND, PROFILE, 3)[:, 0]
        direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
        radius = np.linalg.norm(skin, axis=1)
        nearest = (skin / radius[:, None] @ direction.T).argmax(1)
        gap = inner[nearest] - radius
        assert np.percentile(gap, 2) > -0.0015, (pose, choice)
        assert np.median(gap) < 0.0025, (pose, choice)


def test_a_ring_is_a_closed_band(arms):
    layout = FingerRings(arms.hand).layout
    band = layout.faces[(layout.faces < RING_AROUND * PROFILE).all(1)]
    assert not boundary(band)
    hand, posed = posed_hands(arms.hand.name)
    choice = sample_rings(np.random.default_rng(0))[0]
    vertices = FingerRings(hand).vertices([choice], posed.vertices[:1], posed.joints[:1])[0]
    assert volume(vertices, band) > 0


def test_a_ring_without_a_stone_shows_none(arms):
    """All of the stone's vertices are one point inside the band."""
    hand, posed = posed_hands(arms.hand.name)
    choice = dataclasses.replace(sample_rings(np.random.default_rng(0))[0], stone_m=0.0)
    vertices = FingerRings(hand).vertices([choice], posed.vertices[:1], posed.joints[:1])[0]
    assert np.ptp(vertices[RING_AROUND * PROFILE :], axis=0).max() < 1e-12


def test_a_batch_is_its_samples(arms):
    """Pieces depend on their own sample alone, to far less than labels' grid."""
    rng = np.random.default_rng(12)
    watches, bracelets = [sample_watch(rng) for _ in range(COUNT)], [sample_bracelet(rng) for _ in range(COUNT)]
    made, choices, together = sleeves(arms)
    watch, bracelet = Watches(arms.arm), Bracelets(arms.arm)
    both = watch.vertices(watches, arms.posed), bracelet.vertices(bracelets, arms.posed)
    for k in (0, 17, COUNT - 1):
        one = PosedArms(
            arms.posed.vertices[[k]],
            arms.posed.places,
            *(a[[k]] for a in (arms.posed.centre, arms.posed.frame, arms.posed.outline)),
        )
        np.testing.assert_allclose(made.vertices([choices[k]], [arms.shapes[k]], one)[0], together[k], atol=1e-12)
        np.testing.assert_allclose(watch.vertices([watches[k]], one)[0], both[0][k], atol=1e-12)
        np.testing.assert_allclose(bracelet.vertices([bracelets[k]], one)[0], both[1][k], atol=1e-12)


# Textures


def painters(arms: Arms):
    return {
        "sleeve": Sleeves(arms.arm),
        "watch": Watches(arms.arm),
        "bracelet": Bracelets(arms.arm),
        "ring": FingerRings(arms.hand),
    }


def test_textures_are_small_and_say_how_they_shine(arms):
    """Every texel has a finish that shaders know; gold and steel, glass, leather and cloth have their own."""
    seen = set()
    for kind, made in painters(arms).items():
        for seed in range(40):
            choice = SAMPLERS[kind](np.random.default_rng(seed))
            image = made.albedo(choice)
            assert image.dtype == np.uint8
            assert max(image.shape[:2]) <= 128
            assert image.shape[2] == 4
            assert set(np.unique(image[..., 3]).tolist()) <= FINISHES
            assert np.array_equal(made.albedo(choice), image)
            seen |= {(kind, int(finish)) for finish in np.unique(image[..., 3])}
    assert {finish for kind, finish in seen if kind == "sleeve"} == {CLOTH}
    assert {("ring", METAL), ("ring", LACQUER), ("watch", LEATHER), ("watch", LACQUER), ("bracelet", PLASTIC)} <= seen


@pytest.mark.parametrize("pattern", WORDS[SleeveChoice, "pattern"])
def test_of_a_sleeve_is_painted_what_its_rings_show(arms, pattern):
    """Whatever the pattern, its texels and the inside's are those of the whole; beyond, there is less to paint."""
    made, rows = Sleeves(arms.arm), round(sleeve.WALL_ROWS * cloth.SIZE)
    for seed in range(12):
        choice = dataclasses.replace(SAMPLERS["sleeve"](np.random.default_rng(seed)), pattern=pattern)
        whole = made.albedo(choice)
        for rings in sleeve.DRAWN_RINGS:
            part = made.albedo(choice, rings)
            last = made.layout.uv[made.layout.uv_faces[(made.layout.faces < sleeve.end_of_ring(rings)).all(1)], 1]
            seen = int((1 - last[last < 0.9].max()) * cloth.SIZE - 0.5)
            np.testing.assert_array_equal(part[max(seen, rows) :], whole[max(seen, rows) :])
            np.testing.assert_array_equal(part[:rows], whole[:rows])
        assert not made.albedo(choice, sleeve.DRAWN_RINGS[0])[cloth.SIZE // 4].any()


@pytest.mark.parametrize("pattern", ["plain", "melange", "stripes", "bands", "checks", "denim", "knit"])
def test_cloth_has_its_colour(pattern):
    """Its mean lies between its two colours, near the first for plain cloth; stripes and checks show both."""
    choice = dataclasses.replace(
        sample_sleeve(np.random.default_rng(0), LENGTH), pattern=pattern, colour=(160, 60, 40), second=(40, 60, 160), hem="stitched"
    )
    image = cloth.sleeve_albedo(choice, LENGTH, 1 / 16)[20:, :, :3].reshape(-1, 3).astype(float)
    red, green, blue = image.mean(0)
    assert 50 <= green <= 66
    if pattern in ("plain", "knit"):
        assert red == pytest.approx(157, abs=9)
        assert blue == pytest.approx(39, abs=5)
    else:
        assert 60 < red < 155
        assert 45 < blue < 140
    if pattern in ("bands", "checks"):
        assert (image[:, 0] > 125).mean() > 0.2
        assert (image[:, 2] > 100).mean() > 0.2


def test_cloth_is_darker_in_its_valleys():
    """The shade that is painted follows the folds that are modelled."""
    assert np.corrcoef(folds.heights().ravel(), folds.shades().ravel())[0, 1] < -0.5
    plain = dataclasses.replace(
        sample_sleeve(np.random.default_rng(0), LENGTH), pattern="plain", colour=(128, 128, 128), fold_m=0.0
    )
    flat, deep = (
        cloth.sleeve_albedo(dataclasses.replace(plain, fold_m=f), LENGTH, 1 / 16)[..., 0].astype(int) for f in (0.0, 0.008)
    )
    assert (deep - flat).min() < -50
    assert 0 < (deep - flat).max() < 50


def test_textures_are_the_same_on_every_machine():
    """Golden: made of whole numbers and rounded fields, they do not depend on the processor. A change of looks changes this."""
    digest = hashlib.sha256(folds.heights().tobytes() + folds.shades().tobytes())
    for seed in range(12):
        digest.update(cloth.sleeve_albedo(SAMPLERS["sleeve"](np.random.default_rng(seed)), LENGTH, 1 / 16).tobytes())
        digest.update(Watches.albedo(SAMPLERS["watch"](np.random.default_rng(seed))).tobytes())
        digest.update(Bracelets.albedo(SAMPLERS["bracelet"](np.random.default_rng(seed))).tobytes())
    assert digest.hexdigest()[:16] == "da99f1d7b9a8d169"


# Nails


def skin_albedo(rows: int, columns: int | None = None) -> np.ndarray:
    """One grey, with the finish of skin."""
    albedo = np.full((rows, columns or rows, 4), 150, np.uint8)
    albedo[..., 3] = SKIN
    return albedo


@lru_cache(maxsize=1)
def varnish() -> tuple[Varnish, SkinModel]:
    """Of the embedded hand, with a skin of every texel that its layout covers at the painter's own size."""
    hand = HANDS["embedded"]()
    size = 256
    texels = rasterise_surface(hand, size).texels
    flat = np.full((len(texels), 3), 150, np.float32)
    skin = SkinModel("flat", "none", size, flat, flat[None] * 0, texels, hand.uv.astype(np.float32), hand.uv_faces)
    return Varnish(hand, skin), skin


def test_varnish_is_on_nails_alone():
    """On the last bone of every finger, on its back: at most three hundredths of the skin, and the rest keeps its bytes."""
    painter, skin = varnish()
    albedo = skin_albedo(skin.size)
    choice = dataclasses.replace(
        sample_varnish(np.random.default_rng(0)), style="plain", colour=(200, 20, 40), opacity=1.0, worn=0.0
    )
    painter.paint(albedo, choice)
    changed = (albedo[..., :3] != 150).any(-1).reshape(-1)
    assert 0.003 < changed[skin.texels].mean() < 0.03
    shining = (albedo[..., 3] != SKIN).reshape(-1)
    assert not (shining & ~changed).any()
    assert (albedo[..., 3].reshape(-1)[changed] < CLOTH).mean() > 0.5
    hand = HANDS["embedded"]()
    surface = rasterise_surface(hand, skin.size)
    joints = surface.weights[changed[surface.texels]].argmax(1)
    assert set(joints.tolist()) == {3, 6, 9, 12, 15}
    full = (np.abs(albedo[..., :3].astype(int) - (200, 20, 40)) < 20).all(-1).reshape(-1)
    assert full[skin.texels].sum() > 0.5 * changed[skin.texels].sum()


def test_worn_and_french_varnish_leave_the_ends():
    painter, skin = varnish()
    whole = dataclasses.replace(
        sample_varnish(np.random.default_rng(0)), style="plain", colour=(200, 20, 40), opacity=1.0, worn=0.0
    )
    images = {}
    for name, choice in {
        "whole": whole, "worn": dataclasses.replace(whole, worn=1.0), "french": dataclasses.replace(whole, style="french"),
    }.items():  # fmt: skip
        images[name] = skin_albedo(skin.size)
        painter.paint(images[name], choice)
    painted = {name: (image[..., 0] > 175).sum() for name, image in images.items()}
    assert 0.2 * painted["whole"] < painted["worn"] < 0.95 * painted["whole"]
    assert (images["french"][..., 1] > 200).sum() > 10
    assert (images["whole"][..., 1] > 200).sum() == 0


def test_a_hand_without_room_for_nails_keeps_its_albedo():
    """The toy hand's texture is coarse: whatever nails it has are painted, and nothing fails."""
    hand = toy_hand()
    texels = rasterise_surface(hand, 64).texels
    flat = np.full((len(texels), 3), 150, np.float32)
    skin = SkinModel("flat", "none", 64, flat, flat[None] * 0, texels, hand.uv.astype(np.float32), hand.uv_faces)
    albedo = skin_albedo(64)
    Varnish(hand, skin).paint(albedo, sample_varnish(np.random.default_rng(1)))
    assert (albedo[..., :3] != 150).any(-1).mean() < 0.05


def test_gloves_cover_palm_and_wrist_and_leave_the_fingers():
    """Up to the chosen share of the first phalanges and the chosen place on the forearm, and nothing beyond."""
    _, skin = varnish()
    hand = HANDS["embedded"]()
    arm = make_arm(hand)
    made = Gloves(hand, skin, arm)
    surface = rasterise_surface(hand, skin.size)
    choice = dataclasses.replace(sample_glove(np.random.default_rng(0)), reach=0.6, cuff_m=0.05, colour=(20, 90, 30))
    albedo, below = skin_albedo(skin.size), skin_albedo(ALONG, ARM_AROUND)
    made.paint(albedo, below, choice)
    changed = (albedo[..., :3] != 150).any(-1).reshape(-1)[surface.texels]
    joint = surface.weights.argmax(1)
    assert changed[joint == 0].all()
    assert not changed[np.isin(joint, [2, 3, 5, 6, 8, 9, 11, 12, 15])].any()
    rows = (below[..., :3] != 150).any(-1)
    covered = round(0.05 / (arm.length_m + POLE_M) * ALONG)
    assert rows[: covered - 1].all()
    assert not rows[covered + 1 :].any()
    again = skin_albedo(skin.size)
    made.paint(again, below.copy(), choice)
    assert np.array_equal(again, albedo)
