"""MANO's and HTML's files rebuilt in their exact structure from numbers of our own, for tests.

The pickles name the same globals as the official ones (chumpy's and scipy's old paths, numpy's name before 2.0), in
protocol 2 with Python 2's byte strings, and hold none of the official numbers.
"""

import io
import pickle
import struct
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np

from handsynth.core.conventions import PARENTS
from handsynth.core.toy import toy_hand

AROUND, RINGS, SPLITS = 16, 48, 9
"""A tube of 48 rings of 16, one pole, and nine faces split in three: 778 vertices, 1,538 faces, a rim of 16."""


def mano_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """The content of a right hand's file: a tube along -x with MANO's counts, on the toy hand's joints."""
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * np.arange(AROUND) / AROUND
    x = np.linspace(0.1, -0.09, RINGS)
    tube = np.stack([np.broadcast_to(x[:, None], (RINGS, AROUND)), np.broadcast_to(0.02 * np.sin(angle), (RINGS, AROUND)),
                     np.broadcast_to(0.05 * np.cos(angle), (RINGS, AROUND))], -1).reshape(-1, 3)  # fmt: skip
    vertices, faces = [*tube, np.array([-0.1, 0.0, 0.0])], []
    for r in range(RINGS - 1):
        for a in range(AROUND):
            i, j = r * AROUND + a, r * AROUND + (a + 1) % AROUND
            faces += [(i, j + AROUND, j), (i, i + AROUND, j + AROUND)]
    last = (RINGS - 1) * AROUND
    faces += [(last + a, RINGS * AROUND, last + (a + 1) % AROUND) for a in range(AROUND)]
    for f in range(SPLITS):
        a, b, c = faces[100 * f]
        centre = len(vertices)
        vertices.append((vertices[a] + vertices[b] + vertices[c]) / 3)
        faces[100 * f] = (a, b, centre)
        faces += [(b, c, centre), (c, a, centre)]
    v_template = np.array(vertices)
    joints = toy_hand().rest_joints
    near = np.exp(-np.linalg.norm(v_template[:, None] - joints, axis=-1) / 0.01)  # (778, 16)
    directions = rng.normal(0, 1e-3, (778, 3, 20))
    directions[:, :, 0] = 0.05 * (v_template - v_template.mean(0))  # the first component of a hand's shape is its size
    weights, regressor = near / near.sum(1, keepdims=True), near.T / near.T.sum(1, keepdims=True)
    regressor[regressor < 1e-3] = 0  # sparse, as in the file
    regressor /= regressor.sum(1, keepdims=True)
    components = np.linalg.qr(rng.normal(size=(45, 45)))[0]
    return {
        "v_template": v_template,
        "shapedirs_source": directions,  # the file keeps ten of these twenty through chumpy's Select
        "posedirs": rng.normal(0, 1e-3, (778, 3, 135)),
        "J_regressor": regressor,
        "weights": weights,
        "J": regressor @ v_template,
        "f": np.array(faces, np.uint32),
        "kintree_table": np.array([[p % 2**32 for p in PARENTS], range(16)], np.uint32),
        "hands_components": components,
        "hands_mean": rng.normal(0, 0.2, 45),
        "hands_coeffs": rng.normal(0, 0.3, (1554, 45)),
    }


def left_mano_arrays(right: dict[str, np.ndarray], faulty: bool) -> dict[str, np.ndarray]:
    """The mirror image in x = 0 of a right hand's content, written out entry by entry; `faulty`: x of the shape as on the right."""
    left = {name: value.copy() for name, value in right.items()}
    for name in ("v_template", "J", "posedirs") + (() if faulty else ("shapedirs_source",)):
        left[name][:, 0] *= -1
    for entry in range(135):
        row, column = entry % 9 // 3, entry % 3
        if (row == 0) != (column == 0):
            left["posedirs"][:, :, entry] *= -1
    for k in range(45):
        if k % 3 != 0:
            left["hands_mean"][k] *= -1
            left["hands_components"][:, k] *= -1
    left["f"] = left["f"][:, ::-1]
    return left


def smplx_arrays(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same content as smplx reads it: plain arrays under MANO's names."""
    plain = {name: value for name, value in arrays.items() if name != "shapedirs_source"}
    return plain | {"shapedirs": arrays["shapedirs_source"][:, :, :10]}


def write_mano(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes MANO_RIGHT.pkl or MANO_LEFT.pkl as the official ones are: `shapedirs` a Select of a Ch, a sparse regressor."""
    with _old_modules() as (ch_class, select_class, csc_class):
        content: dict[str, object] = {name: value for name, value in arrays.items() if name != "shapedirs_source"}
        source = arrays["shapedirs_source"]
        ch = _object(ch_class, {"x": source, "_dirty_vars": {"x"}, "_itr": 0})
        idxs = np.arange(source.size).reshape(source.shape)[:, :, :10].ravel()
        content["shapedirs"] = _object(select_class, {"a": ch, "idxs": idxs, "preferred_shape": (778, 3, 10), "_dirty_vars": set()})
        dense = arrays["J_regressor"]
        columns, rows = np.nonzero(dense.T)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=dense.shape[1]))]).astype(np.int32)
        state = {
            "_shape": dense.shape,
            "data": dense.T[columns, rows],
            "indices": rows.astype(np.int32),
            "indptr": indptr,
            "maxprint": 50,
        }
        content["J_regressor"] = _object(csc_class, state)
        content |= {"bs_style": "lbs", "bs_type": "lrotmin"}
        path.write_bytes(python2_pickle(content))


def html_arrays(used: int = 2000, components: int = 101, seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The contents of model.pkl and uvs_right.pkl: `used` texels in a block of the map, more seams than MANO has vertices."""
    rng = np.random.default_rng(seed)
    block = np.add.outer(1024 * np.arange(300, 400), np.arange(500, 600)).ravel()  # column-major texels of the file's map
    texels = np.sort(rng.choice(block, used, replace=False))
    index_map = np.concatenate([texels + colour * 1024**2 for colour in range(3)])
    model = {
        "mean": rng.uniform(60, 200, 3 * used),
        "basis": rng.normal(0, 5, (3 * used, components)).astype(np.float32),
        "index_map": index_map,
    }
    faces = mano_arrays()["f"].astype(np.int64)
    corners = faces.copy()
    seam = np.arange(len(faces)) % 7 == 0  # these faces get texture corners of their own
    corners[seam] += 778
    kept, faces_uvs = np.unique(corners, return_inverse=True)
    uvs = {"verts_uvs": rng.uniform(0, 1, (len(kept), 2)), "faces_uvs": faces_uvs.reshape(faces.shape)}
    return model, uvs


def write_html(folder: Path, model: dict[str, np.ndarray], uvs: dict[str, np.ndarray], layout: str = "uvs_right.pkl") -> None:
    """Writes the release's folders below `folder`, as Python 3 wrote them: plain arrays."""
    basis = folder / "TextureBasis"
    (basis / "model_sr").mkdir(parents=True)
    (basis / "model_sr" / "model.pkl").write_bytes(pickle.dumps(model, protocol=3))
    (basis / layout).write_bytes(pickle.dumps(uvs, protocol=3))


def _object(cls: type, state: dict) -> object:
    """An object of an old class with this state."""
    made = cls.__new__(cls)
    made.__dict__.update(state)
    return made


@contextmanager
def _old_modules() -> Iterator[tuple[type, type, type]]:
    """Stand-ins for chumpy's and old scipy's modules, there only while a pickle is written."""
    names = (("chumpy.ch", "Ch"), ("chumpy.reordering", "Select"), ("scipy.sparse.csc", "csc_matrix"))
    classes = tuple(type(name, (), {"__module__": module}) for module, name in names)
    modules = {"chumpy": types.ModuleType("chumpy")}
    for (module, name), cls in zip(names, classes, strict=True):
        modules[module] = types.ModuleType(module)
        setattr(modules[module], name, cls)
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield classes  # type: ignore[misc]
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


class _Python2Pickler(pickle._Pickler):  # the Python one can be taught to write another way
    """Protocol 2 as Python 2 wrote it: text and arrays' bytes as byte strings, numpy under its old name."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def _save_string(self, text: str) -> None:
        self._save_bytes(text.encode("latin1"))
        self.memoize(text)

    def _save_bytes(self, raw: bytes) -> None:
        short = len(raw) < 256
        self.write(pickle.SHORT_BINSTRING + bytes([len(raw)]) if short else pickle.BINSTRING + struct.pack("<i", len(raw)))
        self.write(raw)

    dispatch[str] = _save_string
    dispatch[bytes] = _save_bytes

    def save_global(self, obj, name=None):
        if getattr(obj, "__name__", "") == "_reconstruct":
            self.write(pickle.GLOBAL + b"numpy.core.multiarray\n_reconstruct\n")
            self.memoize(obj)
        else:
            super().save_global(obj, name)

    dispatch[type] = save_global
    dispatch[types.FunctionType] = save_global


def python2_pickle(value: object) -> bytes:
    """Pickles plain values, arrays and objects the way Python 2 did."""
    out = io.BytesIO()
    _Python2Pickler(out, protocol=2, fix_imports=True).dump(value)
    return out.getvalue()
