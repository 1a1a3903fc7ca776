"""Golden values: what unchanged code makes of unchanged input, by the version that must be raised before it may differ.

`tests/golden/values.json` holds them and the versions they were made with; `scripts/regenerate_golden.py` writes it.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from handsynth import generator as generator_module
from handsynth.assets.backgrounds.procedural import scenes
from handsynth.assets.backgrounds.procedural.kinds import KINDS
from handsynth.assets.library import Library, open_library
from handsynth.assets.skins.painter import basis
from handsynth.assets.skins.skin import SkinModel, save_skin
from handsynth.core import conventions
from handsynth.core.hand import load_hand
from handsynth.core.index import canonical_json
from handsynth.core.locations import EMBEDDED
from handsynth.core.sample import PASSES
from handsynth.crowds import open_sampler
from handsynth.recipe import samplers
from handsynth.recipe.spec import SHIPPED, load_spec, parse_spec

GOLDEN = Path(__file__).parent / "golden" / "values.json"

VERSIONS: dict[str, Callable[[], int]] = {
    "GENERATOR_VERSION": lambda: conventions.GENERATOR_VERSION,
    "PAINTER_VERSION": lambda: basis.PAINTER_VERSION,
    "the scenes' VERSION": lambda: scenes.VERSION,
}
"""What is raised on purpose, by the name that messages give it."""

GUARDED = {f"recipes of {name}": "GENERATOR_VERSION" for name in SHIPPED} | {
    "labels": "GENERATOR_VERSION",
    "image": "GENERATOR_VERSION",
    "skin": "PAINTER_VERSION",
    "scenes": "the scenes' VERSION",
}
"""Value -> the version that must be raised when it changes."""

SKIN_TOLERANCE = 0.02
"""Of means over texels and people, in grey levels: the painter's matrix products differ by processor, by 0.001 of it at most."""

SPEC = """
name: golden
samples: 100
image_size: 128
left_fraction: 0.5
hand: embedded
passes: [{passes}]
textures: {folder}/skin.npz
backgrounds: {folder}/images
pose: {{swap_probability: 0.3}}
camera: {{roll_std_deg: 60}}
"""
INDICES = (3, 40, 77)


def compute(folder: Path, names: Iterable[str] = tuple(GUARDED)) -> dict[str, Any]:
    """Some of the values, computed anew; `folder` is empty."""
    names, found = set(names), {}
    if names & {"labels", "image"}:
        found["labels"], found["image"] = drawn(folder)
    if "skin" in names:
        found["skin"] = skin_means()
    if "scenes" in names:
        found["scenes"] = scenes_digest()
    found |= {name: recipes_digest(name.split()[-1]) for name in names if name.startswith("recipes")}
    return found


def recipes_digest(name: str) -> str:
    """Seven recipes, evenly spread, of a shipped spec on the embedded hand and its poses. The same on every machine."""
    spec = load_spec(name)
    library = open_library("embedded", "embedded", "scenes", Path("/nonexistent"), holds=spec.held.probability > 0)
    sampler = open_sampler(spec, library)
    return _sha256(*(canonical_json(sampler.sample(k * spec.samples // 7).to_dict()) for k in range(7)))


def drawn(folder: Path) -> tuple[str, dict[str, str]]:
    """Labels of a few samples, the same on every machine; and their images and passes before encoding, those of a driver.

    The embedded hand in a skin and before backgrounds of small whole numbers, so that nothing of it is a matter of the processor.
    Wrists are bare, so that the pass `amodal` is the mask and needs no golden value.
    """
    library = _plain_assets(folder)
    spec = parse_spec(SPEC.format(folder=folder, passes=", ".join(name for name in PASSES if name != "amodal")), "golden")
    generator = generator_module.Generator(spec, library)
    recipes = samplers.RecipeSampler(spec, library).sample_many(INDICES)
    samples = list(generator.make_samples(recipes))
    kept = [{key: value for key, value in sample.labels.items() if key not in ("dataset", "ambient_used")} for sample in samples]
    labels = _sha256(*(canonical_json(label) for label in kept), *(sample.vertices.tobytes() for sample in samples))
    layers = [array for sample in samples for array in (sample.image, sample.mask, *sample.passes.values())]
    return labels, {"driver": generator.driver, "sha256": _sha256(*(np.ascontiguousarray(layer).tobytes() for layer in layers))}


def _plain_assets(folder: Path) -> Library:
    """A skin and backgrounds that are drawn with a fixed seed."""
    rng, hand, side = np.random.default_rng(0), load_hand(EMBEDDED / "hand.npz"), 64
    (folder / "images").mkdir()
    for number in range(4):
        image = np.repeat(np.repeat(rng.integers(0, 256, (9, 12, 3), np.uint8), 16, 0), 16, 1)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
    texels = np.arange(side * side, dtype=np.int32)
    mean = rng.integers(90, 230, (len(texels), 3)).astype(np.float32)
    components = rng.integers(-8, 9, (3, len(texels), 3)).astype(np.float32)
    skin = SkinModel("golden", "none", side, mean, components, texels, hand.uv.astype(np.float32), hand.uv_faces.astype(np.int32))
    save_skin(folder / "skin.npz", skin)
    return open_library("embedded", str(folder / "skin.npz"), str(folder / "images"), Path("/nonexistent"))


def skin_means() -> list[float]:
    """Means of a small painted skin over sixteen parts of its texels: of its mean and of the size of its components."""
    skin = basis.make_skin(load_hand(EMBEDDED / "hand.npz"), 64, 12, 6)
    layers = [skin.mean, *np.abs(skin.components.astype(np.float64))]
    means = [part.mean(0, dtype=np.float64) for layer in layers for part in np.array_split(layer, 16)]
    return np.round(np.concatenate(means), 4).tolist()


def scenes_digest() -> str:
    """A scene of each kind. The same on every machine."""
    return _sha256(*(scene.tobytes() for scene in scenes.paint_scenes(len(KINDS))))


def _sha256(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d;" % len(part) + part)
    return digest.hexdigest()


def differs(name: str, found: Any, recorded: Any) -> bool:
    """Whether a value is another one. Images of another driver are never compared: see `incomparable`."""
    if name == "skin":
        return len(found) != len(recorded) or bool(np.abs(np.subtract(found, recorded)).max() > SKIN_TOLERANCE)
    if name == "image":
        return not incomparable(found, recorded) and found["sha256"] != recorded["sha256"]
    return found != recorded


def incomparable(found: dict[str, str], recorded: dict[str, str]) -> str:
    """Why the golden image says nothing about this machine's; empty where it does: on one version of llvmpipe and of OpenCV."""
    here, there = (_software(image["driver"]) for image in (found, recorded))
    if "llvmpipe" not in here:
        return f"drawn by {here}, not by llvmpipe"
    return "" if here == there else f"drawn by {here}, the golden image by {there}"


def _software(driver: str) -> str:
    """What of a driver's name decides pixels on a CPU."""
    return "; ".join(re.findall(r"(?:llvmpipe|OpenGL|OpenCV) [^;]*?(?= with|;|$)", driver)) or driver


def read_golden() -> dict[str, Any]:
    """{"versions": ..., "values": ...} as they were recorded."""
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


def versions() -> dict[str, int]:
    """The versions of this code."""
    return {name: read() for name, read in VERSIONS.items()}


def complaint(name: str, found: Any, golden: dict[str, Any]) -> str:
    """What to do about a value that is not the recorded one, or was recorded with another version; empty when all is well."""
    version = GUARDED[name]
    recorded, here = golden["versions"].get(version), versions()[version]
    if recorded != here or name not in golden["values"]:
        return f"the golden {name} were made with {version} {recorded}, this is {here}: run scripts/regenerate_golden.py"
    if differs(name, found, golden["values"][name]):
        return f"{name} changed, and datasets would mix old and new: raise {version}, then run scripts/regenerate_golden.py"
    return ""
