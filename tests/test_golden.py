"""Golden values: code that makes other recipes, labels, images, skins or scenes has another version, so that none are mixed."""

import copy
import json
from pathlib import Path
from typing import Any

import golden_values
import numpy as np
import pytest
from golden_values import GUARDED, complaint, incomparable, read_golden
from tiny import load_script

from handsynth import generator as generator_module
from handsynth.assets.backgrounds.procedural import scenes
from handsynth.assets.skins.painter import basis
from handsynth.core import conventions
from handsynth.recipe import clips, crowd_sampler, samplers

SCRIPT = Path(__file__).parents[1] / "scripts" / "regenerate_golden.py"


@pytest.fixture(scope="module")
def values(tmp_path_factory) -> dict[str, Any]:
    return golden_values.compute(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("name", GUARDED)
def test_what_is_made_is_what_was_made_with_this_version(values, name):
    """Each golden value is as recorded, and was recorded with the versions of this code."""
    golden = read_golden()
    if name == "image" and (reason := incomparable(values[name], golden["values"][name])):
        pytest.skip(reason)
    assert complaint(name, values[name], golden) == ""


def test_every_value_is_recorded_with_its_version():
    golden = read_golden()
    assert golden["versions"] == golden_values.versions()
    assert set(golden["values"]) == set(GUARDED)


annotate, paint_population = generator_module.annotate, basis.paint_population

CHANGES: dict[str, tuple[Any, str, Any]] = {
    "recipes of manorender": (samplers, "SWAP_TRIES", 1),
    "recipes of angrender": (samplers, "FRAME_MARGIN_M", 0.0081),
    "recipes of default": (samplers, "DECIMALS", 5),
    "recipes of crowd": (crowd_sampler, "TRIES", 47),
    "recipes of clips": (clips, "PEAK", 1.9),
    "labels": (generator_module, "annotate", lambda *a: [label | {"bbox_xyxy": [0, 0, 128, 128]} for label in annotate(*a)]),
    "image": (generator_module, "mean_light", lambda image: np.array([0.5, 0.5, 0.51])),
    "skin": (basis, "paint_population", lambda hand, size, people: paint_population(hand, size, people + 1)),
    "scenes": (scenes, "SEED", scenes.SEED + 1),
}
"""Value -> a small change of code behind it: module, name and what it is now."""


@pytest.mark.parametrize("name", GUARDED)
def test_a_changed_line_is_noticed_and_names_its_version(monkeypatch, tmp_path, name):
    """Each value follows from the code that it guards, and the message says which version to raise and what to run."""
    golden = read_golden()
    monkeypatch.setattr(*CHANGES[name])
    found = golden_values.compute(tmp_path, [name])
    if name == "image" and (reason := incomparable(found[name], golden["values"][name])):
        pytest.skip(reason)
    assert f"raise {GUARDED[name]}, then run scripts/regenerate_golden.py" in complaint(name, found[name], golden)


def test_a_raised_version_alone_is_not_enough(monkeypatch, values):
    """With another version than they were recorded with, the values must be recorded anew."""
    monkeypatch.setattr(conventions, "GENERATOR_VERSION", conventions.GENERATOR_VERSION + 1)
    for name in ("image", "labels"):
        assert complaint(name, values[name], read_golden()).endswith("run scripts/regenerate_golden.py")


def test_regenerating_takes_a_change_only_with_its_version(monkeypatch, tmp_path, values):
    """`scripts/regenerate_golden.py` writes nothing while a value changed under its old version, and all of it afterwards."""
    script = load_script("regenerate_golden")
    path, changed = tmp_path / "values.json", copy.deepcopy(values) | {"labels": "0" * 64}
    path.write_bytes(golden_values.GOLDEN.read_bytes())
    monkeypatch.setattr(golden_values, "GOLDEN", path)
    monkeypatch.setattr(golden_values, "compute", lambda folder: dict(changed))
    (sentence,) = script.regenerate()
    assert "labels changed" in sentence
    assert "raise GENERATOR_VERSION" in sentence
    assert path.read_bytes() == (Path(__file__).parent / "golden" / "values.json").read_bytes()
    monkeypatch.setattr(conventions, "GENERATOR_VERSION", conventions.GENERATOR_VERSION + 1)
    assert script.regenerate() == []
    golden = read_golden()
    assert golden["values"]["labels"] == "0" * 64
    assert golden["versions"]["GENERATOR_VERSION"] == conventions.GENERATOR_VERSION
    assert all(complaint(name, changed[name], golden) == "" for name in GUARDED)
    before = path.read_bytes()
    golden["values"]["of old"] = golden["values"].pop("scenes")
    path.write_text(json.dumps(golden))
    assert script.regenerate() == []  # what is new is added, what is gone goes
    assert path.read_bytes() == before


def test_images_of_other_software_are_not_compared():
    """The reason for a skip names both; one version of llvmpipe and OpenCV is compared whatever the other libraries."""
    mesa = "handsynth's shaders 3; moderngl 5.12; llvmpipe (LLVM 15.0.6, 256 bits); OpenGL 4.5 (Core Profile) Mesa 22.3.6"
    codec = "; simplejpeg 1.9.0; OpenCV 5.0.0 with libpng 1.6.58, zlib 1.2.11"
    here = {"driver": mesa + codec, "sha256": ""}
    assert incomparable(here, here) == ""
    assert (
        incomparable({"driver": (mesa + codec).replace("1.9.0", "2.0").replace("1.6.58", "1.7").replace("5.12", "6")}, here) == ""
    )
    for old, new in (("22.3.6", "23.1"), ("256 bits", "512 bits"), ("OpenCV 5.0.0", "OpenCV 5.0.1")):
        other = {"driver": (mesa + codec).replace(old, new)}
        assert new in incomparable(other, here)
        assert new in incomparable(here, other)
    assert "not by llvmpipe" in incomparable({"driver": "NVIDIA H100; OpenGL 4.6"}, here)
