"""The restricted unpickler: official structures load, everything else is refused and nothing runs."""

import copyreg
import os
import pickle
import struct
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from licensed_files import mano_arrays, python2_pickle, smplx_arrays, write_mano

from handsynth.assets.hands.mano import _SHAPES
from handsynth.core.errors import AssetError
from handsynth.core.unpickle import read_pickle

LIMIT = 10_000_000
P2 = b"\x80\x02"


def read(path: Path, *keys: str) -> dict[str, np.ndarray]:
    return read_pickle(path, "MANO", keys or ("a",), LIMIT)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.pkl"


class Runs:
    """Runs a callable when it is unpickled by anything careless."""

    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


def _system(command: str) -> Runs:
    return Runs(os.system, command)


def _string(text: str) -> bytes:
    raw = text.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def hostile_pickles(canary: Path) -> dict[str, bytes]:
    """Each would create the canary, or read past the nine globals, under a plain unpickler."""
    command = f"touch {canary}"
    array = np.arange(3.0)
    new_ch = b"cchumpy.ch\nCh\n)\x81"
    reconstruct = b"cnumpy.core.multiarray\n_reconstruct\n"
    frombuffer = b"cnumpy.core.numeric\n_frombuffer\n("
    kind = b"cnumpy\ndtype\nU\x02f8\x89\x88\x87R" + b"K\x01\x85U\x01CtRs."  # the rest of its arguments: float64, (1,), "C"
    at_a, encode = P2 + b"}" + _string("a"), b"c_codecs\nencode\n"
    run = b"cposix\nsystem\n" + _string(command) + b"\x85R"
    return {
        "os.system": pickle.dumps({"a": _system(command)}, 2),
        "builtins.eval": pickle.dumps({"a": Runs(eval, f"open({str(canary)!r}, 'w')")}, 2),
        "builtins.exec under its old name": P2 + b"c__builtin__\nexec\n" + _string(f"open({str(canary)!r}, 'w')") + b"\x85R.",
        "in a list in a dict": pickle.dumps({"a": [array, {"b": _system(command)}]}, 4),
        "by STACK_GLOBAL": b"\x80\x04" + b"\x8c\x05posix\x8c\x06system\x93" + _string(command) + b"\x85R.",
        "dotted name through a known module": b"\x80\x04" + b"\x8c\x05numpy\x8c\x0dndarray.dumps\x93.",
        "numpy.load": P2 + b"cnumpy\nload\n" + _string("x") + b"\x85R.",
        "in chumpy's state": P2 + new_ch + b"}" + _string("x") + run + b"sb.",
        "by BUILD with a state that is called": P2 + new_ch + run + b"b.",
        "in a buffer": at_a + frombuffer + run + kind,
        "a buffer of another class": at_a + frombuffer + b"cnumpy\nndarray\n)R" + kind,
        "a buffer with a state": at_a + frombuffer + b"U\x08" + bytes(8) + kind[:-2] + run + b"bs.",
        "a buffer encoded by a codec that runs": at_a + frombuffer + encode + _string("x") + b"U\x03zip\x86R" + kind,
        "a buffer encoded from a call": at_a + frombuffer + encode + run + b"U\x06latin1\x86R" + kind,
        "a buffer as a method": b"\x80\x05" + b"\x8c\x12numpy.core.numeric\x8c\x14_frombuffer.__call__\x93.",
        "a buffer from outside": b"\x80\x05}" + _string("a") + b"\x97s.",
        "by INST": b"(S'" + command.encode() + b"'\niposix\nsystem\n.",
        "by OBJ": P2 + b"(cposix\nsystem\n" + _string(command) + b"o.",
        "persistent id": P2 + b"Pposix.system\n.",
        "binary persistent id": P2 + _string("posix.system") + b"Q.",
        "extension code": P2 + b"\x82\xf0" + _string(command) + b"\x85R.",
        "extension code of two bytes": P2 + b"\x83\xf0\x00" + _string(command) + b"\x85R.",
        "extension code of four bytes": P2 + b"\x84\xf0\x00\x00\x00" + _string(command) + b"\x85R.",
        "_reconstruct of another class": P2 + b"}" + _string("a") + reconstruct + b"c__builtin__\nset\nK\x00\x85U\x01b\x87Rs.",
        "command in an array of objects": pickle.dumps({"a": np.array([_system(command)], object)}, 4),
        "array of objects": pickle.dumps({"a": np.array([1.5, None], object)}, 4),
        "line break in a name": b"\x80\x04" + b"\x8c\x05posix\x8c\x08sys\n\x1b[1m\x93" + _string(command) + b"\x85R.",
        "an array's dtype called with objects": P2 + b"}" + _string("a") + b"cnumpy\ndtype\nU\x01O\x85Rs.",
        "ndarray called": P2 + b"}" + _string("a") + b"cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85\x85Rs.",
        "a class's own attributes by BUILD": P2 + b"cchumpy.ch\nCh\n}" + _string("__setstate__") + b"cnumpy\nndarray\nsb.",
        "a class's slots by BUILD": P2 + b"cchumpy.ch\nCh\nN}" + _string("__setstate__") + b"cnumpy\nndarray\ns\x86b.",
    }


@pytest.mark.parametrize("name", hostile_pickles(Path("x")))
def test_hostile_pickle_is_refused_and_nothing_runs(name, file, tmp_path):
    """A pickle outside the known structure ends in an AssetError that names the file, and its canary never appears."""
    canary = tmp_path / "canary"
    file.write_bytes(hostile_pickles(canary)[name])
    with pytest.raises(AssetError, match=r"file\.pkl") as caught:
        read(file)
    assert not canary.exists()
    assert "\n" not in str(caught.value)


def test_canary_dies_in_a_careless_reader(tmp_path):
    """The canary works: Python's own unpickler runs the first hostile pickle."""
    canary = tmp_path / "canary"
    pickle.loads(hostile_pickles(canary)["os.system"])
    assert canary.exists()


def test_extension_codes_are_refused_even_when_cached(file, tmp_path):
    """An extension code that this process has used before would skip find_class; it is refused all the same."""
    canary = tmp_path / "canary"
    copyreg.add_extension("posix", "system", 0xF0)
    try:
        file.write_bytes(hostile_pickles(canary)["extension code"])
        pickle.loads(file.read_bytes())  # fills the cache, and runs
        canary.unlink()
        with pytest.raises(AssetError, match="EXT1"):
            read(file)
        assert not canary.exists()
    finally:
        copyreg.remove_extension("posix", "system", 0xF0)


def test_refused_global_is_named(file):
    """The message names the global that a file names."""
    file.write_bytes(pickle.dumps({"a": _system("true")}, 2))
    with pytest.raises(AssetError, match=r"posix\.system.*nothing of it was run"):
        read(file)


def test_records_stay_clean_after_hostile_files(file):
    """What a hostile file does to one object never shows in the next file."""
    for raw in hostile_pickles(file.with_name("canary")).values():
        file.write_bytes(raw)
        with pytest.raises(AssetError):
            read(file)
    file.write_bytes(pickle.dumps({"a": np.arange(3.0)}, 4))
    np.testing.assert_array_equal(read(file)["a"], np.arange(3.0))


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not a pickle at all\n" * 100, id="text"),
        pytest.param(bytes(range(256)) * 40, id="noise"),
        pytest.param(P2 + b"}", id="no end"),
        pytest.param(P2 + b"T\xff\xff\xff\x7fabc.", id="string of 2 GB in 3 bytes"),
        pytest.param(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"abc.", id="bytes of 4 EB"),
        pytest.param(b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"}.", id="frame of 1 TB"),
        pytest.param(P2 + b"}r\xff\xff\xff\xff.", id="memo of 32 GB"),
        pytest.param(P2 + b"\x8b\xff\xff\xff\x7f" + b"\x01" * 9 + b".", id="integer of 2 GB"),
        pytest.param(P2 + b"N0" * 200_000 + b"}.", id="endless program"),
        pytest.param(P2 + b"(" * 5000 + b".", id="marks"),
        pytest.param(P2 + b"]" + b"\x85" * 5000 + b".", id="deep tuples"),
        pytest.param(P2 + b"K\x01.", id="a number"),
    ],
)
def test_garbage_is_one_sentence(raw, file):
    """Truncated, lying and meaningless bytes end in one AssetError, without claiming memory that the file does not have."""
    file.write_bytes(raw)
    with pytest.raises(AssetError, match=r"file\.pkl") as caught:
        read(file)
    assert "\n" not in str(caught.value)


def test_lying_memory_number_claims_nothing(file):
    """A memory number far beyond the program's length is refused before the unpickler makes room for it."""
    file.write_bytes(P2 + b"}r\x00\x00\x00\x01.")
    with pytest.raises(AssetError, match="too long a program"):
        read(file)


def test_every_truncation_is_an_error(tmp_path):
    """A real structure cut anywhere is an AssetError, never another exception and never a half-read model."""
    whole, cut = tmp_path / "whole.pkl", tmp_path / "cut.pkl"
    write_mano(whole, mano_arrays())
    raw = whole.read_bytes()
    for length in [*range(0, 200, 7), *np.linspace(200, len(raw) - 1, 20).astype(int)]:
        cut.write_bytes(raw[:length])
        with pytest.raises(AssetError, match=r"cut\.pkl"):
            read(cut, *_SHAPES)


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
def test_damaged_bytes_never_escape(tmp_path):
    """Bytes changed at random give arrays or an AssetError, never another exception."""
    path, rng = tmp_path / "file.pkl", np.random.default_rng(0)
    whole = pickle.dumps({"a": np.arange(6.0).reshape(2, 3), "b": np.arange(4), "c": {"d": (1, "text")}}, 2)
    for _ in range(500):
        raw = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            raw[rng.integers(len(raw))] = rng.integers(256)
        path.write_bytes(bytes(raw))
        try:
            found = read(path)
        except AssetError:
            continue
        assert found["a"].dtype.kind in "biuf"


@pytest.mark.parametrize("write", [python2_pickle, *(partial(pickle.dumps, protocol=k) for k in range(6))])
@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", "<i4", "<u4", "<i8", "|b1"])
def test_plain_arrays_come_back_as_they_were(write, dtype, file):
    """Arrays of every number type, byte order and layout come back equal, from Python 2's pickles and from 3's."""
    array = np.asfortranarray((np.arange(24) % 2 * 100).astype(dtype).reshape(2, 3, 4))
    for layout in (array, np.ascontiguousarray(array), array[:, ::2], np.array(array[0, 0, 0])):
        file.write_bytes(write({"a": layout}))
        found = read(file)["a"]
        np.testing.assert_array_equal(found, layout)
        assert not found.flags.writeable


def test_protocol_5_lies_are_refused(file):
    """An array's bytes that do not fit its shape or type, and lengths beyond the file, are one sentence."""
    good = pickle.dumps({"a": np.arange(6.0)}, 5)
    assert b"_frombuffer" in good
    for old, new in (
        (b"K\x06\x85", b"K\x07\x85"),
        (b"\x8c\x02f8", b"\x8c\x02f4"),
        (b"\x8c\x02f8", b"\x8c\x01O"),
        (b"\x8c\x01C", b"\x8c\x01K"),
    ):
        assert old in good
        # The frame's length no longer agrees, which is seen too; without it the lie itself is what is left.
        file.write_bytes(good[:2] + good[11:].replace(old, new))
        with pytest.raises(AssetError, match=r"file\.pkl"):
            read(file)
    at = good.index(b"\x96")
    file.write_bytes(good[:2] + good[11 : at + 1] + struct.pack("<Q", 1 << 62) + good[at + 9 :])
    with pytest.raises(AssetError, match="damaged"):
        read(file)


def test_official_structure_reads_as_smplx_would(tmp_path):
    """chumpy's Select of a Ch and scipy's sparse matrix come back as the dense arrays that they stand for."""
    path, arrays = tmp_path / "MANO_RIGHT.pkl", mano_arrays()
    write_mano(path, arrays)
    found = read(path, *_SHAPES)
    for name, value in smplx_arrays(arrays).items():
        if name in found:
            np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_size_limit_and_missing_key(file):
    """A file above its bound is refused unread; a key that is not there is named."""
    file.write_bytes(pickle.dumps({"b": np.arange(3.0)}, 4))
    with pytest.raises(AssetError, match="more than any MANO file"):
        read_pickle(file, "MANO", ("b",), 10)
    with pytest.raises(AssetError, match="'a'"):
        read(file)
    with pytest.raises(AssetError, match="is not a file"):
        read(file.parent)
