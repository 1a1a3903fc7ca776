"""What tests share: their own cache and no assets of the user's, a tiny world, one renderer of each kind, two datasets."""

import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny import World, make_world
from tiny import handsynth as run_handsynth

from handsynth.assets.library import Library
from handsynth.assets.objects.table import (
    HoldingTable,
    load_table,
)
from handsynth.core.hand import save_hand
from handsynth.core.locations import EMBEDDED, EMBEDDED_HOLDINGS
from handsynth.core.sample import OTHER_PASSES, PASSES
from handsynth.core.toy import toy_hand
from handsynth.generator import Generator, ambient_colors, library_of
from handsynth.recipe.recipe import Recipe
from handsynth.recipe.samplers import RecipeSampler
from handsynth.recipe.spec import DatasetSpec, spec_text
from handsynth.render.layers import View
from handsynth.scene.pose import CameraHands

BUILD = Path(__file__).parents[1] / "build"
ALL_PASSES = tuple(PASSES)


def pytest_configure() -> None:
    """Before any test: painted skins are kept from run to run, and what the user has prepared or set is not seen."""
    # What runs in the background of a script ignores Ctrl-C, and so would every process that tests start.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("HANDSYNTH_CACHE", str(BUILD / "test-cache"))
    os.environ["HANDSYNTH_ASSETS"] = str(BUILD / "no-assets")
    os.environ["MUJOCO_GL"] = "disable"  # nothing is drawn with it, and its EGL asks for a newer PyOpenGL than pyrender's
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"


@dataclass(frozen=True, eq=False)
class Stage:
    """A generator of the toy hand with everything posed for the tests of rendering: 48 recipes, right and left hands."""

    spec: DatasetSpec
    library: Library
    generator: Generator
    recipes: list[Recipe]
    hands: CameraHands
    views: list[View]

    @property
    def closed_faces(self) -> np.ndarray:
        return self.library.hand.closed_faces


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory) -> World:
    """Toy hand, flat skin, a few images."""
    return make_world(tmp_path_factory.mktemp("world") / "tiny")


@pytest.fixture(scope="session")
def stage(tiny_world) -> Stage:
    spec = tiny_world.spec(", ".join(ALL_PASSES), image_size=256, samples=48)
    library = library_of(spec, tiny_world.assets)
    sampler, generator = RecipeSampler(spec, library), Generator(spec, library)
    recipes = [sampler.sample(i) for i in range(spec.samples)]
    hands = generator.poses.pose(recipes, spec.image_size)
    albedos = generator.textures.albedos(np.array([r.alpha for r in recipes]))
    grey = np.full((spec.image_size, spec.image_size, 3), 128, np.uint8)
    ambient = ambient_colors(recipes, [grey] * len(recipes))
    views = generator.scenes.views(recipes, hands, albedos, generator.scenes.arm_albedos(recipes, albedos), ambient)
    return Stage(spec, library, generator, recipes, hands, views)


@pytest.fixture(scope="session")
def pyrender_renderer(stage):
    """Kept for the whole run: deleting any of pyrender's renderers ends EGL for all."""
    from handsynth.render.pyrender_backend import PyrenderRenderer

    return PyrenderRenderer(stage.spec.image_size)


ALONE = {key: {"probability": 0.0} for key in ("held", "second", "occluder")}
"""Keys of a spec whose hands are alone and hold nothing."""


@dataclass(frozen=True)
class Dataset:
    """A dataset made by the command, and the file of its hand, as a user has them."""

    folder: Path
    hand_file: Path


def _make(world: World, name: str, hand_file: Path, samples: int, size: int, *options: object, **more: object) -> Dataset:
    """Of `default`, but for the size of its images and the keys in `more`, with every pass and the mesh beside the hand."""
    out, spec = world.folder / name, world.folder / f"{name}.yaml"
    spec.write_text(yaml.safe_dump(yaml.safe_load(spec_text("default")) | {"image_size": size} | more))
    made = run_handsynth(
        "generate", spec, out, "--samples", samples, "--shard-size", 16, "--passes", ",".join((*ALL_PASSES, *OTHER_PASSES)),
        "--backgrounds", world.images, "--assets", world.assets, *options,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return Dataset(out, hand_file)


@pytest.fixture(scope="session")
def toy_dataset(tiny_world) -> Dataset:
    """48 samples of the toy hand with every pass, in three shards."""
    hand_file = tiny_world.folder / "toy.npz"
    save_hand(hand_file, toy_hand())
    return _make(tiny_world, "toy", hand_file, 48, 256, "--hand", "toy", "--textures", tiny_world.folder / "skin.npz", **ALONE)


@pytest.fixture(scope="session")
def embedded_dataset(tiny_world) -> Dataset:
    """200 samples of the embedded hand in its painted skin, 160 px wide."""
    return _make(tiny_world, "embedded", EMBEDDED / "hand.npz", 200, 160, "--hand", "embedded", "--textures", "embedded", **ALONE)


EVERYTHING = {"held": {"probability": 0.3}, "second": {"probability": 0.6}, "occluder": {"probability": 0.4}}


@pytest.fixture(scope="session")
def together_dataset(tiny_world, holdings) -> Dataset:
    """200 samples of the embedded hand with everything on: held things, second hands, occluders; 128 px wide."""
    options = "--hand", "embedded", "--textures", "embedded"
    return _make(tiny_world, "together", EMBEDDED / "hand.npz", 200, 128, *options, **EVERYTHING)


@pytest.fixture(scope="session")
def holdings() -> HoldingTable:
    """What the poses of the embedded bank hold."""
    return load_table(EMBEDDED_HOLDINGS)


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium that draws WebGL on the processor."""
    from chromium import chromium
    from playwright.sync_api import sync_playwright

    program = chromium()
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        started = playwright.chromium.launch(executable_path=program, args=flags)
        yield started
        started.close()
