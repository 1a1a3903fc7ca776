"""The user's own meshes: read from four formats, refused in one sentence where they cannot serve, held, seen, with licences."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import trimesh
from tiny import handsynth, make_world

from handsynth.assets.library import open_library
from handsynth.assets.objects.own import MAX_TRIANGLES, UNKNOWN, MeshError, open_objects, read_solid
from handsynth.assets.objects.table import table_identity
from handsynth.core.errors import AssetError, UsageError
from handsynth.core.index import read_index
from handsynth.core.poses import toy_bank
from handsynth.core.sample import decode_labels
from handsynth.core.shard import read_shard, shard_name
from handsynth.core.toy import toy_hand
from handsynth.dataset.generate import RunConfig, generate
from handsynth.dataset.replay import Here
from handsynth.dataset.selection import Selection
from handsynth.dataset.verify import verify
from handsynth.recipe.spec import HeldSpec, OccluderSpec, SecondHandSpec, load_spec
from handsynth.scene.held.things import welded

BOX = trimesh.creation.box((0.05, 0.08, 0.03))
CAPSULE = trimesh.creation.capsule(height=0.1, radius=0.02, count=[12, 12])


def write(folder: Path, **meshes: trimesh.Trimesh) -> Path:
    folder.mkdir(exist_ok=True)
    for name, mesh in meshes.items():
        mesh.export(folder / name.replace("_", "."))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = write(tmp_path_factory.mktemp("objects") / "mine", brick_obj=BOX, roll_ply=CAPSULE, roll_stl=CAPSULE, brick_glb=BOX)
    (root / "licences.yaml").write_text("brick.obj: CC0 1.0\nroll.ply: CC-BY 4.0, by A. Person\n")
    return root


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("own") / "world")


def test_every_format_gives_the_same_closed_surface(folder):
    found = open_objects(folder)
    assert [shape.name for shape in found.shapes] == ["own/brick.glb", "own/brick.obj", "own/roll.ply", "own/roll.stl"]
    for shape, mesh in zip(found.shapes, (BOX, BOX, CAPSULE, CAPSULE), strict=True):
        solid = shape.solid
        faces = welded(solid)
        assert len(faces) == len(mesh.faces)
        made = trimesh.Trimesh(solid.vertices, faces, process=False)
        assert made.is_watertight
        np.testing.assert_allclose(made.volume, mesh.volume, rtol=1e-5)
        np.testing.assert_allclose(np.ptp(solid.vertices, axis=0), mesh.extents, atol=1e-7)
        np.testing.assert_allclose(solid.vertices.min(0) + solid.vertices.max(0), 0, atol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(solid.normals, axis=1), 1, atol=1e-9)
        assert solid.uv.min() >= 0
        assert solid.uv.max() <= 1
        corners = solid.vertices[solid.faces]
        outwards = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert ((solid.normals[solid.faces] * outwards[:, None]).sum(-1) > 0).all()


def test_edges_are_sharp_and_round_surfaces_smooth(folder):
    shapes = {shape.name: shape.solid for shape in open_objects(folder).shapes}
    assert set(np.abs(shapes["own/brick.obj"].normals).round(6).ravel().tolist()) == {0.0, 1.0}
    ball = read_one(trimesh.creation.icosphere(subdivisions=3, radius=0.03), folder.parent)
    unit = ball.vertices / np.linalg.norm(ball.vertices, axis=1, keepdims=True)
    assert (ball.normals * unit).sum(1).min() > 0.99


def read_one(mesh: trimesh.Trimesh, folder: Path, name: str = "one.ply"):
    mesh.export(folder / name)
    return read_solid(folder / name)


def test_licences_are_recorded(folder):
    found = open_objects(folder)
    assert dict(found.licences) == {
        "brick.obj": "CC0 1.0", "roll.ply": "CC-BY 4.0, by A. Person", "brick.glb": UNKNOWN, "roll.stl": UNKNOWN,
    }  # fmt: skip
    (note,) = found.notes
    assert "the licence of brick.glb, roll.stl" in note
    (folder / "LICENSE").write_text("\nODbL 1.0\nand more\n")
    try:
        assert dict(open_objects(folder).licences)["roll.stl"] == "ODbL 1.0"
        assert open_objects(folder).digest != found.digest
    finally:
        (folder / "LICENSE").unlink()


def opened(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    mesh = mesh.copy()
    mesh.update_faces(np.arange(len(mesh.faces) - 2))
    return mesh


def one_turned(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    faces = mesh.faces.copy()
    faces[0] = faces[0, ::-1]
    return trimesh.Trimesh(mesh.vertices, faces, process=False)


def scaled(mesh: trimesh.Trimesh, factor: float) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices * factor, mesh.faces, process=False)


BAD = {
    "millimetres": (scaled(BOX, 1000), r"80 m long, and hands hold 0\.008 to 0\.6 m: it may be in millimetres, give metres"),
    "gigantic": (scaled(BOX, 1e5), r"8000 m long, and hands hold 0\.008 to 0\.6 m$"),
    "tiny": (scaled(BOX, 0.01), r"0\.0008 m long"),
    "open": (opened(BOX), r"is not closed: \d of \d+ edges have not two triangles"),
    "turned": (one_turned(BOX), "its triangles are not wound alike"),
    "too fine": (trimesh.creation.icosphere(subdivisions=6, radius=0.03), f"more than {MAX_TRIANGLES:,}"),
    "flat": (trimesh.Trimesh([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]], [[0, 1, 2], [2, 1, 0]], process=False), "encloses nothing"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mesh_that_cannot_serve_is_one_sentence(tmp_path, name):
    """By itself, and left out of a folder with another."""
    mesh, message = BAD[name]
    with pytest.raises(MeshError, match=message):
        read_one(mesh, tmp_path)
    with pytest.raises(AssetError, match=r"no usable mesh in .* \(skipped 1 of 1 meshes.*give --objects") as raised:
        open_objects(tmp_path)
    assert "\n" not in str(raised.value)
    BOX.export(tmp_path / "good.obj")
    found = open_objects(tmp_path)
    assert [shape.name for shape in found.shapes] == ["own/good.obj"]
    assert "skipped 1 of 2 meshes" in found.notes[0]


def test_a_mesh_that_is_inside_out_is_turned(tmp_path):
    """All of its triangles show their inside: there is one way to read it."""
    solid = read_one(trimesh.Trimesh(BOX.vertices, BOX.faces[:, ::-1], process=False), tmp_path)
    assert trimesh.Trimesh(solid.vertices, welded(solid), process=False).volume > 0


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".stl", ".glb"])
@pytest.mark.parametrize(
    "data", [b"", b"hello\n", b"\0" * 500, b"ply\nformat ascii 1.0\nelement vertex 99999999999999\nend_header\n"]
)
def test_a_file_that_is_no_mesh_is_one_sentence(tmp_path, suffix, data):
    (tmp_path / f"junk{suffix}").write_bytes(data)
    with pytest.raises(MeshError, match=r"holds no triangles|is damaged"):
        read_solid(tmp_path / f"junk{suffix}")


def test_a_folder_without_meshes_is_one_sentence(tmp_path):
    for folder, message in ((tmp_path, "no usable mesh"), (tmp_path / "none", "does not exist")):
        with pytest.raises(AssetError, match=message):
            open_objects(folder)
    done = handsynth("assets", "holdings", "--hand", "toy", "--objects", tmp_path)
    assert done.returncode == 3
    assert "no usable mesh" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1, 2]\n", "a: &x 1\nb: *x\n", "{", "\x00"])
def test_a_damaged_table_of_licences_is_one_sentence(tmp_path, text):
    BOX.export(tmp_path / "good.obj")
    (tmp_path / "licences.yaml").write_text(text)
    with pytest.raises(AssetError, match=r"licences\.yaml .*one line for each mesh, name: licence"):
        open_objects(tmp_path)


def test_files_beside_an_obj_are_not_read(tmp_path):
    """Nor does a file that it names have to be there."""
    BOX.export(tmp_path / "good.obj")
    text = (tmp_path / "good.obj").read_text()
    (tmp_path / "good.obj").write_text(f"mtllib ../../etc/passwd\nusemtl x\n{text}")
    assert len(open_objects(tmp_path).shapes) == 1


def test_holdings_are_of_these_meshes(folder, tmp_path):
    """The table's identity follows their content; its search is kept, and asked for where there is none."""
    hand, bank = toy_hand(), toy_bank()
    own = table_identity(hand, bank, open_objects(folder).shapes)
    assert own != table_identity(hand, bank)
    copy = write(tmp_path / "copy", brick_obj=BOX)
    before = table_identity(hand, bank, open_objects(copy).shapes)
    trimesh.creation.box((0.05, 0.08, 0.031)).export(copy / "brick.obj")
    assert table_identity(hand, bank, open_objects(copy).shapes) != before
    with pytest.raises(AssetError, match=rf"handsynth assets holdings --hand toy --objects {copy}"):
        open_library("toy", "embedded", "scenes", tmp_path, holds=True, objects=str(copy))
    done = handsynth("assets", "holdings", "--hand", "toy", "--objects", copy, env=os.environ | {"HANDSYNTH_CACHE": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "licence of brick.obj" in done.stderr
    assert len(list(tmp_path.glob("holdings-*.npz"))) == 1


@pytest.fixture(scope="module")
def dataset(world, folder, tmp_path_factory):
    """Own meshes before the hand."""
    out = tmp_path_factory.mktemp("made") / "out"
    generate(spec_of(world, folder), out, Selection(slice_text="0:8"), RunConfig(), world.assets)
    return out


def spec_of(world, folder):
    return dataclasses.replace(
        load_spec("default"), image_size=96, shard_size=4, hand="embedded", textures="embedded", backgrounds=str(world.images),
        passes=("depth", "parts"), held=HeldSpec(), second=SecondHandSpec(), occluder=OccluderSpec(1.0), objects=str(folder),
    )  # fmt: skip


def test_datasets_name_and_show_them(dataset, world, folder):
    index = read_index(dataset)
    assert "brick.obj: CC0 1.0" in index["licences"]["objects"]
    assert index["assets"]["objects"] == open_objects(folder).digest
    digests = {shape.name: shape.digest for shape in open_objects(folder).shapes}
    labels = [
        decode_labels(members, str(key), index)
        for number in range(2) for key, members in read_shard(dataset / shard_name(number))
    ]  # fmt: skip
    shown = [label["occluder"] for label in labels if label["occluder"]]
    assert len(shown) >= 6
    assert all(thing["mesh"] == digests[thing["shape"]] for thing in shown)
    assert not verify(dataset, world.assets, replays=3).faults


def test_verify_asks_for_them_where_they_are_not(dataset, world, folder, tmp_path):
    """Elsewhere a note says that samples were not posed again; other ones are refused; and a replay names what is missing."""
    moved = folder.rename(folder.parent / "moved")
    try:
        found = verify(dataset, world.assets)
        assert not found.faults
        assert "give --objects" in " ".join(found.notes)
        assert found.silhouettes < found.samples
        assert not verify(dataset, world.assets, 2, Here(objects=str(moved))).faults
        with pytest.raises(UsageError, match="are not the things"):
            verify(dataset, world.assets, 0, Here(objects=str(write(tmp_path / "others", ball_ply=CAPSULE))))
        with pytest.raises(AssetError, match="does not exist"):
            verify(dataset, world.assets, 1)
    finally:
        moved.rename(folder)
