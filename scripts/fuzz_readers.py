"""What fuzz.py fuzzes: good inputs of each reader, how they are mutated, and the reader itself."""

import contextlib
import copy
import io
import json
import os
import random
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from environment_files import indoors, outdoors, panorama, write_exr, write_hdr
from image_files import animation, tiff
from licensed_files import python2_pickle
from photo_labels import mmpose_content, photos_content, predictions_content, set_keypoints, write_sets
from PIL import Image
from test_coco import content as coco_content
from tiny import World, make_world

NASTY: tuple[Any, ...] = (
    None, True, "", "x", "../../etc/passwd", "/etc/passwd", "a\0b", "\ud800", "𝟙", "NaN", "x" * 100_000, "[" * 5000, 0, -1, 1, 7,
    2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, -1e308, 1e-320, float("nan"), float("inf"), [], {}, [[]], [0] * 1000,
    {"a": 1},
)  # fmt: skip
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True)
class Reader:
    """One reader of foreign bytes."""

    name: str
    mutate: Callable[[random.Random], bytes]
    read: Callable[[bytes, Path], str | None]  # raises HandsynthError, or returns a message
    prepare: Callable[[Path], None] = field(default=lambda folder: None)  # files that lie beside the input


def mangled(rng: random.Random, data: bytes) -> bytes:
    """Some bytes flipped, set, cut out, doubled, moved or added."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        a, n = rng.randrange(len(out) + 1), rng.choice((1, 2, 4, 16, 300))
        kind = rng.randrange(8)
        if kind <= 1 and a < len(out):
            out[a] ^= 1 << rng.randrange(8)
        elif kind == 2 and a < len(out):
            out[a] = rng.randrange(256)
        elif kind == 3:
            del out[a : a + n]
        elif kind == 4:
            out[a:a] = out[a : a + n]
        elif kind == 5:
            out[a:a] = rng.randbytes(n)
        elif kind == 6:
            out[a : a + 4] = rng.choice(NUMBERS).to_bytes(4, rng.choice(("little", "big")))
        elif rng.random() < 0.2:
            del out[a:]
    return bytes(out)


def changed(rng: random.Random, value: Any) -> Any:
    """A JSON value with something in it replaced by something nasty, taken out, doubled or renamed."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 5))):
        owner, key = None, None
        place = value
        while isinstance(place, dict | list) and place and (owner is None or rng.random() < 0.8):
            owner, key = place, rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
            place = owner[key]
        if owner is None:
            return rng.choice(NASTY)
        kind = rng.randrange(6)
        if kind == 0:
            owner.pop(key)
        elif kind == 1 and isinstance(owner, dict):
            owner[rng.choice((f"{key}x", "", "../x", "__class__"))] = owner.pop(key)
        elif kind == 2 and isinstance(place, int | float) and not isinstance(place, bool):
            owner[key] = rng.choice((-place, place + 1, place * 1000, place / 3, float(place), str(place)))
        elif kind == 3 and isinstance(owner, list):
            owner.insert(key, copy.deepcopy(place))
        else:
            owner[key] = copy.deepcopy(rng.choice(NASTY))
    return value


def any_of(*choices: Callable[[random.Random], bytes]) -> Callable[[random.Random], bytes]:
    """One of several mutations, each as often."""
    return lambda rng: rng.choice(choices)(rng)


def json_bytes(rng: random.Random, value: Any) -> bytes:
    """A changed value as JSON, seldom mangled besides."""
    data = json.dumps(changed(rng, value)).encode("utf-8", "surrogatepass")
    return mangled(rng, data) if rng.random() < 0.2 else data


def _array(rng: random.Random, data: bytes) -> bytes:
    """An .npy, mangled in its header or of another type, shape or content."""
    if rng.random() < 0.5:
        return mangled(rng, data[:128]) + data[128:]
    try:
        array = np.load(io.BytesIO(data))
    except Exception:  # mangled before, and numpy raises almost anything
        return mangled(rng, data)
    choices: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda a: a[..., :-1] if a.ndim else a, lambda a: a.T, lambda a: a.astype("f2"), lambda a: a.astype("M8[s]"),
        lambda a: a.astype("U8"), lambda a: a[None], lambda a: a.ravel(), lambda a: np.zeros((0, *a.shape[1:])),
        lambda a: np.full(a.shape, rng.choice((np.nan, np.inf, -1, 1e300, 2**31 - 1))), lambda a: a * -1000.0,
        lambda a: np.array(rng.choice(("", "x" * 1000, "\0")),), lambda a: np.arange(a.size).reshape(a.shape),
    ]  # fmt: skip
    buffer = io.BytesIO()
    try:
        with np.errstate(all="ignore"):
            np.save(buffer, rng.choice(choices)(array), allow_pickle=False)
    except (TypeError, ValueError):  # text has no negative
        return mangled(rng, data)
    return buffer.getvalue()


def _zip(rng: random.Random, data: bytes) -> bytes:
    """An .npz in which one array is another; checksums agree, so that the damage gets past them."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        victim = rng.choice(old.namelist())
        for name in old.namelist():
            content = old.read(name)
            if name == victim and rng.random() < 0.2:
                name = rng.choice(("../../x.npy", "/etc/x.npy", f"{name}x", "x"))
            new.writestr(name, _array(rng, content) if name == victim else content)
    return out.getvalue()


def _tar(rng: random.Random, data: bytes) -> bytes:
    """A shard in which a member's header or content is another; checksums agree."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as new:
        entries = [(entry, old.extractfile(entry).read()) for entry in old]  # type: ignore[union-attr]
        for _ in range(rng.choice((1, 1, 3))):
            k = rng.randrange(len(entries))
            entry, content = copy.copy(entries[k][0]), entries[k][1]
            kind = rng.randrange(8)
            if kind == 0:
                entry.name = rng.choice(
                    ("../../x", "/etc/x", "000000000.jpg", "x.jpg", f"{entry.name}.jpg", "000000000.", "0" * 90)
                )
            elif kind == 1:
                entry.type, entry.linkname = rng.choice(b"0123456789xgLKS").to_bytes(1, "big"), "/etc/passwd"
            elif kind == 2:
                content = _png(rng, content) if entry.name.endswith("png") else b""
            elif kind == 3 and entry.name.endswith(".npy"):
                content = _array(rng, content)
            elif kind <= 5 and entry.name.endswith(".json"):
                content = _json_again(rng, content)
            else:
                content = mangled(rng, content)
            entry.size = len(content)
            entries[k] = (entry, content)
        if rng.random() < 0.1:
            rng.shuffle(entries)
        for entry, content in entries:
            new.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def _json_again(rng: random.Random, data: bytes) -> bytes:
    """JSON changed in its values, or in its bytes where an earlier change has made it something else."""
    try:
        return json_bytes(rng, json.loads(data))
    except (ValueError, RecursionError):
        return mangled(rng, data)


def _png(rng: random.Random, data: bytes) -> bytes:
    """A PNG with one chunk mangled and its checksum right."""
    chunks, position = [], 8
    while position + 12 <= len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        chunks.append((data[position + 4 : position + 8], data[position + 8 : position + 8 + size]))
        position += 12 + size
    k = rng.randrange(len(chunks))
    chunks[k] = (chunks[k][0], mangled(rng, chunks[k][1]))
    return data[:8] + b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in chunks
    )


WORLD = Path(__file__).parents[1] / "build" / "fuzz-world"


@lru_cache(maxsize=1)
def _world() -> tuple[World, Path]:
    """The tiny world and a dataset of two samples in it, made anew."""
    shutil.rmtree(WORLD, ignore_errors=True)
    world = make_world(WORLD / "world")
    with contextlib.redirect_stderr(io.StringIO()):
        world.generate(WORLD / "out", "0:2", passes="depth, parts, normal, uv")
    return world, WORLD / "out"


def _beside(folder: Path) -> None:
    """Copies world and dataset into the folder that a reader may not leave."""
    world, out = _world()
    if not (folder / "out").exists():
        shutil.copytree(world.folder, folder / "world")
        shutil.copytree(out, folder / "out")


def read_shard(data: bytes, folder: Path) -> None:
    """The shard's samples and all that is in them; then the dataset that holds it, whose index says that its bytes are right."""
    import hashlib

    from handsynth.core.errors import HandsynthError
    from handsynth.core.index import index_bytes, read_index
    from handsynth.dataset.statistics import collect_stats
    from handsynth.dataset.verify import verify

    out = folder / "out"
    shutil.rmtree(out / ".handsynth", ignore_errors=True)
    (out / "shard-000000.tar").write_bytes(data)
    index = read_index(out)
    index["shards"][0] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (out / "index.json").write_bytes(index_bytes(index))
    faults = verify(out, folder / "assets").faults
    assert all("\n" not in fault for fault in faults)
    collect_stats(out)
    if faults:
        raise HandsynthError(faults[0])


def read_index(data: bytes, folder: Path) -> None:
    """Everything that reads an index without making samples again."""
    from handsynth.core.errors import HandsynthError
    from handsynth.dataset.replay import find_sample
    from handsynth.dataset.statistics import collect_stats
    from handsynth.dataset.verify import verify

    out = folder / "out"
    (out / "index.json").write_bytes(data)
    faults = verify(out, folder / "assets").faults
    assert all("\n" not in fault for fault in faults)
    find_sample(out, 1)
    collect_stats(out)
    if faults:
        raise HandsynthError(faults[0])


def read_sidecars(data: bytes, folder: Path) -> None:
    """Plan and sidecar of a dataset: `data` stands for both."""
    from handsynth.core.errors import HandsynthError
    from handsynth.dataset import generate as generate_module
    from handsynth.dataset.folder import LocalFolder
    from handsynth.dataset.sidecars import PLAN, SIDECAR_DIR
    from handsynth.dataset.verify import verify

    out, world = folder / "out", World(folder / "world")
    for name in (PLAN, f"{SIDECAR_DIR}/shard-000000.tar.json"):
        LocalFolder(out).write(name, data)
    assert all("\n" not in fault for fault in verify(out, world.assets).faults)
    generate_module.library_of = lambda *_: _generator()[1].library  # opened once
    world.generate(out, "0:2", passes="depth, parts, normal, uv")
    found = verify(out, world.assets).faults
    (out / SIDECAR_DIR / "shard-000000.tar.json").unlink()
    if found:
        raise HandsynthError(found[0])


def read_pickle(data: bytes, folder: Path) -> None:
    """MANO's file, and a dict of arrays by itself."""
    from handsynth.core.unpickle import read_pickle

    (folder / "file.pkl").write_bytes(data)
    read_pickle(folder / "file.pkl", "MANO", ("a", "b", "c"), 10_000_000)


def read_npz(data: bytes, folder: Path) -> None:
    """A prepared hand or skin, posed or checked as `generate` does first."""
    from handsynth.assets.skins.skin import load_skin
    from handsynth.core.hand import load_hand, pose_hand

    (folder / "file.npz").write_bytes(data)
    if b"v_template" in data:
        hand = load_hand(folder / "file.npz")
        pose_hand(hand, np.zeros((hand.num_joints, 3)), np.zeros(hand.num_shapes))
    else:
        load_skin(folder / "file.npz")


def read_release(data: bytes, folder: Path) -> None:
    """MANO's file inside an archive, or as smplx's .npz."""
    from handsynth.assets.hands.mano import _FILES, _read_npz
    from handsynth.assets.release import is_zip, release_file
    from handsynth.core.unpickle import read_pickle

    tempfile.tempdir = str(folder)  # where a member of an archive is unpacked
    (folder / "given").write_bytes(data)
    before = sorted(folder.iterdir())
    with release_file(folder / "given", _FILES, 10_000_000) as found:
        path = found.path if found else folder / "given"
        if is_zip(path):
            _read_npz(path, ("a", "b", "c"), "a MANO model")
        else:
            read_pickle(path, "MANO", ("a", "b", "c"), 10_000_000)
    assert sorted(folder.iterdir()) == before


def read_image(data: bytes, folder: Path) -> str | None:
    """An image: looked at as when its folder is listed, and decoded for both packages."""
    from handmesh.sources import is_video, read_image
    from handsynth.core.images import check_image, decode_image

    (folder / "image").write_bytes(data)
    message = check_image(folder / "image")
    is_video(folder / "image")
    decode_image(data, 16)
    read_image(folder / "image")
    return message


def read_frames(data: bytes, folder: Path) -> None:
    """A video or an animation, frame by frame."""
    from handmesh.sources import Video, is_video

    (folder / "film.mp4").write_bytes(data)
    is_video(folder / "film.mp4")
    last = -1.0
    for frame in Video(folder / "film.mp4").frames():
        assert frame.image.dtype == np.uint8
        assert frame.time_s > last
        last = frame.time_s


def read_mesh(data: bytes, folder: Path) -> None:
    """The vertices of an OBJ or PLY."""
    from handmesh.mesh_files import read_mesh

    (folder / "hand.ply").write_bytes(data)
    assert np.isfinite(read_mesh(folder / "hand.ply")).all()


def read_objects(data: bytes, folder: Path) -> None:
    """A folder with one mesh of each format, or with a table of licences; what is accepted is a closed solid of a size to hold."""
    from handsynth.assets.objects.own import SIZE_M, open_objects
    from handsynth.scene.held.things import welded

    kinds = {b"glTF": "glb", b"ply\n": "ply", b"lice": "yaml", b"soli": "stl"}
    kind = kinds.get(data[:4], "stl" if b"\0" in data[:200] else "obj")
    shutil.rmtree(folder / "things", ignore_errors=True)
    (folder / "things").mkdir()
    if kind == "yaml":
        (folder / "things" / "licences.yaml").write_bytes(data)
        (folder / "things" / "thing.obj").write_bytes(_own_meshes()[0])
    else:
        (folder / "things" / f"thing.{kind}").write_bytes(data)
    found = open_objects(folder / "things")
    assert all("\n" not in text for text in (*found.notes, found.licence))
    for shape in found.shapes:
        solid = shape.solid
        assert np.isfinite(solid.vertices).all()
        assert SIZE_M[0] <= np.ptp(solid.vertices, axis=0).max() <= SIZE_M[1]
        assert np.abs(np.linalg.norm(solid.normals, axis=1) - 1).max() < 1e-6
        assert len(welded(solid)) == len(solid.faces)


def read_model(data: bytes, folder: Path) -> None:
    """An ONNX file as `handmesh predict --run MODEL.onnx` opens it, and one crop through it; its numbers may lie beside it."""
    from handmesh.estimation.backends import open_net

    path = folder / "model.onnx"
    path.write_bytes(data)
    opened = open_net(path, threads=1)
    if 0 < opened.side <= 256:
        with contextlib.suppress(ValueError):  # what numpy says of an answer that is no batch of points
            opened.net(np.zeros((1, opened.side, opened.side, 3), np.uint8))


def _model_numbers(folder: Path) -> None:
    """The file that `_models` refer to."""
    (folder / "weights.bin").write_bytes(np.arange(64, dtype="<f4").tobytes())


def _models() -> list[bytes]:
    """Small ONNX files with the names, the metadata and the shapes of ours, numbers inside or beside them."""
    import onnx
    from onnx import TensorProto, helper

    from handmesh.estimation.backends import INPUT, OUTPUTS
    from handmesh.estimation.onnx import metadata
    from handsynth.core.named_hands import open_hand

    hand = open_hand("embedded")
    made = []
    for outside in (False, True):
        number = helper.make_tensor("a", TensorProto.FLOAT, [1, 3, 1, 1], np.ones(3, np.float32))
        if outside:
            number = onnx.TensorProto(name="a", data_type=TensorProto.FLOAT, dims=[1, 3, 1, 1], data_location=TensorProto.EXTERNAL)
            for key, value in {"location": "weights.bin", "offset": "16", "length": "12"}.items():
                number.external_data.add(key=key, value=value)
        nodes = [helper.make_node("Mul", [INPUT, "a"], ["scaled"]), helper.make_node("ReduceMean", ["scaled"], ["m"], keepdims=1)]
        nodes += [helper.make_node("Identity", ["m"], [name]) for name in OUTPUTS]
        image = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", 3, 32, 32])
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in OUTPUTS]
        graph = helper.make_graph(nodes, "net", [image], outputs, [number])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        helper.set_model_props(model, metadata(hand, "lite-fast", 32))
        made.append(model.SerializeToString())
    return made


def read_photographs(data: bytes, folder: Path) -> None:
    """Labelled photographs, and where the bytes are a list, another method's predictions for good ones."""
    from handmesh.data.photos import read_photos
    from handmesh.evaluation.photo_scores import group_rows, read_predictions

    (folder / "photos.json").write_bytes(data)
    (folder / "good.json").write_text(json.dumps(photos_content()), encoding="utf-8")
    if data.lstrip()[:1] == b"[":
        photos = read_photos(folder / "good.json")
        group_rows(photos, {"other": read_predictions(folder / "photos.json", photos)})
        return
    for photo in read_photos(folder / "photos.json"):
        assert photo.file.resolve().is_relative_to(folder.resolve())


def read_photo_sets(data: bytes, folder: Path) -> None:
    """Labels of other sets: bytes that are a list are FreiHAND's or HO-3D's truth, others a file of mmpose's hands."""
    from handmesh.data.photo_sets import convert_photos
    from handmesh.data.photos import read_photos

    kind, out = "mmpose", folder / "out.json"
    if data.lstrip()[:1] == b"[":
        kind = "freihand" if len(data) % 2 else "ho3d"
        (folder / "evaluation_xyz.json").write_bytes(data)
    else:
        (folder / "mmpose.json").write_bytes(data)
    convert_photos(kind, folder / "mmpose.json" if kind == "mmpose" else folder, out, side="right")
    for photo in read_photos(out):
        assert photo.file.resolve().is_relative_to(folder.resolve())


def read_keypoints(data: bytes, folder: Path) -> None:
    """A table of keypoints: whatever is read makes 21 points of a hand."""
    from handmesh.evaluation.keypoint_tables import load_table
    from handsynth.core.named_hands import open_hand

    (folder / "table.yaml").write_bytes(data)
    hand = open_hand("embedded", folder)
    assert np.isfinite(load_table(str(folder / "table.yaml"), hand).matrix @ hand.v_template).all()


def _coco_images(folder: Path) -> None:
    """The images that the annotations list, somewhere in a folder."""
    (folder / "images" / "train2017").mkdir(parents=True)
    for row in coco_content()["images"]:
        Image.new("RGB", (64, 48)).save(folder / "images" / "train2017" / row["file_name"])


def read_coco(data: bytes, folder: Path) -> None:
    """Annotations that are found inside the folder of their images."""
    from handsynth.assets.backgrounds.open import open_backgrounds

    os.environ["HANDSYNTH_CACHE"] = str(folder / "cache")
    (folder / "images" / "labels.json").write_bytes(data)
    found = open_backgrounds(folder / "images")
    assert all("\n" not in note for note in found.notes)
    for index in range(len(found)):
        found.read(index)


def read_environment(data: bytes, folder: Path) -> None:
    """A folder with one environment map; what is accepted is light."""
    from handsynth.assets.environments.folder import open_environments

    os.environ["HANDSYNTH_CACHE"] = str(folder / "cache")
    (folder / "maps").mkdir(exist_ok=True)
    (folder / "maps" / "map.hdr").write_bytes(data)
    found = open_environments(folder / "maps")
    assert all("\n" not in note for note in found.notes)
    for light in found.maps:
        assert np.isfinite(np.concatenate([light.sky.ravel(), light.lamp_direction, light.lamp_color])).all()
        assert light.lamp_color.min() >= 0


def read_spec(data: bytes, folder: Path) -> None:
    """A spec as a YAML file; what is accepted has an identity, a capacity, and recipes."""
    from handsynth.core.errors import UsageError
    from handsynth.recipe.samplers import RecipeSampler
    from handsynth.recipe.spec import dataset_identity, load_spec, spec_from_dict, spec_to_dict

    (folder / "spec.yaml").write_bytes(data)
    spec = load_spec(str(folder / "spec.yaml"))
    if spec_from_dict(json.loads(json.dumps(spec_to_dict(spec))), "again") != spec:
        raise UsageError("another spec")
    dataset_identity(spec, {})
    sampler = RecipeSampler(spec, _generator()[1].library)
    for index in {0, spec.samples // 2, spec.samples - 1}:
        sampler.sample(index)


@lru_cache(maxsize=1)
def _generator() -> tuple[Any, Any]:
    """A sampler and a generator of the tiny world, whose hands have forearms and wear things."""
    from handsynth.generator import Generator, library_of
    from handsynth.recipe.samplers import RecipeSampler

    world = _world()[0]
    wear = "{sleeve: 0.6, watch: 0.5, bracelet: 0.5, rings: 0.5, varnish: 0.5, glove: 0.3}"
    spec = world.spec(arm="{probability: 0.8}", wear=wear)
    library = library_of(spec, world.assets)
    return RecipeSampler(spec, library), Generator(spec, library)


def read_recipe(data: bytes, folder: Path) -> None:
    """A stored recipe, checked and then drawn: no value of it may stop or crash the renderer."""
    from handsynth.core.errors import HandsynthError
    from handsynth.recipe.recipe import recipe_from_dict

    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        raise HandsynthError("not JSON") from None  # decode_labels, of which `shard` has plenty
    next(iter(_generator()[1].make_samples([recipe_from_dict(values, "recipe", 10)])))


def _images() -> list[bytes]:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(np.repeat(np.repeat(rng.integers(0, 256, (20, 24, 3), np.uint8), 2, 0), 2, 1))
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("JPEG", "RGB", {}), ("JPEG", "RGB", {"progressive": True, "exif": exif}), ("JPEG", "CMYK", {}), ("JPEG", "L", {}),
        ("PNG", "RGB", {}), ("PNG", "RGBA", {}), ("PNG", "P", {}), ("PNG", "I;16", {}), ("WEBP", "RGB", {}), ("BMP", "RGB", {}),
        ("GIF", "P", {}), ("TIFF", "RGB", {}), ("TIFF", "L", {"compression": "tiff_lzw"}), ("PPM", "RGB", {}),
        ("TIFF", "I;16", {}), ("JPEG2000", "RGB", {}), ("AVIF", "RGB", {"exif": exif}),
    ]  # fmt: skip
    files = []
    for kind, mode, options in kinds:
        out = io.BytesIO()
        (noise.convert("L").convert("I;16") if mode == "I;16" else noise.convert(mode)).save(out, kind, **options)
        files.append(out.getvalue())
    share = np.asarray(noise.convert("L"), np.float32) / 255
    return [*files, tiff(share.tobytes(), 48, 40, 32, sample_format=3), tiff(bytes(2880), 48, 40, 12, zero_is_white=True)]


def _animations() -> list[bytes]:
    return [animation(kind, [0, 80, 160, 240], [100, 40, 500, 100]) for kind in ("GIF", "WEBP", "PNG", "AVIF")]


def _videos() -> list[bytes]:
    """Short videos of every container and codec that OpenCV writes here."""
    import cv2

    rng, files = np.random.default_rng(0), []
    kinds = (("mp4v", "mp4"), ("MJPG", "avi"), ("mp4v", "mkv"), ("VP80", "webm"), ("FLV1", "flv"), ("mpg2", "mpg"), ("WMV2", "wmv"))
    for codec, suffix in kinds:
        path = WORLD / f"film.{suffix}"
        film = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), 10, (80, 64))
        for _ in range(5):
            film.write(cv2.resize(rng.integers(0, 256, (8, 10, 3), np.uint8), (80, 64)))
        film.release()
        files.append(path.read_bytes())
    return files


def _environments() -> list[bytes]:
    """Small maps: Radiance with and without run lengths, and OpenEXR in seven compressions."""
    import cv2
    import OpenEXR

    files = [write_hdr(WORLD / "maps" / "a.hdr", panorama(outdoors(np.array([0.6, 0.6, -0.5])), 16)).read_bytes()]
    light = panorama(indoors(np.array([1.0, 0.2, 0.1])), 16)
    flat = cv2.imencode(".hdr", light, [cv2.IMWRITE_HDR_COMPRESSION, cv2.IMWRITE_HDR_COMPRESSION_NONE])[1]
    files.append(flat.tobytes())
    for name in ("NO", "RLE", "ZIPS", "ZIP", "PIZ", "B44", "DWAA"):
        header = {"compression": getattr(OpenEXR, f"{name}_COMPRESSION")}
        for kind in (np.float16, np.float32):
            files.append(write_exr(WORLD / "maps" / "a.exr", {"RGB": light.astype(kind)}, **header).read_bytes())
    return files


def read_robot(data: bytes, folder: Path) -> None:
    """A robot's description, as MuJoCo takes it, and what is drawn of it."""
    from handmesh.robot.description import read_description
    from handmesh.robot.draw import robot_parts
    from handmesh.robot.kinematics import RobotHand

    (folder / "robot.xml").write_bytes(data)
    robot = RobotHand(read_description(folder / "robot.xml"))
    robot_parts(robot)
    robot.body_poses(robot.limits.mean(1))


def read_correspondences(data: bytes, folder: Path) -> None:
    """Which links stand for which keypoints."""
    from handmesh.robot.task import make_task, read_config

    (folder / "robot.yaml").write_bytes(data)
    make_task(read_config(folder / "robot.yaml"))


def read_motion(data: bytes, folder: Path) -> None:
    """A clip of angles, keypoints or a robot's joints."""
    from handmesh.robot.clip import read_clip
    from handsynth.core.toy import toy_hand

    file = folder / f"clip{'.npz' if data[:2] == b'PK' else '.json' if data[:1] == b'{' else '.csv'}"
    file.write_bytes(data)
    assert np.isfinite(read_clip(file, toy_hand(), "right", 30.0).keypoints).all()


def _robots() -> list[bytes]:
    """A gripper as URDF and MJCF, with coupled joints and with meshes that are not there."""
    import mujoco  # noqa: F401  as it is imported it starts a process that looks for graphics
    from robot_files import mjcf, urdf

    drawn = '<link name="palm"><visual><geometry><mesh filename="package://a/b.stl"/></geometry></visual></link>'
    texts = [urdf(), urdf(mimic=True), mjcf(mimic=True), urdf().replace('<link name="palm"/>', drawn)]
    return [text.encode() for text in texts]


def _correspondences() -> list[bytes]:
    """Of the gripper, in each mode."""
    import yaml
    from robot_files import config

    return [yaml.safe_dump({"retargeting": config(mode)}).encode() for mode in ("vector", "position", "dexpilot")]


def _motions() -> list[bytes]:
    """Angles as .npz, CSV and JSON."""
    from handmesh.kinematics.dof import DOF_NAMES

    angles, held = np.linspace(0, 0.5, 69).reshape(3, 23), io.BytesIO()
    np.savez(held, angles=angles, time=np.arange(3) / 30)
    table = ",".join(f"{name}_deg" for name in DOF_NAMES) + "\n" + "\n".join(",".join(map(str, row)) for row in angles.tolist())
    hand = {"angles_deg": dict.fromkeys(DOF_NAMES, 3.0), "theta": [[0.0] * 3] * 16, "beta": [0.0] * 10, "side": "left"}
    points = {"side": "right", "keypoints_cam": np.random.default_rng(0).normal(size=(21, 3)).tolist()}
    return [held.getvalue(), table.encode(), json.dumps({"hands": [hand, hand]}).encode(), json.dumps(points).encode()]


def _meshes() -> list[bytes]:
    """A tetrahedron as OBJ and in the three encodings of PLY."""
    import trimesh
    from trimesh.exchange.ply import export_ply

    mesh = trimesh.creation.box()
    head = "ply\nformat binary_big_endian 1.0\nelement face 1\nproperty list uchar int vertex_indices\nelement vertex 2\n"
    head += "".join(f"property double {axis}\n" for axis in "xyz") + "end_header\n"
    big = head.encode() + b"\3" + np.array([0, 1, 0], ">i4").tobytes() + np.arange(6, dtype=">f8").tobytes()
    return [mesh.export(file_type="obj").encode(), export_ply(mesh, encoding="ascii"), export_ply(mesh), big]


@lru_cache(maxsize=1)
def _own_meshes() -> list[bytes]:
    """Closed meshes of the four formats, and a table of licences."""
    import trimesh
    from trimesh.exchange.ply import export_ply

    box, ring = trimesh.creation.box((0.05, 0.08, 0.03)), trimesh.creation.torus(0.03, 0.01, 8, 6)
    files = [mesh.export(file_type="obj").encode() for mesh in (box, ring)]
    files += [export_ply(ring, encoding="ascii"), export_ply(ring), ring.export(file_type="stl"), ring.export(file_type="glb")]
    files += [box.export(file_type="stl_ascii").encode(), b"licence.obj: CC0\nthing.obj: CC BY 4.0\n"]
    return files


def _glb(rng: random.Random) -> bytes:
    """A GLB whose description is another: nodes, accessors, buffers."""
    data = _own_meshes()[5]
    length = int.from_bytes(data[12:16], "little")
    text = json_bytes(rng, json.loads(data[20 : 20 + length]))
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    head = b"glTF" + (2).to_bytes(4, "little") + (20 + len(text) + len(rest)).to_bytes(4, "little")
    return head + len(text).to_bytes(4, "little") + b"JSON" + text + rest


def _releases(pickles: Sequence[bytes]) -> list[bytes]:
    """Archives that hold a pickle, and smplx's .npz."""
    files = []
    for name, content in (("MANO_RIGHT.pkl", pickles[0]), ("a/models/MANO_RIGHT.pkl", pickles[-1])):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a/info.txt", "text")
            archive.writestr(name, content)
        files.append(out.getvalue())
    out = io.BytesIO()
    np.savez(out, a=np.arange(12.0).reshape(3, 4), b=np.arange(5), c=np.ones((2, 2), np.float32))
    return [*files, out.getvalue()]


def _pickles(folder: Path) -> list[bytes]:
    """A small dict of arrays as Python 2 and 3 write it, and one with chumpy's and scipy's objects."""
    import pickle

    import licensed_files

    arrays = {"a": np.arange(12.0).reshape(3, 4), "b": np.arange(5, dtype=np.uint32), "c": np.ones((2, 2), np.float32)}
    with licensed_files._old_modules() as (ch_class, select_class, csc_class):
        ch = licensed_files._object(ch_class, {"x": arrays["a"], "_dirty_vars": {"x"}, "_itr": 0})
        select = licensed_files._object(select_class, {"a": ch, "idxs": np.arange(4), "preferred_shape": (2, 2)})
        state = {
            "_shape": (3, 2),
            "data": np.ones(2),
            "indices": np.array([0, 2], np.int32),
            "indptr": np.array([0, 1, 2], np.int32),
        }
        wrapped = python2_pickle({"a": select, "b": licensed_files._object(csc_class, state), "c": arrays["c"]})
    return [python2_pickle(arrays), wrapped, *(pickle.dumps(arrays, protocol) for protocol in range(6))]


GADGETS = (
    b"cos\nsystem\n(S'touch canary'\ntR.", b"c__builtin__\neval\n(S'1'\ntR.", b"cbuiltins\ngetattr\n", b"\x93", b"\x82\x01",
    b"cnumpy.core.multiarray\n_reconstruct\n", b"Pid\n.", b"Q", b"R", b"b", b"\x81", b"r\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 8,
    b"(" * 500,
)  # fmt: skip
"""Pieces that a hostile pickle is made of."""


def make_readers() -> dict[str, Reader]:
    """Every reader of foreign bytes with its inputs."""
    from handsynth.core.hand import save_hand
    from handsynth.core.toy import toy_hand
    from handsynth.recipe.spec import SHIPPED, spec_text

    world, out = _world()
    shard, index = (out / "shard-000000.tar").read_bytes(), (out / "index.json").read_bytes()
    notes = [path.read_bytes() for path in sorted((out / ".handsynth").glob("*.json"))]
    hand = io.BytesIO()
    save_hand(hand, toy_hand())  # type: ignore[arg-type]
    arrays = [_stored(hand.getvalue()), _stored((world.folder / "skin.npz").read_bytes())]
    pickles, images, videos, meshes = _pickles(world.folder), _images(), _videos(), _meshes()
    animations, releases = _animations(), _releases(pickles)
    specs = [spec_text(name).encode() for name in SHIPPED] + [world.spec_path.read_bytes()]
    tasks, motions = _correspondences(), _motions()
    recipes = [_generator()[0].sample(k).to_dict() for k in range(12)]
    table = (WORLD.parents[1] / "handmesh" / "keypoint_tables" / "mediapipe.yaml").read_bytes()

    def of(files: Sequence[bytes]) -> Callable[[random.Random], bytes]:
        return lambda rng: mangled(rng, rng.choice(files))

    def gadget(rng: random.Random) -> bytes:
        data, piece = rng.choice(pickles), rng.choice(GADGETS)
        at = rng.randrange(len(data))
        return data[:at] + piece + data[at + rng.choice((0, 0, len(piece))) :]

    def yaml_of(files: Sequence[bytes]) -> Callable[[random.Random], bytes]:
        def values(rng: random.Random) -> bytes:
            value = changed(rng, yaml.safe_load(rng.choice(files)))
            return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")

        return values

    def task_values(rng: random.Random) -> bytes:
        import yaml

        value = changed(rng, yaml.safe_load(rng.choice(tasks)))
        return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")

    readers = [
        Reader("pickle", any_of(of(pickles), gadget), read_pickle),
        Reader("npz", any_of(of(arrays), lambda rng: _zip(rng, rng.choice(arrays))), read_npz),
        Reader("release", any_of(of(releases), lambda rng: _zip(rng, releases[2])), read_release),
        Reader("image", any_of(of(images), lambda rng: _png(rng, rng.choice(images[4:8]))), read_image),
        Reader("animation", any_of(of(animations), lambda rng: _png(rng, animations[2])), read_frames),
        Reader("video", of(videos), read_frames),
        Reader("mesh", of(meshes), read_mesh),
        Reader("objects", any_of(of(_own_meshes()), _glb), read_objects),
        Reader("model", of(_models()), read_model, _model_numbers),
        Reader(
            "coco",
            any_of(of([json.dumps(coco_content()).encode()]), lambda rng: json_bytes(rng, coco_content())),
            read_coco,
            _coco_images,
        ),
        Reader("photos", lambda rng: json_bytes(rng, rng.choice([photos_content(), predictions_content()])), read_photographs),
        Reader(
            "photo sets", lambda rng: json_bytes(rng, rng.choice([mmpose_content(), set_keypoints()])), read_photo_sets, write_sets
        ),
        Reader("keypoints", any_of(of([table]), yaml_of([table])), read_keypoints),
        Reader("environment", of(_environments()), read_environment),
        Reader("spec", any_of(of(specs), yaml_of(specs)), read_spec),
        Reader("recipe", lambda rng: json_bytes(rng, rng.choice(recipes)), read_recipe),
        Reader("shard", any_of(of([shard]), lambda rng: _tar(rng, shard), lambda rng: _tar(rng, shard)), read_shard, _beside),
        Reader("index", any_of(of([index]), lambda rng: json_bytes(rng, json.loads(index))), read_index, _beside),
        Reader("sidecar", any_of(of(notes), lambda rng: json_bytes(rng, json.loads(rng.choice(notes)))), read_sidecars, _beside),
        Reader("robot", of(_robots()), read_robot),
        Reader("correspondences", any_of(of(tasks), task_values), read_correspondences),
        Reader("motion", any_of(of(motions), lambda rng: json_bytes(rng, json.loads(rng.choice(motions[2:])))), read_motion),
    ]
    return {reader.name: reader for reader in readers}


def _stored(data: bytes) -> bytes:
    """An .npz without compression, so that a mangled byte is one of an array."""
    out = io.BytesIO()
    with np.load(io.BytesIO(data)) as file:
        np.savez(out, **{name: file[name] for name in file})
    return out.getvalue()
