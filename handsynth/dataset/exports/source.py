"""What every export begins and ends with: a dataset's samples, one after another, and a new folder that is whole or not there."""

import contextlib
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.files import new_folder
from handsynth.core.index import read_index
from handsynth.core.remote import is_address
from handsynth.core.rotation import rotmat_to_rotvec, rotvec_to_rotmat
from handsynth.core.sample import decode_labels, decode_npy
from handsynth.core.shard import Members, read_shard, shard_name, write_shard
from handsynth.dataset.folder import open_folder, read_file
from handsynth.dataset.progress import Progress
from handsynth.image.encode import decode_jpeg, decode_png

PIXEL_CENTRE = 0.5
"""Taken from image positions where others count from the centre of the top-left pixel; ours begin at its corner [px]."""

MANO_SHAPES = 10
"""Shape coefficients in the formats that hold MANO's parameters."""


SHARD_SIZE = 1000
"""Samples of a tar, where a format is made of tars."""


@dataclass(frozen=True, eq=False)
class Hand:
    """A hand of an image: its labels together with the image's, and where it is seen."""

    labels: dict[str, Any]
    mask: np.ndarray | None  # (H, W) bool; None where the dataset does not tell it from others


@dataclass(frozen=True, eq=False)
class Stored:
    """One sample as it lies in a dataset, its labels checked."""

    where: str  # for messages
    labels: dict[str, Any]
    members: Members

    @property
    def size(self) -> tuple[int, int]:
        """Width and height [px]."""
        size = self.labels["image_size"]
        return (size, size) if isinstance(size, int) else (size[0], size[1])

    def hands(self) -> list[Hand]:
        """The labelled hand and the others, or, where an image has no first one, all that it lists, of which each has a mask."""
        others = [self.labels | hand for hand in self.labels.get("hands") or ()]
        if self.has_first:
            return [Hand(self.labels, self.mask()), *(Hand(labels, None) for labels in others)]
        return [Hand(labels, np.asarray(self._mask() == k + 1)) for k, labels in enumerate(others)]

    @property
    def has_first(self) -> bool:
        """Whether the labels are those of one hand, besides which there may be others."""
        return "keypoints_xy" in self.labels

    def check_first(self, name: str) -> None:
        """Raises UsageError for an image of any number of hands, for a format that has one an image."""
        if not self.has_first:
            raise UsageError(f"{self.where} shows any number of hands, and {name} has one an image: export coco or hamer")

    def image(self) -> np.ndarray:
        """(H, W, 3) uint8 sRGB."""
        return decode_jpeg(self.jpg(), self.where)

    def jpg(self) -> bytes:
        """The image's file."""
        return self.members.get("jpg", b"")

    def mask(self) -> np.ndarray:
        """(H, W) bool, where the labelled hand is seen."""
        return np.asarray(self._mask() > 0)

    def _mask(self) -> np.ndarray:
        return decode_png(self.members.get("mask.png", b""), f"{self.where}, mask")

    def vertices(self) -> np.ndarray:
        """(V, 3) float32, camera frame [m]."""
        return decode_npy(self.members.get("vertices.npy", b""), self.where)


class Source:
    """A finished dataset: its index, and its samples in order, one shard in memory at a time.

    Raises HandsynthError when the index is missing or damaged; while samples are read, when a shard is another than it says.
    """

    def __init__(self, out: Path | str) -> None:
        self.folder = open_folder(out)
        self.index = read_index(self.folder)

    def __iter__(self) -> Iterator[Stored]:
        with Progress(self.index["samples"], len(self.index["shards"])) as progress:
            for entry in self.index["shards"]:
                name, data, count = entry["name"], read_file(self.folder, entry["name"]), 0
                if hashlib.sha256(data).hexdigest() != entry["sha256"]:
                    raise HandsynthError(f"{name} in {self.folder} is not as index.json has it: handsynth verify {self.folder}")
                for number, members in read_shard(data, name):
                    where = f"{name}, sample {number}"
                    yield Stored(where, decode_labels(members, where, self.index), members)
                    count += 1
                progress.add(count)

    @contextlib.contextmanager
    def into(self, dest: str) -> Iterator[Path]:
        """Yields a temporary folder that becomes `dest`, whole, at the end (see core.files.new_folder).

        Raises UsageError for an address, for what is there already, and for a place within the dataset.
        """
        if is_address(dest):
            raise UsageError(f"{dest} is an address, and exports are written to folders of this machine: give one, then copy it")
        path = Path(dest.removeprefix("file://"))
        if not is_address(self.folder.address) and path.resolve().is_relative_to(Path(self.folder.address).resolve()):
            raise UsageError(f"{path} is within the dataset itself: name a folder beside {self.folder}")
        with new_folder(path) as folder:
            yield folder

    def check_shapes(self, name: str) -> None:
        """Raises UsageError where the hand has not the number of shape coefficients that a format of MANO's parameters holds."""
        shapes = self.index.get("num_shapes", MANO_SHAPES)
        if shapes != MANO_SHAPES:
            raise UsageError(f"{name} holds {MANO_SHAPES} shape coefficients, the hand of {self.folder} has {shapes}: use coco")

    @property
    def is_mano(self) -> bool:
        """Whether the hand is MANO's, so that its parameters mean what others take them for."""
        return self.index.get("hand") == "mano"

    def hand_note(self) -> str:
        """What a reader of MANO's parameters must know of the hand."""
        if self.is_mano:
            return "The hand is MANO's right hand, mirrored for left hands: its licence binds what is made with this dataset."
        return (
            f"The hand is {self.index.get('hand', 'unknown')!r}, not MANO. It stands as MANO's does (template frame, joint "
            "order, axis-angles relative to the flat hand), but is another surface with other bones: its vertices and faces "
            "are not MANO's; its shape coefficients mean nothing to MANO's layer; and pose parameters given to that layer make "
            "a similar hand, not this one. Keypoints, cameras, masks and vertices are exact."
        )

    def write_readme(self, folder: Path, title: str, *paragraphs: str, head: str = "") -> None:
        """A page that says what the folder holds, from which dataset it is and under which licences; `head` comes first."""
        licences = "\n".join(f"* {name}: {text}" for name, text in self.index.get("licences", {}).items())
        origin = f"Made by handsynth from the dataset {self.index['name']!r}, identity `{self.index['dataset']}`."
        text = "\n\n".join([f"# {title}", *paragraphs, "## Origin", origin, "## Licences", licences or "Not recorded."])
        (folder / "README.md").write_text(f"{head}{text}\n", encoding="utf-8")


def camera_theta(labels: dict[str, Any]) -> np.ndarray:
    """(16, 3) axis-angles relative to the flat hand, the first from the template to the camera's frame [rad]."""
    theta = np.array(labels["theta"], np.float64).reshape(-1, 3)
    theta[0] = rotmat_to_rotvec(np.array(labels["T_cam_world"])[:3, :3] @ rotvec_to_rotmat(theta[0]))
    return theta


def centred(K: Any) -> np.ndarray:
    """(3, 3) intrinsics for image positions that count from the centre of the top-left pixel."""
    moved = np.array(K, np.float64)
    moved[:2, 2] -= PIXEL_CENTRE
    return moved


@contextlib.contextmanager
def json_list(path: Path) -> Iterator[Callable[[Any], None]]:
    """Yields what adds an entry to a JSON list on disk: no list is ever held in memory."""
    with open(path, "w", encoding="utf-8") as file:
        before = "["

        def add(value: Any) -> None:
            nonlocal before
            file.write(before + json.dumps(value, separators=(",", ":"), allow_nan=False))
            before = ",\n"

        yield add
        file.write("[]\n" if before == "[" else "]\n")


def write_shards(source: Source, folder: Path, size: int, encode: Callable[[Stored], Members]) -> tuple[int, int]:
    """Writes all samples as tars of `size` samples, each encoded when its turn comes; returns how many samples and tars."""
    samples = iter(source)
    count = shards = 0
    while (first := next(samples, None)) is not None:
        chunk = itertools.chain([first], itertools.islice(samples, size - 1))
        count += write_shard(folder / shard_name(shards), ((sample.labels["index"], encode(sample)) for sample in chunk)).count
        shards += 1
    return count, shards
