"""Shards: the same samples give the same bytes, nothing half-written is ever seen, and no foreign tar gets through."""

import contextlib
import hashlib
import io
import json
import os
import random
import re
import subprocess
import sys
import tarfile
from typing import Any

import numpy as np
import pytest

from handsynth.core import sample
from handsynth.core.conventions import SCHEMA
from handsynth.core.errors import HandsynthError
from handsynth.core.files import write_file
from handsynth.core.index import canonical_json, read_index
from handsynth.core.sample import ADDED, HAND_KEYS, NULLABLE, OPTIONAL, decode_labels, decode_npy, encode_npy, field_shapes
from handsynth.core.shard import Members, read_shard, shard_name, write_shard


def _members(index: int) -> dict[str, bytes]:
    """Fields of several lengths, an empty one among them."""
    npy = random.Random(index).randbytes(513)
    return {"jpg": bytes([index % 256]) * (index % 700), "mask.png": b"", "json": b"{}", "vertices.npy": npy}


SAMPLES = [(index, _members(index)) for index in (0, 3, 511, 512, 71423, 999_999_999)]


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / shard_name(0)
    write_shard(path, SAMPLES)
    return path


def test_what_is_written_is_read(shard):
    """Reading is the inverse of writing, in order, whether from a file or from its bytes."""
    assert list(read_shard(shard)) == SAMPLES
    assert list(read_shard(shard.read_bytes())) == SAMPLES


def test_the_summary_is_true(tmp_path):
    path = tmp_path / shard_name(7)
    info = write_shard(path, iter(SAMPLES))
    data = path.read_bytes()
    assert (info.name, info.count, info.bytes) == ("shard-000007.tar", len(SAMPLES), len(data))
    assert (info.first, info.last) == (0, 999_999_999)
    assert info.sha256 == hashlib.sha256(data).hexdigest()


def test_it_is_a_tar_that_any_tar_reader_takes(shard):
    """The standard library agrees with us member by member; keys have nine digits and no dot; nothing tells who wrote it when."""
    with tarfile.open(shard) as tar:
        entries = tar.getmembers()
        contents = {e.name: tar.extractfile(e).read() for e in entries}  # type: ignore[union-attr]
    assert contents == {f"{index:09d}.{ext}": data for index, members in SAMPLES for ext, data in members.items()}
    assert all(re.fullmatch(r"\d{9}\.[a-z.]+", e.name) for e in entries)
    assert {(e.mtime, e.uid, e.gid, e.uname, e.gname, e.mode) for e in entries} == {(0, 0, 0, "hand", "hand", 0o444)}
    assert len(shard.read_bytes()) % tarfile.RECORDSIZE == 0


def test_headers_are_those_of_tarfile(tmp_path):
    """Byte by byte, for members of every length's number of digits."""
    path = tmp_path / "shard-000000.tar"
    for size in (0, 1, 7, 8, 511, 512, 513, 4096, 300_000):
        write_shard(path, [(123, {"mask.png": b"x" * size})])
        info = tarfile.TarInfo("000000123.mask.png")
        info.size, info.mode, info.uname, info.gname = size, 0o444, "hand", "hand"
        assert path.read_bytes()[:512] == info.tobuf(tarfile.USTAR_FORMAT)


def test_bytes_do_not_depend_on_clock_locale_place_or_user(shard, tmp_path):
    """Another process at another time, in another time zone, locale, folder, umask and hash seed writes the same file."""
    code = (
        f"import os, sys; os.umask(0o077); sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "from test_shard import SAMPLES; from handsynth.core.shard import write_shard; from pathlib import Path\n"
        "print(write_shard(Path('other.tar'), SAMPLES).sha256)"
    )
    odd = {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "77", "USER": "someone", "SOURCE_DATE_EPOCH": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | odd, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == hashlib.sha256(shard.read_bytes()).hexdigest()
    assert (tmp_path / "other.tar").read_bytes() == shard.read_bytes()


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    """A fault in the middle of a shard leaves neither the shard nor a temporary file, and an older shard as it was."""
    path = tmp_path / shard_name(0)

    def failing():
        yield SAMPLES[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(path, failing())
    assert list(tmp_path.iterdir()) == []
    write_file(path, b"older")
    with pytest.raises(KeyboardInterrupt):
        write_shard(path, failing())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"older"


@pytest.mark.parametrize("keep", [0, 1, 100, 511, 512, 700, 1024, 2000, 5000])
def test_a_truncated_shard_is_never_read_as_whole(shard, keep):
    """Cut anywhere before its last sample's end, a shard raises an error or lacks samples or fields: all but the last are true."""
    data = shard.read_bytes()[:keep]
    found: list[tuple[int, Members]] = []
    with contextlib.suppress(HandsynthError):
        found.extend(read_shard(data))
    complete = [s for s in found if s in SAMPLES]
    assert found[:-1] == complete[: max(len(found) - 1, 0)]
    assert found != SAMPLES


@pytest.mark.parametrize("data", [b"", b"hello", b"\x1f\x8b" + b"x" * 2000, b"PK\x03\x04" * 400, random.Random(0).randbytes(4096)])
def test_no_tar_no_samples(data, tmp_path):
    """What is no tar is refused in one sentence with its name."""
    path = tmp_path / shard_name(3)
    path.write_bytes(data)
    with pytest.raises(HandsynthError, match=r"shard-000003\.tar is truncated or is not a tar"):
        list(read_shard(path))


def hostile_tar(*entries: tuple[tarfile.TarInfo, bytes], format: int = tarfile.USTAR_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for info, data in entries:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def entry(name: str, data: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, data


@pytest.mark.parametrize(
    "bad",
    [
        entry("../000000001.jpg"),
        entry("/etc/000000001.jpg"),
        entry("folder/000000001.jpg"),
        entry("000000001"),
        entry("000000001."),
        entry(".jpg"),
        entry("sample.jpg"),
        entry("-00000001.jpg"),
        entry("٠٠٠٠٠٠٠٠١.jpg"),
        entry("²³.jpg"),
        entry("9" * 60 + ".jpg"),
        entry("000000001./../../x"),
        entry("000000001.jpg", b"", tarfile.DIRTYPE),
        entry("000000001.jpg", b"", tarfile.SYMTYPE, "/etc/passwd"),
        entry("000000001.jpg", b"", tarfile.LNKTYPE, "000000000.jpg"),
        entry("000000001.jpg", b"", tarfile.CHRTYPE),
        entry("000000001.jpg", b"", tarfile.BLKTYPE),
        entry("000000001.jpg", b"", tarfile.FIFOTYPE),
    ],
    ids=lambda bad: f"{bad[0].name[:24]!a}-{bad[0].type.decode()}",
)
def test_members_that_are_no_samples_are_refused(bad):
    """Paths, links, devices, folders and foreign names raise; nothing is ever written or followed."""
    data = hostile_tar(entry("000000000.jpg"), bad, format=tarfile.PAX_FORMAT)
    with pytest.raises(HandsynthError, match="no sample of a handsynth shard"):
        list(read_shard(data))


def test_a_field_given_twice_is_damage():
    with pytest.raises(HandsynthError, match=r"damaged at 000000001\.jpg"):
        list(read_shard(hostile_tar(entry("000000001.jpg"), entry("000000001.jpg", b"y"))))


@pytest.mark.parametrize("size", [1 << 27, 1 << 33, 1 << 60, -512])
def test_a_member_that_claims_a_huge_size_is_refused_unread(size):
    """A header may claim any size; nothing of that size is allocated."""
    info = tarfile.TarInfo("000000001.jpg")
    info.size = size
    with pytest.raises(HandsynthError):
        list(read_shard(info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 4096))


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_raises_only_our_error(shard, seed):
    """Whatever bytes are overwritten, reading gives samples or HandsynthError, never another exception."""
    rng = random.Random(seed)
    data = bytearray(shard.read_bytes())
    for _ in range(rng.choice([1, 3, 30])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    with contextlib.suppress(HandsynthError):
        for index, members in read_shard(bytes(data)):
            assert isinstance(index, int)
            assert all(isinstance(value, bytes) for value in members.values())


@pytest.mark.parametrize("array", [np.zeros((0, 3), np.float32), np.arange(12.0).reshape(4, 3), np.ones((1, 3), np.int64)])
def test_npy_and_back(array):
    again = decode_npy(encode_npy(array), "sample")
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)
    again += 1  # it is the caller's own


def test_headers_of_hands_are_not_compiled(monkeypatch):
    """np.load, which compiles each header's text, is not called for what encode_npy writes; for all else it is."""

    def load(*_, **__):
        raise AssertionError

    monkeypatch.setattr(np, "load", load)
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(decode_npy(encode_npy(array), "sample"), array)
    for other in (encode_npy(array) + b"\0", encode_npy(array)[:-1], encode_npy(array).replace(b"False", b"True ")):
        with pytest.raises(HandsynthError, match="damaged"):
            decode_npy(other, "sample")


def _npy(header: bytes, body: bytes = b"") -> bytes:
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"not numpy at all",
        _npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"\x80\x04cos\nsystem\n."),
        _npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000, 1000000), }"),
        _npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-5,), }"),
        _npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999999999,), }"),
        _npy(b"(" * 3000),
        _npy(b"__import__('os')"),
        b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        encode_npy(np.zeros((100, 3)))[:500],
    ],
)
def test_a_damaged_npy_is_one_sentence(data):
    """No pickle is run and no header is believed."""
    with pytest.raises(HandsynthError, match="sample 3") as raised:
        decode_npy(data, "sample 3")
    assert "\n" not in str(raised.value)


def _labels() -> dict:
    labels = {name: np.zeros(shape).tolist() for name, shape in field_shapes(SCHEMA, 10).items() if shape is not None}
    return labels | {
        "schema": SCHEMA,
        "index": 0,
        "dataset": "",
        "side": "right",
        "image_size": 64,
        "fingertip_table": "t",
        "background": {"name": "n", "licence": "l", "replaced": False},
        "arm": None,
        "clothing": [],
        "object": None,
        "hands": [],
        "occluder": None,
        "recipe": {},
    }


INDEX = {"schema": SCHEMA, "num_shapes": 10}
"""What decoding labels asks of an index."""


def test_labels_are_checked_field_by_field():
    """Complete labels pass; without any one field but an optional one, or with it in another shape, they are refused."""
    assert decode_labels({"json": canonical_json(_labels())}, "sample", INDEX) == _labels()
    for name, shape in field_shapes(SCHEMA, 10).items():
        wrong: list[Any] = [None] if name in ("schema", "background") else []
        if name == "background":
            good = _labels()[name]
            wrong += [3, [], {}, *(good | {key: 1.5} for key in good), good | {"coco_id": []}]
            wrong += [{k: v for k, v in good.items() if k != key} for key in good]
        if name == "clothing":
            wrong += [3, "watch", {}, ["hat"], [None], ["watch", "watch"]]
        if name == "hands":
            hand = {key: _labels()[key] for key in HAND_KEYS}
            some = _labels() | {"hands": [hand] * 3}
            assert decode_labels({"json": canonical_json(some)}, "sample", INDEX) == some
            wrong += [3, {}, [None], [{}], "none", [hand | {"more": 1}], [hand, hand | {"side": "both"}], [hand | {"arm": 3}]]
            wrong += [[{k: v for k, v in hand.items() if k != key}] for key in hand] + [[hand | {"theta": [0.0]}]]
            wrong += [[hand | {"clothing": ["hat"]}], [hand | {"object": {}}], [hand | {"trans": [0, 0, float("nan")]}]]
        if name == "side":
            wrong += [None, "both", 3, []]
        if name in ("object", "occluder"):
            good = {
                "kind": "ball",
                "shape": "egg",
                "mesh": "0" * 64,
                "scale": 1.5,
                "mirrored": False,
                "T_cam_object": np.eye(4).tolist(),
            }
            assert decode_labels({"json": canonical_json(_labels() | {name: good})}, "sample", INDEX)[name] == good
            wrong += [3, [], {}, "egg", *({k: v for k, v in good.items() if k != key} for key in good), good | {"more": 1}]
            wrong += [good | {"scale": scale} for scale in (0, -1, "1", None, float("nan"))] + [good | {"mirrored": 1}]
            wrong += [good | {"T_cam_object": T} for T in (None, [1], np.eye(3).tolist(), "x", [[{}]])]
        if name == "arm":
            good = {"flexion_deg": 1.5, "deviation_deg": -2, "twist_deg": 0.0, "elbow_deg": 10.0}
            assert decode_labels({"json": canonical_json(_labels() | {"arm": good})}, "sample", INDEX)["arm"] == good
            wrong += [
                3,
                [],
                {},
                "none",
                good | {"elbow": 1.0},
                *(good | {key: value} for key in good for value in (None, "1", 181)),
            ]
            wrong += [{k: v for k, v in good.items() if k != key} for key in good] + [good | {"twist_deg": float("nan")}]
        if shape is not None:
            wrong += [] if name in NULLABLE else [None]
            wrong += [[], "text", {}, [[1], [2, 3]], 10**400, np.full((*shape, 1), 0.0).tolist()]
            wrong += [np.full(shape, np.nan).tolist(), np.full(shape, "1").tolist()]
        for value in wrong:
            with pytest.raises(HandsynthError, match="hands|other hand" if name == "hands" else name):
                decode_labels({"json": json.dumps(_labels() | {name: value}).encode()}, "sample", INDEX)
        without = {k: v for k, v in _labels().items() if k != name}
        if name in OPTIONAL:
            assert decode_labels({"json": canonical_json(without)}, "sample", INDEX) == without
            continue
        with pytest.raises(HandsynthError, match=name):
            decode_labels({"json": canonical_json(without)}, "sample", INDEX)


@pytest.mark.filterwarnings("ignore:overflow")
def test_labels_are_checked_alike_at_once_and_field_by_field(monkeypatch: pytest.MonkeyPatch):
    """Whatever a field holds, the quick check of all numbers together and the slow one of each field say the same."""
    odd: list[Any] = [None, True, 0, -1, 2**63, 10**30, 10**400, 1e308, -1e308, float("nan"), float("inf"), "", "1", [], {}, [0.0]]
    odd += [[[0.0]], {"a": 1}, {str(k): 0.0 for k in range(3)}, "123", ["1", "2", "3"], [{}, {}, {}], [None] * 3, [True] * 3]
    cases = []
    for name, shape in field_shapes(SCHEMA, 10).items():
        if shape is not None:
            values = [*odd, np.zeros((*shape, 2)).tolist(), np.full(shape, 1e307).tolist(), np.full(shape, 7).tolist()]
            for value in odd if shape else []:
                values += [[value] * shape[0], [[value] * shape[-1]] * shape[0]]
            cases += [json.dumps(_labels() | {name: value}).encode() for value in values]

    def said(case: bytes) -> str:
        try:
            decode_labels({"json": case}, "sample", INDEX)
        except HandsynthError as error:
            return str(error)
        return ""

    at_once = [said(case) for case in cases]
    monkeypatch.setattr(sample, "_are_good", lambda *_: False)
    assert at_once == [said(case) for case in cases]
    assert len(set(at_once)) > 10 < at_once.count("")


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"schema": "other/9"}'])
def test_json_that_is_no_sample_is_one_sentence(data):
    with pytest.raises(HandsynthError, match="sample 3: "):
        decode_labels({"json": data}, "sample 3", INDEX)


def test_what_a_schema_added_is_optional_in_older_datasets():
    """Labels of schema 1 are read without what came later, with the ten shape coefficients of its time; and not as schema 2."""
    old = {name: value for name, value in _labels().items() if name not in ADDED} | {"schema": "handsynth/1"}
    assert ADDED
    assert decode_labels({"json": canonical_json(old)}, "sample", {"schema": "handsynth/1"}) == old
    for labels, index in ((old, INDEX), (_labels(), {"schema": "handsynth/1"})):
        with pytest.raises(HandsynthError, match="schema is"):
            decode_labels({"json": canonical_json(labels)}, "sample", index)


def test_the_hand_decides_the_number_of_shapes():
    """beta has as many numbers as the dataset's index says that its hand has shape coefficients."""
    for count in (0, 1, 7, 300):
        labels, index = _labels() | {"beta": [0.5] * count}, INDEX | {"num_shapes": count}
        assert decode_labels({"json": canonical_json(labels)}, "sample", index) == labels
        for other in (count + 1, 10):
            with pytest.raises(HandsynthError, match="beta"):
                decode_labels({"json": canonical_json(labels | {"beta": [0.5] * other})}, "sample", index)


def test_equal_values_give_equal_json():
    """Sorted keys, no spaces, no NaN."""
    assert canonical_json({"b": [1, 0.5], "a": {"d": None, "c": "ü"}}) == canonical_json(
        {"a": {"c": "ü", "d": None}, "b": [1, 0.5]}
    )
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no index.json.*handsynth generate"),
        (b"{", "damaged.*writes it again"),
        (b"[" * 100_000, "damaged"),
        (b"\xff", "damaged"),
        (b"[]", "no index of a handsynth dataset"),
        (b'{"shards": 5}', "no index of a handsynth dataset"),
    ],
)
def test_an_index_that_is_none_says_what_to_do(tmp_path, content, message):
    if content is not None:
        (tmp_path / "index.json").write_bytes(content)
    with pytest.raises(HandsynthError, match=message):
        read_index(tmp_path)


def test_python_s_own_slip_while_it_parses_a_header_is_no_damage(monkeypatch):
    """Two threads that parse at once confuse Python 3.11; the array is read again."""
    whole, calls = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)), []  # of a header that np.load sees to
    load, file = np.load, io.BytesIO()
    np.save(file, whole)

    def slips(*arguments, **options):
        calls.append(1)
        if len(calls) == 1:
            raise SystemError("AST constructor recursion depth mismatch (before=216, after=236)")
        return load(*arguments, **options)

    monkeypatch.setattr(np, "load", slips)
    np.testing.assert_array_equal(decode_npy(file.getvalue(), "here"), whole)
    assert len(calls) == 2
