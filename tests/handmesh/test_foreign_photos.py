"""Photographs as they come: what can be read gives the same hand whatever its kind, what cannot gets one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
from clips import render_clip
from PIL import Image
from typer.testing import CliRunner

import handmesh
from handmesh.cli.main import make_app
from handsynth.core.errors import HandsynthError


@pytest.fixture(scope="module")
def hands():
    return handmesh.load(angles=False, detector=None, threads=1)


@pytest.fixture(scope="module")
def grey() -> Image.Image:
    """A hand in shades of grey, which every kind of file can hold, in colour."""
    return Image.fromarray(render_clip(1).images[0]).convert("L").convert("RGB")


def write(path: Path, image: Image.Image, kind: str) -> None:
    """The image as a file of that kind."""
    plain = image.convert("L")
    if kind == "EXIF-turned":
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned clockwise
        image.rotate(90, expand=True).save(path, "PNG", exif=exif)
    elif kind == "16-bit":
        Image.fromarray(np.asarray(plain).astype(np.uint16) * 257).save(path, "PNG")
    elif kind == "grey":
        plain.save(path, "PNG")
    elif kind == "palette":
        plain.convert("P").save(path, "PNG")
    elif kind == "CMYK":
        image.convert("CMYK").save(path, "TIFF")
    elif kind == "alpha":
        image.putalpha(255)
        image.save(path, "PNG")
    elif kind == "animated":
        image.save(path, "WEBP", save_all=True, append_images=[Image.new("RGB", image.size)], lossless=True)


@pytest.mark.parametrize("kind", ["EXIF-turned", "16-bit", "grey", "palette", "CMYK", "alpha", "animated"])
def test_every_kind_of_file_gives_the_same_hand(hands, grey, kind, tmp_path):
    """Turned by EXIF, of 16 bits, grey, with a palette, for printing, with alpha, animated (its first image)."""
    write(tmp_path / "photo", grey.copy(), kind)
    (expected,) = hands(np.asarray(grey))
    (found,) = hands(tmp_path / "photo")
    np.testing.assert_allclose(found.keypoints_xy, expected.keypoints_xy, atol=0.5)


def spoilt(path: Path, kind: str, grey: Image.Image) -> None:
    if kind == "not an image":
        path.write_text("no image")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "1 x 1":
        Image.new("RGB", (1, 1)).save(path)
    elif kind == "cut":
        grey.save(path)
        path.write_bytes(path.read_bytes()[:-2000])
    elif kind == "100 megapixels":
        path.write_bytes(b"P6 12000 9000 255\n" + bytes(1000))  # looked up in the header, before anything is decoded


BAD = {
    "not an image": "its format is unknown",
    "empty": "its format is unknown",
    "1 x 1": "1 x 1, needs 32 px",
    "cut": "damaged",
    "100 megapixels": "12000 x 9000, more than 100 million pixels",
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_photograph_gets_one_sentence(kind, grey, tmp_path):
    """Its name and the reason, exit code 1."""
    spoilt(tmp_path / "bad.png", kind, grey)
    words = ["predict", str(tmp_path / "bad.png"), "--out", str(tmp_path / "out"), "--threads", "1"]
    done = CliRunner().invoke(make_app(), words)
    assert isinstance(done.exception, HandsynthError)
    assert done.exception.exit_code == 1
    assert str(done.exception).startswith(f"{tmp_path / 'bad.png'} cannot be read as an image: {BAD[kind]}")
    assert "\n" not in str(done.exception)


def test_a_bad_photograph_stops_no_other(grey, tmp_path):
    """A folder and a pattern: what is good is done, and the end says how many were not."""
    grey.save(tmp_path / "good.png")
    spoilt(tmp_path / "bad.png", "not an image", grey)
    words = ["predict", str(tmp_path / "*.png"), "--out", str(tmp_path / "out"), "--threads", "1", "--no-kinematics"]
    done = CliRunner().invoke(make_app(), words)
    assert "1 of 2 images and videos could not be done" in str(done.exception)
    (line,) = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    assert json.loads(line)["source"] == str(tmp_path / "good.png")
    done = CliRunner().invoke(make_app(), ["predict", str(tmp_path / "*.gif")])
    assert "*.gif matches no file" in str(done.exception)


def test_one_gltf_holds_the_hands_of_an_image(hands, grey, tmp_path):
    """Nodes named by side, positions in the camera's frame; a turn into glTF's frame is the node's alone."""
    import trimesh

    from handmesh.mesh_files import write_glb

    found = hands(np.asarray(grey)) + hands(np.asarray(grey), sides="left")
    write_glb(tmp_path / "hands.glb", [hand.vertices for hand in found], [hand.side for hand in found], hands.hand)
    scene = trimesh.load(tmp_path / "hands.glb", process=False)
    assert sorted(scene.graph.nodes_geometry) == ["left hand 2", "right hand 1"]
    for hand, name in zip(found, ("right hand 1", "left hand 2"), strict=True):
        transform, geometry = scene.graph[name]
        np.testing.assert_allclose(transform, np.diag([1, -1, -1, 1]), atol=1e-6)
        np.testing.assert_allclose(scene.geometry[geometry].vertices, hand.vertices, atol=1e-5)
    assert scene.bounds[1][2] < 0  # before a camera that looks along -z


def test_no_hand_is_an_empty_result(grey, tmp_path):
    """What a detector does not see is no error: no mesh, a drawing of the image, and the summary says so."""
    from handmesh.estimation.predict import Request, predict, summary

    grey.save(tmp_path / "empty.png")
    hands = handmesh.load(detector=lambda image: [], threads=1)
    done = predict(hands, [tmp_path / "empty.png"], tmp_path / "out", Request())
    done.raise_failures()
    assert done.results[0]["hands"] == []
    assert "no hand found" in summary(done.results[0], tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "empty.json", "empty.overlay.png", "predictions.jsonl", "angles.csv",
    }  # fmt: skip
