"""A dataset's shards as an array of samples: headers are read once, members on request, whole shards never."""

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from handmesh.data.remote import fetch_dataset, open_files
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.hand import HandModel
from handsynth.core.index import read_index, refuse_crowd
from handsynth.core.remote import is_address
from handsynth.core.rotation import rotvec_to_rotmat
from handsynth.core.sample import decode_labels, decode_npy
from handsynth.core.shard import MAX_MEMBER_BYTES

MEMBERS = ("jpg", "json", "vertices.npy")
"""What training reads of a sample; other members (mask, passes) are stepped over."""

_BLOCK = 512  # of a tar
_OPEN_SHARDS = 64  # files kept open by one process: far below the usual limit of 1024
_MOST_PIXELS = (1 << 16) - 1  # along a side of a JPEG


@dataclass(frozen=True, eq=False)
class Record:
    """One labelled image as it lies in the shards. V vertices."""

    dataset: str  # identity of its dataset
    index: int  # number of the sample in its spec
    side: str  # "right" or "left"
    image: np.ndarray  # (H, W, 3) uint8, sRGB; (H, W, 0) where it was left out
    K: np.ndarray  # (3, 3) [px]
    keypoints: np.ndarray  # (21, 3) camera frame [m]
    vertices: np.ndarray  # (V, 3) camera frame [m]
    bbox: np.ndarray  # (4,) x0, y0, x1, y1 of the projected vertices [px]
    theta: np.ndarray  # (16, 3) axis-angles: from the template to the world, then of each joint in its parent
    R_cam_world: np.ndarray  # (3, 3)
    beta: np.ndarray  # (S,)

    @property
    def rotations(self) -> np.ndarray:
        """(16, 3, 3) theta as matrices, the first from the template to the camera frame."""
        return rotations_before_camera(self.theta, self.R_cam_world)


class ShardDataset:
    """Samples of one dataset by position, 0 <= position < len(self), in the order of its shards.

    Picklable, and safe to use after a fork: files are opened when first read, and reads share no file position.

    Args:
        folder: where `index.json` and the shards lie; or an address such as s3://bucket/name, which is fetched into the cache
            (`handmesh.data.remote`).
        hand: the hand that the samples must show; None takes any.
        skip_bad: leave out shards that are missing, truncated or no tars, rather than stop; `bad_shards` says why.

    Raises:
        UsageError: the dataset shows another hand, or has other fingertips, than requested, or any number of hands in an image.
        HandsynthError: the index is missing, damaged or of another schema, or a shard is bad (named).
    """

    def __init__(self, folder: Path | str, hand: HandModel | None = None, skip_bad: bool = False) -> None:
        lost: dict[str, str] = {}
        if isinstance(folder, str) and is_address(folder):
            files = open_files(folder)
            self.source = str(files)  # as it was given, without secrets
            self.folder, lost = fetch_dataset(files, skip_bad)
        else:
            self.source = str(folder).removeprefix("file://")
            self.folder = Path(self.source)
        self.index = read_index(self.folder)
        refuse_crowd(self.index, self.source)
        check_index(self.index, self.source, hand)
        self.identity: str = self.index["dataset"]
        self.name: str = self.index["name"]
        self.num_vertices: int = self.index["num_vertices"]
        self.bad_shards: dict[str, str] = {}
        tables = []
        for number, entry in enumerate(self.index["shards"]):
            try:
                if entry["name"] in lost:
                    raise HandsynthError(lost[entry["name"]])
                table = index_shard(self.folder / entry["name"], entry["count"])
            except HandsynthError as error:
                if not skip_bad:
                    raise HandsynthError(f"{error}; --skip-bad goes on without it") from None
                self.bad_shards[entry["name"]] = str(error)
                continue
            tables.append(np.insert(table, 0, number, axis=1))
        if not tables:
            raise HandsynthError(f"{self.source} holds no sample that can be read")
        self._paths = [str(self.folder / entry["name"]) for entry in self.index["shards"]]
        self._table = np.concatenate(tables)  # (N, 8): number of the shard, index, offset and size of each of MEMBERS
        self._files: OrderedDict[int, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._table)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": OrderedDict()}

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # when Python ends, os may be gone before this
        for file in getattr(self, "_files", {}).values():
            close(file)

    def indices(self) -> np.ndarray:
        """(N,) number in the spec of the sample at each position."""
        return self._table[:, 1]

    def where(self, position: int) -> str:
        """Names a sample in messages."""
        shard, index = self._table[position, :2].tolist()
        return f"{self._paths[shard]}, sample {index}"

    def labels(self, position: int) -> dict[str, Any]:
        """The sample's JSON alone, checked. Raises HandsynthError naming shard and sample when it is damaged."""
        return self._check(position, self._member(position, MEMBERS.index("json")))

    def _check(self, position: int, json: bytes) -> dict[str, Any]:
        where = self.where(position)
        labels = decode_labels({"json": json}, where, self.index)
        if (labels["dataset"], labels["index"]) != (self.identity, self._table[position, 1]):
            raise HandsynthError(f"{where}: its labels are those of sample {labels['index']} of dataset {labels['dataset']!r:.20}")
        if labels["side"] not in ("right", "left"):
            raise HandsynthError(f"{where}: side is {labels['side']!r:.40}, expected 'right' or 'left'")
        if not 0 < labels["image_size"] <= _MOST_PIXELS:
            raise HandsynthError(f"{where}: image_size is {labels['image_size']!r:.40}, expected 1 to {_MOST_PIXELS}")
        return labels

    def vertices(self, position: int) -> np.ndarray:
        """(V, 3) vertices alone, camera frame [m], checked. Raises HandsynthError naming shard and sample when they are damaged."""
        where = self.where(position)
        vertices = decode_npy(self._member(position, MEMBERS.index("vertices.npy")), where)
        if vertices.shape != (self.num_vertices, 3) or vertices.dtype.kind != "f" or not np.isfinite(vertices).all():
            raise HandsynthError(f"{where}: vertices.npy is not ({self.num_vertices}, 3) finite numbers")
        return vertices.astype(np.float64)

    def read(self, position: int, pixels: bool = True) -> Record:
        """The sample, decoded and checked but for the recipe in its labels, half of their text, which is no label.

        Without `pixels` its image is left out, for `image` to read. Raises HandsynthError naming shard and sample when any of what
        is read is damaged.
        """
        data = self._member(position, MEMBERS.index("json"))
        try:
            labels = self._check(position, without_recipe(data))
        except HandsynthError:
            labels = self._check(position, data)  # says what is wrong, where it is not the text that was cut
        side = labels["image_size"]
        image = self.image(position, side) if pixels else np.empty((side, side, 0), np.uint8)
        return to_record(labels, image, self.vertices(position))

    def image(self, position: int, side: int, channels: int = 3) -> np.ndarray:
        """The sample's image alone, as of `decode_jpg`: its labels say `side`."""
        return decode_jpg(self._member(position, MEMBERS.index("jpg")), side, self.where(position), channels)

    def _member(self, position: int, kind: int) -> bytes:
        shard, _, *places = self._table[position].tolist()
        offset, size = places[2 * kind : 2 * kind + 2]
        try:
            data = os.pread(self._open(shard), size, offset)
        except OSError as error:
            raise HandsynthError(f"{self.where(position)}: cannot be read: {error.strerror}") from None
        if len(data) != size:
            raise HandsynthError(f"{self.where(position)}: the shard has been truncated")
        return data

    def _open(self, shard: int) -> int:
        if shard not in self._files:
            if len(self._files) >= _OPEN_SHARDS:
                os.close(self._files.popitem(last=False)[1])
            self._files[shard] = os.open(self._paths[shard], os.O_RDONLY)
        return self._files[shard]


def without_recipe(data: bytes) -> bytes:
    """A sample's JSON with null for its recipe, uncut where it is written otherwise than by `canonical_json`.

    Within a text `"` has a backslash before it, so that what is looked for is never found there. Where another object than the
    whole holds a recipe, the cut takes its end away, and what is left is no JSON.
    """
    start, stop = data.find(b',"recipe":{'), data.rfind(b'},"schema":"')
    return data if start < 0 or stop < start else b'%b,"recipe":null%b' % (data[:start], data[stop + 1 :])


def to_record(labels: dict[str, Any], image: np.ndarray, vertices: np.ndarray) -> Record:
    """A sample's labels (its JSON), (H, W, 3) image and (V, 3) vertices together."""
    return Record(
        dataset=labels["dataset"],
        index=labels["index"],
        side=labels["side"],
        image=image,
        K=np.array(labels["K"], np.float64),
        keypoints=np.array(labels["keypoints_cam"], np.float64),
        vertices=np.asarray(vertices, np.float64),
        bbox=np.array(labels["bbox_xyxy"], np.float64),
        theta=np.array(labels["theta"], np.float64).reshape(-1, 3),
        R_cam_world=np.array(labels["T_cam_world"], np.float64)[:3, :3],
        beta=np.array(labels["beta"], np.float64),
    )


def rotations_before_camera(theta: np.ndarray, R_cam_world: np.ndarray) -> np.ndarray:
    """(..., 16, 3) axis-angles, the first into the world, and (..., 3, 3) -> (..., 16, 3, 3), the first into the camera frame."""
    rotations = rotvec_to_rotmat(theta)
    rotations[..., 0, :, :] = R_cam_world @ rotations[..., 0, :, :]
    return rotations


def check_index(index: dict[str, Any], where: str, hand: HandModel | None) -> None:
    """Raises UsageError when the hand or its fingertips are not those of `hand`; None takes any."""
    if hand is None:
        return
    if index["num_vertices"] != hand.num_vertices:
        raise UsageError(
            f"{where} shows a hand of {index['num_vertices']} vertices, the net's ({hand.name}) has {hand.num_vertices}"
        )
    if index.get("fingertip_table") != hand.fingertip_table or index["fingertips"] != hand.fingertips.tolist():
        found = index.get("fingertip_table")
        raise UsageError(f"{where} has the fingertips {found!r} {index['fingertips']}, the net's are {hand.fingertip_table!r}")
    if index["assets"].get("hand") != hand.digest:
        raise UsageError(f"{where} shows the hand {index.get('hand')!r} of another digest than the net's, {hand.name!r}")


def index_shard(path: Path, count: int) -> np.ndarray:
    """Reads the headers of a shard -> (count, 7) int64: index, then offset and size of each of MEMBERS [bytes].

    A reader of its own, since tarfile takes tens of microseconds a header and a training set has half a million. Takes plain
    headers only, such as `write_shard` writes. Raises HandsynthError naming the shard when it is missing, truncated or damaged,
    or holds another number of samples than `count`.
    """
    rows: dict[int, dict[str, tuple[int, int]]] = {}
    try:
        with open(path, "rb", buffering=0) as file:
            length = os.fstat(file.fileno()).st_size
            at = 0
            while True:
                header = os.pread(file.fileno(), _BLOCK, at)
                if len(header) < _BLOCK:
                    raise ValueError("it ends without the end mark of a tar")
                if not any(header):
                    break
                name, size = _parse_header(header, at)
                if at + _BLOCK + size > length:
                    raise ValueError(f"it ends within {name}")
                key, _, extension = name.partition(".")
                members = rows.setdefault(int(key), {})
                if extension in members:
                    raise ValueError(f"it holds {name} twice")
                members[extension] = (at + _BLOCK, size)
                at += _BLOCK + -(-size // _BLOCK) * _BLOCK
    except OSError as error:
        raise HandsynthError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise HandsynthError(f"{path} is truncated or damaged: {error}") from None
    if len(rows) != count:
        raise HandsynthError(f"{path} is damaged: it holds {len(rows)} samples, the index says {count}")
    for index, members in rows.items():
        for extension in MEMBERS:
            if extension not in members:
                raise HandsynthError(f"{path} is damaged: sample {index} has no {extension}")
    return np.array([[i, *(n for extension in MEMBERS for n in members[extension])] for i, members in rows.items()], np.int64)


def _parse_header(header: bytes, at: int) -> tuple[str, int]:
    """Name and size of a tar member. Raises ValueError when the header is damaged or is no plain file's of ours."""
    checksum = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    try:
        good = int(header[148:156].rstrip(b" \0"), 8) == checksum and header[156:157] in (b"0", b"\0")
        name, size = header[:100].rstrip(b"\0").decode("ascii"), int(header[124:136].rstrip(b" \0"), 8)
    except ValueError:  # UnicodeDecodeError is one
        good = False
    if not good or not (name[:9].isdigit() and name[9:10] == ".") or not 0 <= size <= MAX_MEMBER_BYTES:
        raise ValueError(f"no header of a sample at byte {at}")
    return name, size


def decode_jpg(data: bytes, side: int, where: str, channels: int = 3) -> np.ndarray:
    """(side, side, channels) uint8 of a JPEG, whose header must say that size: sRGB, and a fourth channel that means nothing.

    Raises HandsynthError naming `where`.
    """
    try:
        height, width = simplejpeg.decode_jpeg_header(data)[:2]
        if (height, width) != (side, side):
            raise ValueError(f"{width} x {height} px, its labels say {side} x {side}")
        # Rows at multiples of 32 bytes libjpeg-turbo writes past the caches, and the next who reads them waits for memory.
        room = np.empty(4 + side * side * channels, np.uint8)[4:]
        return simplejpeg.decode_jpeg(data, "RGBX" if channels == 4 else "RGB", buffer=room)
    except (ValueError, TypeError) as error:
        raise HandsynthError(f"{where}: the image is damaged: {error}") from None
