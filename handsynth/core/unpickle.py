"""A restricted unpickler: reads MANO's and HTML's pickles into plain arrays without running anything that they name.

Only nine globals are known, and none of them is the real one: each stands for an inert record of what the file names.
Arrays are then rebuilt here from shape, type and bytes, chumpy's and scipy's objects from their state. All protocols are read;
of protocol 5, whose arrays are `_frombuffer(bytes, ...)`, only files that hold those bytes themselves.
"""

import pickle
import pickletools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from handsynth.core.errors import AssetError

MAX_OPCODES = 200_000
"""Official files hold a few thousand; more is no table of arrays."""

MAX_DENSE = 50_000_000
"""Entries of a sparse matrix when filled in; MANO's has 16 x 778."""

_PLAIN_TYPE = re.compile("b1|[iu][1248]|f[248]|[SU][1-9][0-9]{0,4}")  # truth values, numbers, fixed-width text
_MAX_NESTING = 8  # chumpy nodes inside each other; official files nest two deep

_KNOWN_OPCODES = frozenset(
    "PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT "
    "STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 "
    "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS "
    "GLOBAL STACK_GLOBAL REDUCE NEWOBJ BUILD PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET".split()
)
"""Not among them: persistent ids, extension codes (which skip `find_class`), old-style instances, outside buffers."""


class _Refused(Exception):
    """Why a pickle is not read; the message completes the sentence "FILE ..."."""


class _Record:
    """What a file holds about one object: arguments and state, kept and never acted upon."""

    args: tuple[Any, ...] = ()  # of the call; objects made without one keep this
    state: Any = None

    def __init__(self, *args: Any) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _DType(_Record):
    """`numpy.dtype(code, align, copy)` with state (version, byte order, ...)."""

    def resolve(self) -> np.dtype:
        code = self.args[0] if self.args else None
        order: Any = self.state[1] if isinstance(self.state, tuple) and len(self.state) > 1 else "|"
        if not isinstance(code, str) or not _PLAIN_TYPE.fullmatch(code) or order not in ("<", ">", "=", "|"):
            raise _Refused(f"holds an array of type {ascii(code)[:20]}, expected plain numbers")
        return np.dtype(code).newbyteorder(order)


class _Array(_Record):
    """`numpy.core.multiarray._reconstruct(numpy.ndarray, (0,), 'b')` with state (version, shape, type, order, bytes)."""

    def resolve(self) -> np.ndarray:
        if len(self.args) != 3 or self.args[0] is not _NdarrayName:
            raise _Refused("rebuilds an array of an unknown class")
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            raise _Refused("holds an array without content")
        _, shape, dtype, fortran, raw = self.state
        return _rebuild(raw, dtype, shape, bool(fortran))


class _Buffer(_Record):
    """`numpy.core.numeric._frombuffer(bytes, dtype, shape, order)`: an array in protocol 5."""

    def resolve(self) -> np.ndarray:
        if len(self.args) != 4 or self.args[3] not in ("C", "F") or self.state is not None:
            raise _Refused("rebuilds an array of an unknown class")
        raw, dtype, shape, order = self.args
        return _rebuild(raw, dtype, shape, order == "F")


def _rebuild(raw: Any, dtype: Any, shape: Any, fortran: bool) -> np.ndarray:
    """An array from what a file states about it; whatever does not fit together is refused."""
    if not isinstance(dtype, _DType) or not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise _Refused("holds an array of an unknown shape or type")
    if isinstance(raw, _Encoded):
        raw = raw.resolve()
    if isinstance(raw, str):  # Python 2's bytes, read as latin1
        raw = raw.encode("latin1")
    if not isinstance(raw, bytes | bytearray):
        raise _Refused("holds an array of objects, expected plain numbers")
    values, size = dtype.resolve(), 1
    for n in shape:
        size *= n
    if size * values.itemsize != len(raw):
        raise _Refused(f"holds an array of shape {shape} with {len(raw)} bytes, expected {size * values.itemsize}")
    array = np.frombuffer(raw, values).reshape(shape, order="F" if fortran else "C")
    array.flags.writeable = False
    return array


class _NdarrayName(_Record):
    """`numpy.ndarray`, only ever named as an argument."""


class _Encoded(_Record):
    """`_codecs.encode(text, 'latin1')`: bytes, as Python 3 writes them in protocols 0 to 2."""

    def resolve(self) -> bytes:
        if len(self.args) != 2 or not isinstance(self.args[0], str) or self.args[1] != "latin1":
            raise _Refused("holds bytes in an unknown encoding")
        return self.args[0].encode("latin1")


class _Set(_Record):
    """`set(...)`: chumpy's bookkeeping, not needed."""


class _Ch(_Record):
    """`chumpy.ch.Ch`: an array `x`."""


class _Select(_Record):
    """`chumpy.reordering.Select`: entries `idxs` of the flattened `a`, in `preferred_shape`."""


class _Csc(_Record):
    """`scipy.sparse.csc_matrix`: compressed columns."""


_KNOWN_GLOBALS: dict[tuple[str, str], type[_Record]] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,  # its name since numpy 2
    ("numpy.core.numeric", "_frombuffer"): _Buffer,
    ("numpy._core.numeric", "_frombuffer"): _Buffer,
    ("numpy", "ndarray"): _NdarrayName,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _Encoded,
    ("__builtin__", "set"): _Set,
    ("builtins", "set"): _Set,
    ("chumpy.ch", "Ch"): _Ch,
    ("chumpy.reordering", "Select"): _Select,
    ("scipy.sparse.csc", "csc_matrix"): _Csc,
    ("scipy.sparse._csc", "csc_matrix"): _Csc,  # its name since scipy 1.8
}


class _Unpickler(pickle.Unpickler):
    """Knows the nine globals and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        found = _KNOWN_GLOBALS.get((module, name))
        if found is None:
            shown = ascii(f"{module}.{name}"[:80])[1:-1]  # the file chose these characters
            raise _Refused(f"names {shown}, which the official files do not hold: refused, and nothing of it was run")
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("asks for an object outside the file: refused, and nothing of it was run")


class _Clamped:
    """A file whose reads never ask for more than is left, so that a lying length claims no memory."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size

    def read(self, count: int = -1) -> bytes:
        left = max(self._size - self._file.tell(), 0)
        return self._file.read(left if count < 0 else min(count, left))

    def readline(self) -> bytes:
        return self._file.readline()

    def tell(self) -> int:
        return self._file.tell()


def read_pickle(path: Path, what: str, keys: Iterable[str], limit_bytes: int) -> dict[str, np.ndarray]:
    """Reads arrays from a pickled dict; nothing that the file names is ever run.

    Args:
        path: the file.
        what: what it should be, for messages: "MANO model".
        keys: the arrays wanted; others are passed over.
        limit_bytes: a bigger file is refused unread.

    Returns:
        The arrays by key, read-only, chumpy's and sparse ones as plain dense arrays.

    Raises:
        AssetError: no such file, too big, damaged, without one of the keys, or it holds anything that official files do
            not. A hostile file can at worst waste time, and memory in proportion to its size.
    """
    try:
        if not path.is_file():
            raise AssetError(f"{path} is not a file; give the {what} file that you downloaded")
        size = path.stat().st_size
        if size > limit_bytes:
            raise AssetError(f"{path} has {size:,} bytes, more than any {what} file ({limit_bytes:,}): refused")
        with open(path, "rb") as file:
            _check_opcodes(_Clamped(file, size))
            file.seek(0)
            found = _Unpickler(_Clamped(file, size), encoding="latin1").load()
        if not isinstance(found, dict):
            raise _Refused("is a pickle of something else than a dict of arrays")
        return {key: _numbers(found, key, 0) for key in keys}
    except AssetError:
        raise
    except _Refused as error:
        raise AssetError(f"{path} {error}; download the {what} file from its own site again") from None
    except OSError as error:
        raise AssetError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # damaged bytes raise nearly anything: ValueError, EOFError, KeyError, MemoryError, ...
        raise AssetError(f"{path} is damaged or no {what} file ({type(error).__name__}); download it again") from None


def _check_opcodes(file: _Clamped) -> None:
    """Walks through the instructions without following them; raises _Refused for any that official files do not need."""
    for count, (opcode, arg, _) in enumerate(pickletools.genops(file)):  # type: ignore[arg-type]
        if opcode.name not in _KNOWN_OPCODES:
            raise _Refused(
                f"uses the pickle instruction {opcode.name}, which the official files do not: refused, and nothing was run"
            )
        # The unpickler makes its table of memories as long as the greatest number named.
        if count > MAX_OPCODES or (opcode.name in {"PUT", "BINPUT", "LONG_BINPUT"} and int(arg or 0) > count):
            raise _Refused("is too long a program for a table of arrays: refused, and nothing was run")


def _plain(value: Any, depth: int) -> np.ndarray | None:
    """A record -> the dense array that it stands for; None for anything that is no array."""
    if depth > _MAX_NESTING:
        raise _Refused("nests its arrays too deeply")
    if isinstance(value, _Array | _Buffer):
        return value.resolve()
    if not isinstance(value, (_Ch, _Select, _Csc)) or not isinstance(value.state, dict):
        return None
    if isinstance(value, _Csc):
        return _dense(value.state, depth)
    if isinstance(value, _Ch):
        return _numbers(value.state, "x", depth)
    chosen = _numbers(value.state, "a", depth).ravel()[_numbers(value.state, "idxs", depth).astype(np.int64).ravel()]
    shape = value.state.get("preferred_shape")
    return chosen.reshape(shape) if isinstance(shape, tuple) else chosen


def _numbers(state: dict[str, Any], key: str, depth: int) -> np.ndarray:
    """The array under `key` of the file's dict or of an object's state."""
    found = _plain(state.get(key), depth + 1)
    if found is None or found.dtype.kind not in "biuf":
        raise _Refused(f"has no array of numbers {key!r}")
    return found


def _dense(state: dict[str, Any], depth: int) -> np.ndarray:
    """State of a csc_matrix -> (rows, columns) array; entries named twice add up, as scipy has it."""
    shape = state.get("_shape", state.get("shape"))
    if not isinstance(shape, tuple) or len(shape) != 2 or not all(type(n) is int and n >= 0 for n in shape):
        raise _Refused("holds a sparse matrix without a shape")
    if shape[0] * shape[1] > MAX_DENSE:
        raise _Refused(f"holds a sparse matrix of shape {shape}, too big")
    data, indices, indptr = (_numbers(state, key, depth) for key in ("data", "indices", "indptr"))
    ends = indptr.astype(np.int64)
    per_column = ends[1:] - ends[:-1]
    if len(per_column) != shape[1] or (per_column < 0).any() or not per_column.sum() == len(data) == len(indices):
        raise _Refused("holds a sparse matrix whose parts do not fit together")
    dense = np.zeros(shape)
    np.add.at(dense, (indices, np.repeat(np.arange(shape[1]), per_column)), data)
    return dense
