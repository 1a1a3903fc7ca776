"""A tiny world for tests of generation: toy hand, a small skin, a few images and a small spec; nothing is painted or fetched."""

import dataclasses
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from handsynth.assets.skins.skin import SkinModel, save_skin
from handsynth.core.hand import HandModel
from handsynth.core.index import read_index
from handsynth.core.sample import decode_labels
from handsynth.core.shard import Members, read_shard, shard_name
from handsynth.core.toy import toy_hand
from handsynth.dataset.generate import RunConfig, generate
from handsynth.dataset.selection import Selection
from handsynth.recipe.spec import DatasetSpec, parse_spec

SPEC = """
name: tiny
samples: 40
image_size: 64
shard_size: 4
left_fraction: 0.5
hand: toy
textures: {textures}
backgrounds: {backgrounds}
passes: [{passes}]
pose:
  swap_probability: 0.3
"""


@dataclass(frozen=True)
class World:
    """A folder with everything that a small dataset needs."""

    folder: Path

    @property
    def spec_path(self) -> Path:
        return self.folder / "tiny.yaml"

    @property
    def assets(self) -> Path:
        """No prepared asset lies here."""
        return self.folder / "assets"

    @property
    def images(self) -> Path:
        return self.folder / "images"

    def spec(self, passes: str = "", **changes: Any) -> DatasetSpec:
        text = SPEC.format(textures=self.folder / "skin.npz", backgrounds=self.images, passes=passes)
        for key, value in changes.items():
            text = "\n".join(line for line in text.splitlines() if not line.startswith(f"{key}:")) + f"\n{key}: {value}\n"
        return parse_spec(text, "tiny")

    def generate(
        self, out: Path, selection: str | None = "0:12", *, passes: str = "", run: RunConfig | None = None, **changes: Any
    ):
        """Makes the tiny dataset, or a part of it, in this process."""
        return generate(self.spec(passes, **changes), out, Selection(slice_text=selection), run or RunConfig(), self.assets)


def make_world(folder: Path) -> World:
    """Writes skin, images and spec into `folder`."""
    rng = np.random.default_rng(0)
    hand, size = toy_hand(), 16
    skin = SkinModel(
        name="flat",
        licence="test",
        size=size,
        mean=np.tile(np.array([[200, 150, 130]], np.float32), (size * size, 1)),
        components=rng.normal(0, 8, (3, size * size, 3)).astype(np.float32),
        texels=np.arange(size * size, dtype=np.int32),
        uv=hand.uv,
        uv_faces=hand.uv_faces,
    )
    world = World(folder)
    world.images.mkdir(parents=True)
    world.assets.mkdir()
    save_skin(folder / "skin.npz", skin)
    for k in range(4):
        cv2.imwrite(str(world.images / f"image{k}.png"), rng.integers(0, 256, (48 + 8 * k, 60, 3), np.uint8))
    world.spec_path.write_text(SPEC.format(textures=folder / "skin.npz", backgrounds=world.images, passes=""))
    return world


def odd_wrists() -> dict[str, HandModel]:
    """Toy hands that no forearm fits: without a hole, with two, and with a rim that folds back."""
    hand = toy_hand()
    rim, cap = hand.rim, hand.closed_faces[len(hand.faces) :]
    faces = np.concatenate([hand.faces, cap])
    corner_of = np.zeros(hand.num_vertices, int)
    corner_of[hand.faces.ravel()] = hand.uv_faces.ravel()
    uv_faces = np.concatenate([hand.uv_faces, corner_of[cap].astype(np.int32)])
    folded = hand.v_template.copy()
    folded[rim[[0, 1]]] = folded[rim[[1, 0]]]
    return {
        "closed": dataclasses.replace(hand, faces=faces, uv_faces=uv_faces),
        "two holes": dataclasses.replace(hand, faces=hand.faces[:-1], uv_faces=hand.uv_faces[:-1]),
        "folded": dataclasses.replace(hand, v_template=folded),
    }


def handsynth(*arguments: object, env: dict[str, str] | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command as a user would, in a process of its own."""
    command = [sys.executable, "-m", "handsynth", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=cwd, timeout=300, check=False)


def dataset_bytes(out: Path) -> dict[str, bytes]:
    """Every visible file of a dataset."""
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file() and not path.name.startswith(".")}


def labelled_samples(out: Path) -> Iterator[tuple[int, Members, dict[str, Any]]]:
    """Number, members and labels of each sample of a dataset."""
    index = read_index(out)
    for number in range(len(index["shards"])):
        for key, members in read_shard(out / shard_name(number)):
            yield key, members, decode_labels(members, str(key), index)


def load_script(name: str) -> ModuleType:
    """A script of the folder scripts, as a module of its own."""
    specification = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "scripts" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module
