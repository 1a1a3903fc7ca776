"""The same samples read as one would at first: loose files through Pillow, and the shards through `webdataset`."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from handmesh.data.shards import MEMBERS, Record, ShardDataset, decode_jpg, to_record

SHUFFLE_BUFFER = 1000
"""Samples among which `webdataset` draws the next one."""


def unpack(shards: ShardDataset, folder: Path) -> None:
    """Writes what training reads of every sample as loose files: JPEG, JSON and `.npy`."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in shards.index["shards"]:
        with tarfile.open(shards.folder / entry["name"]) as tar:
            for member in tar:
                if member.name.partition(".")[2] in MEMBERS and (file := tar.extractfile(member)):
                    (folder / member.name).write_bytes(file.read())


class LooseFiles:
    """The reader that one writes first, of a `folder` with the files of `unpack`."""

    def __init__(self, folder: Path) -> None:
        self.images = sorted(folder.glob("*.jpg"))

    def read(self, position: int) -> Record:
        """The sample, decoded."""
        path = self.images[position]
        with Image.open(path) as opened:
            image = np.asarray(opened.convert("RGB"))
        labels = json.loads(path.with_suffix(".json").read_bytes())
        return to_record(labels, image, np.load(path.with_suffix(".vertices.npy")))


class WebShards:
    """The shards as `webdataset` streams them: shards in random order, samples through a shuffle buffer, masks passed over.

    Args:
        shards: the dataset.
        decoder: "rgb8", webdataset's own, which is Pillow's; or "simplejpeg", the decoder that we use, as we use it.
    """

    def __init__(self, shards: ShardDataset, decoder: str = "rgb8") -> None:
        import webdataset

        urls = [str(shards.folder / entry["name"]) for entry in shards.index["shards"]]
        stream = webdataset.WebDataset(
            urls, shardshuffle=len(urls), seed=0, select_files=lambda name: name.partition(".")[2] in MEMBERS
        )
        self._samples = stream.shuffle(SHUFFLE_BUFFER).decode(_simplejpeg if decoder == "simplejpeg" else decoder)

    def __iter__(self) -> Iterator[Record]:
        """Every sample once, decoded."""
        for sample in self._samples:
            yield to_record(sample["json"], sample["jpg"], sample["vertices.npy"])


def _simplejpeg(name: str, data: bytes) -> np.ndarray | None:
    """A decoder as webdataset takes them: None leaves a member to the next one."""
    return decode_jpg(data, simplejpeg.decode_jpeg_header(data)[0], name, channels=4) if name.endswith(".jpg") else None
