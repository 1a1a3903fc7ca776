"""The embedded backgrounds: a bank of painted scenes with the statistics of photographs, made once into the cache."""

import contextlib
import fcntl
import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from handsynth.assets.backgrounds.procedural.kinds import KINDS, paint_scene
from handsynth.assets.backgrounds.procedural.layers import HEIGHT, WIDTH, Painter
from handsynth.assets.backgrounds.procedural.textures import make_textures
from handsynth.assets.store import cache_errors, make_cached
from handsynth.core.errors import AssetError
from handsynth.core.locations import cache_dir, check_cache

VERSION = 1
"""To be raised whenever a pixel of the scenes changes: it is part of a dataset's identity."""
COUNT = 384
SEED = 20_241_107
"""Any number; this one has always been used."""


class Scenes:
    """`count` procedural scenes, uint8 (360, 480, 3) each, drawn from fixed seeds: scene i is the same for any `count`."""

    name = "scenes"
    licence = "CC0-1.0: procedural scenes made by handsynth itself"
    notes: tuple[str, ...] = ()

    def __init__(self, count: int = COUNT) -> None:
        """Touches no file: the bank is made, or opened, when an image is first read (see `prepare`)."""
        self._count = count
        self._bank: np.ndarray | None = None
        parameters = f"scenes version {VERSION} seed {SEED} count {count} size {WIDTH}x{HEIGHT}"
        self.digest = hashlib.sha256(parameters.encode()).hexdigest()

    def __len__(self) -> int:
        return self._count

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_bank": None}  # a worker maps the file itself

    @property
    def path(self) -> Path:
        """Where the bank lies: 199 MB for 384 scenes."""
        return cache_dir() / f"scenes-v{VERSION}-{self._count}.npy"

    def label(self, index: int) -> dict[str, Any]:
        """See Backgrounds.label."""
        return {"name": f"scene-{index:06d}", "licence": self.licence}

    def read(self, index: int) -> np.ndarray:
        """See Backgrounds.read: a view of the mapped bank, not to be written to."""
        if self._bank is None:
            self.prepare()
            self._bank = _open(self.path, self._count)
        if self._bank is None:
            raise AssetError(f"the bank of scenes {self.path} disappeared while it was opened: run the command again")
        return self._bank[index]

    def prepare(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Makes the bank unless it is there: some 30 s on one core. `progress(done, count)` is called after each scene.

        Several processes may call it; one makes the bank while the others wait. Raises AssetError when it cannot be written.
        """
        path = self.path
        if _open(path, self._count) is not None:
            return

        def write(temporary: Path) -> None:
            bank = np.lib.format.open_memmap(temporary, "w+", np.uint8, (self._count, HEIGHT, WIDTH, 3))
            with open(temporary, "r+b") as file:  # a disk that fills up while a mapped file is written to would end the process
                os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
            for index, scene in enumerate(paint_scenes(self._count)):
                bank[index] = scene
                if progress is not None:
                    progress(index + 1, self._count)
            bank.flush()

        check_cache()
        with cache_errors(), _only_one(path):
            if _open(path, self._count) is None:
                make_cached(path, write)


def paint_scenes(count: int, start: int = 0) -> Iterator[np.ndarray]:
    """Scenes `start`, `start` + 1, ..., `count` of them; each depends on its number alone. Kinds take turns."""
    textures = _textures(SEED, VERSION)
    kinds = list(KINDS)
    for index in range(start, start + count):
        painter = Painter(np.random.default_rng([SEED, VERSION, index]), textures)
        yield paint_scene(painter, kinds[index % len(kinds)])


@functools.cache
def _textures(seed: int, version: int) -> dict[str, np.ndarray]:
    return make_textures(np.random.default_rng([seed, version]))


def _open(path: Path, count: int) -> np.ndarray | None:
    """The mapped bank, None if it is missing, cut short or something else."""
    try:
        bank = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return bank if bank.shape == (count, HEIGHT, WIDTH, 3) and bank.dtype == np.uint8 else None


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Holds a lock file beside `path`. Where the file system knows no locks, several may work; each still writes a whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "wb") as lock:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
