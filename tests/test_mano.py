"""MANO as users have it: the official structure, right and left, from a file, a folder or the zip."""

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from licensed_files import left_mano_arrays, mano_arrays, smplx_arrays, write_mano

from handsynth.assets import release
from handsynth.assets.hands.mano import (
    POSE_PRIOR,
    hand_from_arrays,
    mirror_arrays,
    prepare_mano,
    read_mano,
    read_mano_arrays,
    unwrap,
)
from handsynth.assets.skins.skin import layout_fits
from handsynth.core.anatomy import joint_axes
from handsynth.core.errors import AssetError
from handsynth.core.hand import load_hand, pose_hand
from handsynth.core.toy import toy_hand


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return mano_arrays()


@pytest.fixture
def right(tmp_path, arrays) -> Path:
    path = tmp_path / "mano_v1_2" / "models" / "MANO_RIGHT.pkl"
    path.parent.mkdir(parents=True)
    write_mano(path, arrays)
    return path


def write_prior(path: Path, count: int = 895) -> np.ndarray:
    """A file in the structure of pose_hand_prior.npz; returns its right-hand poses."""
    rng = np.random.default_rng(3)
    mean, components, coefficients = (
        rng.normal(0, 0.2, 45),
        np.linalg.qr(rng.normal(size=(45, 45)))[0],
        rng.normal(0, 0.2, (count, 45)),
    )
    np.savez(path, hands_meanr=mean, hands_componentsr=components, hands_coeffsr=coefficients, hands_coeffsl=np.zeros((659, 45)))
    return np.array([mean + sum(c * row for c, row in zip(coefficient, components, strict=True)) for coefficient in coefficients])


def turned_to_least(faces: np.ndarray) -> list[tuple[int, ...]]:
    """Faces, each started at its least vertex, which keeps the way it is wound."""
    return [tuple(np.roll(face, -int(np.argmin(face))).tolist()) for face in faces]


def test_right_file_becomes_the_hand(right, arrays):
    """Every array of the file is in the hand, unchanged; axes come from its own joints and thumbnail."""
    hand, _, notes = read_mano(right)
    expected = smplx_arrays(arrays)
    for name in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights"):
        np.testing.assert_array_equal(getattr(hand, name), expected[name], err_msg=name)
    np.testing.assert_array_equal(hand.faces, expected["f"])
    np.testing.assert_array_equal(hand.hands_mean.ravel(), expected["hands_mean"])
    np.testing.assert_array_equal(hand.joint_axes, joint_axes(hand.rest_joints, hand.v_template[[747, 720]]))
    assert (hand.name, hand.fingertip_table, hand.fingertips.tolist()) == ("mano", "freihand", [744, 320, 443, 555, 672])
    assert "non-commercial" in hand.licence
    assert notes == []


@pytest.mark.parametrize("faulty", [True, False])
def test_left_file_becomes_the_right_hand(tmp_path, arrays, faulty):
    """A left file gives the right hand that it mirrors, with the known fault of shapedirs corrected, and says so."""
    path = tmp_path / "MANO_LEFT.pkl"
    write_mano(path, left_mano_arrays(arrays, faulty))
    hand, _, notes = read_mano(path)
    expected = smplx_arrays(arrays)
    for name in ("v_template", "shapedirs", "posedirs", "weights"):
        np.testing.assert_allclose(getattr(hand, name), expected[name], atol=1e-15, err_msg=name)
    assert turned_to_least(hand.faces) == turned_to_least(expected["f"])  # wound the same way, so outside is outside
    assert any("shapedirs" in note for note in notes) == faulty
    assert any("mirrored" in note for note in notes)
    theta = np.random.default_rng(0).normal(0, 0.4, (16, 3))
    beta = np.random.default_rng(1).normal(size=10)
    straight = hand_from_arrays(mirror_arrays(mirror_arrays(read_mano(path)[1])))
    np.testing.assert_allclose(pose_hand(hand, theta, beta).vertices, pose_hand(straight, theta, beta).vertices, atol=1e-15)


def test_left_poses_are_mirrored_too(tmp_path, arrays):
    """A left file's poses, mirrored, are those of the right file."""
    write_mano(tmp_path / "r.pkl", arrays)
    write_mano(tmp_path / "l.pkl", left_mano_arrays(arrays, faulty=True))
    np.testing.assert_allclose(read_mano(tmp_path / "l.pkl")[1].poses, read_mano(tmp_path / "r.pkl")[1].poses, atol=1e-14)
    assert read_mano_arrays(tmp_path / "l.pkl").side == "left"


def test_mirroring_twice_changes_nothing(right):
    """mirror_arrays is its own inverse."""
    arrays = read_mano_arrays(right)
    twice = mirror_arrays(mirror_arrays(arrays))
    for name in type(arrays).__dataclass_fields__:
        np.testing.assert_array_equal(getattr(twice, name), getattr(arrays, name), err_msg=name)


def test_prepare_from_file_folder_and_zip(tmp_path, right):
    """The file, any folder above it and the zip give the same two plain files, which load without a pickle."""
    archive = tmp_path / "mano_v1_2.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("mano_v1_2/models/info.txt", "text")
        file.write(right, "mano_v1_2/models/MANO_RIGHT.pkl")
    contents = []
    for k, source in enumerate((right, right.parent, right.parent.parent, tmp_path, archive)):
        prepared = prepare_mano(source, tmp_path / f"assets{k}")
        assert [p.name for p in prepared.paths] == ["hand.npz", "poses.npz"]
        hand = load_hand(prepared.paths[0])
        poses = np.load(prepared.paths[1], allow_pickle=False)
        assert poses["theta"].shape == (1554, 15, 3)
        assert poses["theta"].dtype == np.float32
        assert len(set(poses["names"].tolist())) == 1554
        contents.append((hand.digest, poses["theta"].tobytes()))
        assert not list((tmp_path / f"assets{k}" / "mano").glob(".tmp*"))
    assert len(set(contents)) == 1


def test_poses_are_mean_plus_components(right, arrays, tmp_path):
    """Each pose of the bank is the mean pose plus its coefficients times the components, relative to the flat hand."""
    theta = np.load(prepare_mano(right, tmp_path / "assets").paths[1])["theta"]
    for i in (0, 700, 1553):
        expected = arrays["hands_mean"] + sum(
            c * row for c, row in zip(arrays["hands_coeffs"][i], arrays["hands_components"], strict=True)
        )
        np.testing.assert_allclose(theta[i].ravel(), expected, atol=1e-6)


def test_pose_prior_gives_the_papers_895(right, tmp_path):
    """With pose_hand_prior.npz, named or lying beside, the bank is its 895 right-hand poses."""
    expected = write_prior(tmp_path / "elsewhere.npz")
    named = prepare_mano(right, tmp_path / "a", pose_prior=tmp_path / "elsewhere.npz")
    write_prior(right.parent / POSE_PRIOR)
    beside = prepare_mano(right, tmp_path / "b")
    for prepared in (named, beside):
        theta = np.load(prepared.paths[1])["theta"]
        assert theta.shape == (895, 15, 3)
        np.testing.assert_allclose(theta.reshape(-1, 45), expected, atol=1e-6)
        assert any("895" in note for note in prepared.notes)


def test_bad_pose_prior_is_named(right, tmp_path):
    """A prior that is damaged, of another shape or with NaN is an AssetError that names it."""
    path = tmp_path / "prior.npz"
    good = {"hands_meanr": np.zeros(45), "hands_componentsr": np.eye(45), "hands_coeffsr": np.zeros((5, 45))}
    for change in ({"hands_coeffsr": np.zeros((5, 44))}, {"hands_coeffsr": np.full((5, 45), np.nan)}, {"hands_meanr": np.zeros(3)}):
        np.savez(path, **(good | change))
        with pytest.raises(AssetError, match=rf"prior\.npz.*{next(iter(change))}"):
            prepare_mano(right, tmp_path / "a", pose_prior=path)
    np.savez(path, **{name: np.array([None]) for name in good})
    with pytest.raises(AssetError, match=r"prior\.npz"):
        prepare_mano(right, tmp_path / "a", pose_prior=path)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("v_template", lambda a: a[:, :2]),
        ("posedirs", lambda a: a[:-1]),
        ("weights", lambda a: a.T),
        ("f", lambda a: a[:-1]),
        ("hands_mean", lambda a: a[:44]),
        ("hands_coeffs", lambda a: a[:, :6]),
        ("v_template", lambda a: np.where(np.arange(3) == 1, np.nan, a)),
        ("hands_coeffs", lambda a: a * np.inf),
        ("f", lambda a: a + 1),
        ("kintree_table", lambda a: a[:, ::-1].copy()),
    ],
)
def test_bad_arrays_are_named(tmp_path, arrays, name, change):
    """An array of wrong shape, with NaN or pointing outside is an AssetError that names file and array; nothing is written."""
    path = tmp_path / "MANO_RIGHT.pkl"
    with np.errstate(invalid="ignore"):
        write_mano(path, arrays | {name: change(arrays[name])})
    with pytest.raises(AssetError, match=rf"MANO_RIGHT\.pkl: {name} "):
        prepare_mano(path, tmp_path / "assets")
    assert not (tmp_path / "assets").exists()


def test_sources_without_mano_say_what_to_give(tmp_path):
    """A missing source, an empty folder, a foreign file and a damaged zip each get one sentence."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.pkl").write_bytes(b"")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 but no more")
    (tmp_path / "text.zip").write_text("404")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("MANO_RIGHT.txt", "")
    with zipfile.ZipFile(tmp_path / "big.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("models/MANO_RIGHT.pkl", bytes(201_000_000))
    for source, message in {
        "nowhere": "does not exist",
        "empty": "holds no MANO_RIGHT.pkl",
        "other.pkl": "other.pkl is damaged or no MANO file",
        "other.zip": "holds no MANO_RIGHT.pkl",
        "text.zip": "is no zip archive",
        "broken.zip": "cannot be unpacked",
        "big.zip": "more than 200,000,000",
    }.items():
        with pytest.raises(AssetError, match=message) as caught:
            prepare_mano(tmp_path / source, tmp_path / "assets")
        assert "\n" not in str(caught.value)


LAYOUTS = (
    "MANO_RIGHT.pkl", "mano/MANO_RIGHT.pkl", "models/mano/MANO_RIGHT.pkl", "smplx/models/mano/MANO_RIGHT.pkl",
    "mano_v1_2/models/MANO_RIGHT.pkl", "a/b/c/d/models/MANO_RIGHT.pkl", "mano_right.pkl", "models/mano/MANO_RIGHT.npz",
)  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_mano_is_found_however_it_is_laid_out(tmp_path, right, arrays, layout):
    """In smplx's folders, deep or flat, as a pickle or as smplx's .npz, in a folder or in a zip of any name: the same hand."""
    place = tmp_path / "given" / layout
    place.parent.mkdir(parents=True)
    if layout.endswith(".npz"):
        np.savez(place, **smplx_arrays(arrays))
    else:
        shutil.copy(right, place)
    expected = read_mano(right)[0].digest
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "given")
    shutil.copy(packed, tmp_path / "download")
    renamed = place.with_name(f"MANO_RIGHT (1){place.suffix}")
    shutil.copy(place, tmp_path / renamed.name)
    sources = (tmp_path / "given", place.parent, place, Path(packed), tmp_path / "download", tmp_path / renamed.name)
    for k, source in enumerate(sources):
        assert load_hand(prepare_mano(source, tmp_path / f"assets{k}").paths[0]).digest == expected


def test_the_right_hand_comes_first(tmp_path, arrays):
    """A right hand, however deep, before a left one; of two right ones the one least deep."""
    for k, (name, content) in enumerate({
        "MANO_LEFT.pkl": left_mano_arrays(arrays, faulty=False),
        "models/mano/MANO_RIGHT.pkl": arrays,
        "models/mano/backup/MANO_RIGHT.pkl": arrays | {"v_template": arrays["v_template"] * 1.01},
    }.items()):  # fmt: skip
        path = tmp_path / "given" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mano(path, content)
        notes = prepare_mano(tmp_path / "given", tmp_path / f"assets{k}").notes
        assert any("mirrored" in note for note in notes) == (k == 0)
    np.testing.assert_allclose(load_hand(tmp_path / "assets2" / "mano" / "hand.npz").v_template, arrays["v_template"], atol=1e-7)


@pytest.mark.parametrize("name", ["v_template", "shapedirs_source", "posedirs"])
@pytest.mark.parametrize("factor", [1000, 100, 39.37])
def test_other_units_than_metres_are_refused(tmp_path, arrays, name, factor):
    """Millimetres, centimetres and inches are not guessed but refused, and nothing is written."""
    path = tmp_path / "MANO_RIGHT.pkl"
    write_mano(path, arrays | {name: arrays[name] * factor})
    key = name.removesuffix("_source")
    with pytest.raises(AssetError, match=rf"MANO_RIGHT\.pkl: {key} .* metres \(is it in other units\?\)"):
        prepare_mano(path, tmp_path / "assets")
    assert not (tmp_path / "assets").exists()


def test_a_prepared_hand_in_other_units_is_refused(tmp_path):
    """A hand given by its file is held to the same."""
    hand = toy_hand()
    for name, value in (("v_template", hand.v_template), ("shapedirs", hand.shapedirs), ("posedirs", hand.posedirs + 0.01)):
        with pytest.raises(AssetError, match=rf"{name} .* metres"):
            replace(hand, **{name: value * 1000})


def test_poses_in_degrees_are_refused_when_they_are_prepared(tmp_path, arrays):
    """Not when they are used, by when the file is far away."""
    path = tmp_path / "MANO_RIGHT.pkl"
    write_mano(path, arrays | {"hands_mean": np.rad2deg(arrays["hands_mean"]), "hands_coeffs": np.rad2deg(arrays["hands_coeffs"])})
    with pytest.raises(AssetError, match=r"MANO_RIGHT\.pkl: pose bank: .*degrees"):
        prepare_mano(path, tmp_path / "assets")
    assert not (tmp_path / "assets").exists()


def test_an_npz_with_objects_is_refused(tmp_path, arrays):
    """smplx would load a pickle from it; nothing of it is run here."""
    plain = smplx_arrays(arrays)
    np.savez(tmp_path / "MANO_RIGHT.npz", **plain | {"J_regressor": np.array([{}], object)})
    with pytest.raises(AssetError, match=r"MANO_RIGHT\.npz is not a MANO model as smplx keeps it \(plain arrays\): Object arrays"):
        prepare_mano(tmp_path, tmp_path / "assets")


def test_large_folders_are_not_searched_to_the_end(tmp_path, right, monkeypatch):
    """A home folder is given up after so many names; what lies near is found before."""
    monkeypatch.setattr(release, "MAX_ENTRIES", 50)
    for k in range(60):
        (tmp_path / "home" / "many" / f"{k}").mkdir(parents=True)
    shutil.copy(right, tmp_path / "home" / "many" / "59" / "MANO_RIGHT.pkl")
    with pytest.raises(AssetError, match="holds no MANO_RIGHT"):
        prepare_mano(tmp_path / "home", tmp_path / "assets")
    shutil.copy(right, tmp_path / "home" / "many" / "MANO_RIGHT.pkl")
    prepare_mano(tmp_path / "home", tmp_path / "assets")


def test_zip_never_writes_outside(tmp_path, right):
    """A member with an absolute or climbing path is read, and no file appears under its name."""
    archive = tmp_path / "in" / "mano.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as file:
        file.write(right, "../../../escaped/models/MANO_RIGHT.pkl")
    before = {p for p in tmp_path.rglob("*") if "assets" not in p.parts}
    prepare_mano(archive, tmp_path / "assets")
    assert {p for p in tmp_path.rglob("*") if "assets" not in p.parts} == before


def test_unwrap_is_repeatable_and_aligned(arrays):
    """The layout for a hand without one is the same twice, aligned with the faces, inside [0, 1]."""
    (uv, uv_faces), (again, faces_again) = (unwrap(arrays["v_template"], arrays["f"]) for _ in range(2))
    np.testing.assert_array_equal(uv, again)
    np.testing.assert_array_equal(uv_faces, faces_again)
    assert layout_fits(arrays["f"], uv_faces)
    assert 0 <= uv.min() < uv.max() <= 1
    assert not layout_fits(arrays["f"][:, [1, 0, 2]], uv_faces)
