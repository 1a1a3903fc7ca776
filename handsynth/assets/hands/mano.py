"""MANO as the user has it: MANO_RIGHT.pkl or MANO_LEFT.pkl -> a plain hand model and its bank of poses.

Formats: MANO v1.2 by Romero, Tzionas, Black, "Embodied Hands", SIGGRAPH Asia 2017 (https://mano.is.tue.mpg.de).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from handsynth.assets.manifest import Prepared, record_prepared
from handsynth.assets.release import is_zip, release_file
from handsynth.core.anatomy import joint_axes, joint_limits
from handsynth.core.conventions import FINGER_JOINTS, FINGERTIP_TABLES, PARENTS
from handsynth.core.errors import AssetError
from handsynth.core.files import write_atomically
from handsynth.core.hand import HandModel, check_metres, save_hand
from handsynth.core.mirror import MIRROR_POINT, MIRROR_TURN
from handsynth.core.poses import PoseBank
from handsynth.core.unpickle import read_pickle

LICENCE = "MANO: non-commercial research, education and art only, no redistribution, no training for commercial products"
LIMIT_BYTES = 200_000_000  # the official files have under 10 MB
THUMBNAIL_SIDES = (747, 720)  # vertices on the thumbnail's two sides (MobileHand)
POSE_PRIOR = "pose_hand_prior.npz"  # in the SMPL-X/H download of the same authors: 895 right-hand poses

_SHAPES = {
    "v_template": (778, 3), "shapedirs": (778, 3, 10), "posedirs": (778, 3, 135), "J_regressor": (16, 778), "weights": (778, 16),
    "f": (1538, 3), "kintree_table": (2, 16), "hands_mean": (45,), "hands_components": (45, 45),
    "hands_coeffs": (-1, 45),
}  # fmt: skip
_FILES = tuple(f"MANO_{side}.{suffix}" for side in ("RIGHT", "LEFT") for suffix in ("pkl", "npz"))


@dataclass(frozen=True, eq=False)
class ManoArrays:
    """A MANO file's arrays, checked, as float64 and int64; a right or a left hand in its own template frame."""

    side: str  # "right" or "left", by where the fingers point
    v_template: np.ndarray  # (778, 3) [m]
    shapedirs: np.ndarray  # (778, 3, 10) [m]
    posedirs: np.ndarray  # (778, 3, 135) [m]
    J_regressor: np.ndarray  # (16, 778)
    weights: np.ndarray  # (778, 16)
    f: np.ndarray  # (1538, 3)
    hands_mean: np.ndarray  # (45,) [rad]
    hands_components: np.ndarray  # (45, 45) rows are components [rad]
    hands_coeffs: np.ndarray  # (N, 45)

    @property
    def poses(self) -> np.ndarray:
        """(N, 15, 3) the poses that the model was made from: axis-angle relative to the flat hand [rad]."""
        return (self.hands_mean + self.hands_coeffs @ self.hands_components).reshape(-1, 15, 3)


def read_mano_arrays(path: Path) -> ManoArrays:
    """Reads a MANO pickle as it is, without running it, or the `.npz` that smplx takes in its place.

    Raises AssetError for anything that is no such file, naming the array of wrong shape or unit, or with NaN.
    """
    if is_zip(path):
        arrays = _read_npz(path, _SHAPES, "a MANO model as smplx keeps it (plain arrays)")
    else:
        arrays = read_pickle(path, "MANO", _SHAPES, LIMIT_BYTES)
    for name, shape in _SHAPES.items():
        _check_shape(path, name, arrays[name], shape)
        arrays[name] = arrays[name].astype(np.float64)
        if not np.isfinite(arrays[name]).all():
            raise AssetError(f"{path}: {name} holds NaN or infinity")
    for name in ("v_template", "shapedirs", "posedirs"):
        try:
            check_metres(name, arrays[name])
        except ValueError as error:
            raise AssetError(f"{path}: {error}; take the file as MANO's site has it") from None
    parents = arrays.pop("kintree_table")[0]
    if tuple(parents[1:].astype(int)) != PARENTS[1:]:  # the root's parent is 2**32 - 1
        raise AssetError(f"{path}: kintree_table is not MANO's tree of joints")
    arrays["f"] = arrays["f"].astype(np.int64)
    if arrays["f"].min() < 0 or arrays["f"].max() >= len(arrays["v_template"]):
        raise AssetError(f"{path}: f points outside its {len(arrays['v_template'])} vertices")
    joints = arrays["J_regressor"] @ arrays["v_template"]
    side = "right" if joints[FINGER_JOINTS["middle"][0], 0] < joints[0, 0] else "left"
    return ManoArrays(side=side, **arrays)


def _check_shape(path: Path, name: str, found: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raises AssetError unless `found` holds numbers in this shape, where -1 stands for any length."""
    if found.dtype.kind not in "iuf":
        raise AssetError(f"{path}: {name} holds {found.dtype}, expected numbers")
    if found.ndim != len(shape) or any(want not in (-1, has) for has, want in zip(found.shape, shape, strict=True)):
        raise AssetError(f"{path}: {name} has shape {found.shape}, expected {str(shape).replace('-1', 'N')}")


def has_left_fault(arrays: ManoArrays) -> bool:
    """Whether `shapedirs` has MANO_LEFT's known fault: x of the shape offsets with the wrong sign (vchoutas/smplx#48).

    The first component is the hand's size, so a sound one stretches the hand along x when it stretches it across.
    """
    centred = arrays.v_template - arrays.v_template.mean(0)
    stretch = (centred * arrays.shapedirs[:, :, 0]).sum(0)
    return bool(stretch[0] * (stretch[1] + stretch[2]) < 0)


def fix_left_fault(arrays: ManoArrays) -> ManoArrays:
    """The same arrays with x of `shapedirs` negated, so that a beta gives both hands the same shape."""
    return replace(arrays, shapedirs=arrays.shapedirs * MIRROR_POINT[:, None])


def mirror_arrays(arrays: ManoArrays) -> ManoArrays:
    """The other side's hand: every array mirrored in x = 0, faces wound the other way. Its own inverse."""
    # A mirrored rotation is M R M, so entry (a, b) of R - I keeps or changes its sign with both axes.
    entry_sign = np.tile(np.outer(MIRROR_POINT, MIRROR_POINT).ravel(), 15)
    turn_sign = np.tile(MIRROR_TURN, 15)
    return replace(
        arrays,
        side="left" if arrays.side == "right" else "right",
        v_template=arrays.v_template * MIRROR_POINT,
        shapedirs=arrays.shapedirs * MIRROR_POINT[:, None],
        posedirs=arrays.posedirs * MIRROR_POINT[:, None] * entry_sign,
        f=arrays.f[:, [0, 2, 1]],
        hands_mean=arrays.hands_mean * turn_sign,
        hands_components=arrays.hands_components * turn_sign,
    )


def hand_from_arrays(arrays: ManoArrays) -> HandModel:
    """A right hand's arrays -> the hand model, with a texture layout by xatlas, the same on every run."""
    if arrays.side != "right":
        raise ValueError("hand_from_arrays needs a right hand: mirror_arrays first")
    uv, uv_faces = unwrap(arrays.v_template, arrays.f)
    return HandModel(
        name="mano",
        licence=LICENCE,
        v_template=arrays.v_template,
        shapedirs=arrays.shapedirs,
        posedirs=arrays.posedirs,
        J_regressor=arrays.J_regressor,
        weights=arrays.weights,
        parents=np.array(PARENTS),
        faces=arrays.f.astype(np.int32),
        hands_mean=arrays.hands_mean.reshape(15, 3),
        fingertips=np.array(FINGERTIP_TABLES["freihand"]),
        fingertip_table="freihand",
        joint_axes=joint_axes(arrays.J_regressor @ arrays.v_template, arrays.v_template[list(THUMBNAIL_SIDES)]),
        joint_limits=joint_limits(),
        uv=uv,
        uv_faces=uv_faces,
    )


def unwrap(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(V, 3) vertices, (F, 3) faces -> (T, 2) texture coordinates in [0, 1] and (F, 3) rows of them, without overlaps."""
    import xatlas  # a compiled library that only preparing needs

    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices.astype(np.float32), faces.astype(np.uint32))
    options = xatlas.PackOptions()
    options.resolution, options.padding = 512, 4  # texels between islands, for the gutter
    atlas.generate(pack_options=options)
    _, uv_faces, uv = atlas[0]
    return uv.astype(np.float64), uv_faces.astype(np.int32)


def read_mano(path: Path) -> tuple[HandModel, ManoArrays, list[str]]:
    """Reads MANO_RIGHT.pkl, or MANO_LEFT.pkl mirrored into a right hand.

    Returns the hand, the right-hand arrays behind it, and a sentence for each thing that was changed on the way.
    Raises AssetError as `read_mano_arrays` does.
    """
    arrays, notes = read_mano_arrays(path), []
    if arrays.side == "left":
        if has_left_fault(arrays):
            arrays = fix_left_fault(arrays)
            notes.append("the left hand's known fault in shapedirs (x with the wrong sign) was corrected")
        arrays = mirror_arrays(arrays)
        notes.append("the left hand was mirrored into a right one, which handsynth keeps; give MANO_RIGHT.pkl if you have it")
    return hand_from_arrays(arrays), arrays, notes


def read_pose_prior(path: Path) -> np.ndarray:
    """Reads `pose_hand_prior.npz` -> (895, 15, 3) right-hand poses relative to the flat hand [rad]: the paper's own.

    Raises AssetError when it is not that file; no pickle is ever run.
    """
    shapes = {"hands_meanr": (45,), "hands_componentsr": (45, 45), "hands_coeffsr": (-1, 45)}
    arrays = _read_npz(path, shapes, f"{POSE_PRIOR} of the SMPL-X/H download")
    for name, shape in shapes.items():
        found = arrays[name].reshape(-1) if name == "hands_meanr" else arrays[name]
        _check_shape(path, name, found, shape)
        if not np.isfinite(found).all():
            raise AssetError(f"{path}: {name} holds NaN or infinity")
        arrays[name] = found.astype(np.float64)
    return (arrays["hands_meanr"] + arrays["hands_coeffsr"] @ arrays["hands_componentsr"]).reshape(-1, 15, 3)


def _read_npz(path: Path, names: Iterable[str], what: str) -> dict[str, np.ndarray]:
    """Arrays of a foreign `.npz`; no pickle in it is ever run. Raises AssetError."""
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in names}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):  # numpy gives what is no .npy as bytes
            raise ValueError("an entry is no array")
        return arrays
    except Exception as error:  # zipfile and zlib raise their own kinds on damaged archives
        text = ascii(" ".join(str(error).split()))[1:-1][:100]
        raise AssetError(f"{path} is not {what}: {text or type(error).__name__}") from None


def prepare_mano(source: Path, assets: Path, pose_prior: Path | None = None) -> Prepared:
    """Converts MANO once into plain files: `mano/hand.npz` and `mano/poses.npz` (theta (N, 15, 3), names (N,)).

    Args:
        source: MANO_RIGHT.pkl (or MANO_LEFT.pkl, or the .npz that smplx takes), a folder above it such as smplx's models, or a zip
            archive of it such as mano_v1_2.zip.
        assets: the user's asset folder.
        pose_prior: pose_hand_prior.npz, for exactly the paper's 895 poses; None takes it from beside `source` or in it,
            and, where there is none, the model's own 1,554 poses (895 right, 659 mirrored left).

    Raises AssetError when the source holds no readable MANO.
    """
    with release_file(source, _FILES, LIMIT_BYTES) as found:
        # A file that is given is read whatever it is called: browsers number what they download twice.
        path = found.path if found else source
        if found is None and (source.is_dir() or (is_zip(source) and source.suffix.lower() != ".npz")):
            raise AssetError(f"{source} holds no MANO_RIGHT.pkl; give that file, a folder above it or mano_v1_2.zip")
        hand, arrays, notes = read_mano(path)
    theta, origin = arrays.poses, ("mano", source)
    if pose_prior is None:
        pose_prior = next((p for p in (source / POSE_PRIOR, source.parent / POSE_PRIOR) if p.is_file()), None)
    if pose_prior is not None:
        theta, origin = read_pose_prior(pose_prior), ("pose_prior", pose_prior)
        notes.append(f"{len(theta):,} poses from {pose_prior}")
    else:
        notes.append(f"{len(theta):,} poses from hands_coeffs; give {POSE_PRIOR} of the SMPL-X/H download for the paper's own 895")

    folder = assets / "mano"
    names = np.array([f"{origin[0]}_{i:04d}" for i in range(len(theta))])
    try:
        PoseBank(theta, tuple(names))  # what `generate` requires is checked before anything is written
    except AssetError as error:
        raise AssetError(f"{origin[1]}: {error}") from None
    write_atomically(folder / "hand.npz", lambda p: save_hand(p, hand))
    write_atomically(folder / "poses.npz", lambda p: np.savez_compressed(p, theta=theta.astype(np.float32), names=names))
    record_prepared(folder / "hand.npz", "mano", source)
    record_prepared(folder / "poses.npz", *origin)
    return Prepared(paths=(folder / "hand.npz", folder / "poses.npz"), notes=tuple(notes))
