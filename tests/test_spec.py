"""Specs: what ships, what its axes count, how YAML becomes a spec, and what the identity of a dataset follows from."""

import dataclasses
import json
import math
from typing import Any

import pytest

from handsynth.core.errors import UsageError
from handsynth.recipe.spec import (
    SHIPPED,
    DatasetSpec,
    dataset_identity,
    grid_axes,
    load_spec,
    parse_spec,
    spec_capacity,
    spec_from_dict,
    spec_text,
    spec_to_dict,
)

ASSETS = {"hand": "a", "poses": "b", "skin": "c", "backgrounds": "d"}
PATHS = ("hand", "textures", "backgrounds", "annotations")
"""Keys that say where assets come from; what they lead to counts, they do not."""


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_specs_load_and_survive_json(name):
    """A shipped spec, as a dictionary in JSON and back, is the same spec."""
    spec = load_spec(name)
    assert spec.name == name
    assert spec_from_dict(json.loads(json.dumps(spec_to_dict(spec))), "there and back") == spec


@pytest.mark.parametrize(("name", "axes"), [("manorender", (895, 64)), ("angrender", (31, 72, 32))])
def test_counts_follow_from_the_axes(name, axes):
    """The paper's counts are the product of the spec's axes, and a spec that says another count is refused."""
    spec, product = load_spec(name), 1
    for axis in axes:
        product *= axis
    assert spec.samples == spec_capacity(spec) == product
    if spec.camera.order == "grid":
        elevations, azimuths = grid_axes(spec.camera)
        assert (len(elevations), len(azimuths), spec.camera.draws) == axes
        assert elevations == list(range(-60, 91, 5))
        assert azimuths == list(range(0, 360, 5))
    with pytest.raises(UsageError, match=str(product)):
        dataclasses.replace(spec, samples=spec.samples - 1)


def test_orders_that_count_differently_are_refused():
    """A bank of poses and a grid of cameras number the samples in two ways: not both at once."""
    text = "name: x\nsamples: 10\npose: {order: bank, bank_poses: 5, draws: 2}\ncamera: {order: grid, draws: 1}"
    with pytest.raises(UsageError, match="count differently"):
        parse_spec(text, "spec")


@pytest.mark.parametrize("step", ["1.0e-9", "0.001", "0", "-5"])
def test_a_grid_too_fine_to_list_is_refused_at_once(step):
    """A step that would make millions of positions is refused before a list of them is made."""
    with pytest.raises(UsageError, match="step_deg"):
        parse_spec(f"name: x\nsamples: 10\ncamera: {{order: grid, step_deg: {step}}}", "spec")


def test_an_unknown_spec_names_the_known_ones():
    with pytest.raises(UsageError, match=r"manorender, angrender, default.*did you mean 'angrender'"):
        load_spec("angrendr")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nsamples: 1\ncolour: red", "unknown key 'colour'.*known here: name, samples, seed"),
        ("name: x\nsamples: 1\nimagesize: 64", "did you mean image_size"),
        ("name: x\nsamples: 1\ncamera: {distanse_m: [1, 2]}", "'camera.distanse_m'.*did you mean camera.distance_m.*elevation_deg"),
        ("samples: 1", "key name is missing"),
        ("name: x\nsamples: many", "samples must be a whole number, found 'many'"),
        ("name: x\nsamples: 1.5", "samples must be a whole number"),
        ("name: x\nsamples: true", "samples must be a whole number"),
        ("name: x\nsamples: 1\nbackground: {flip: 1}", "background.flip must be true or false"),
        ("name: x\nsamples: 1\nbeta_std: .nan", "beta_std must be a finite number"),
        ("name: x\nsamples: 1\nbeta_std: .inf", "beta_std must be a finite number"),
        ("name: x\nsamples: 1\nbeta_std: 1" + "0" * 400, "beta_std must be a finite number"),
        ("name: x\nsamples: 1\nsensor: {noise: 0.1}", "sensor.noise must be a list"),
        ("name: x\nsamples: 1\nsensor: {noise: [0, 0.1, 0.2]}", "sensor.noise must be a list of 2"),
        ("name: x\nsamples: 1\nsensor: {noise: [0.1, 0.0]}", "noise must go from the lower to the higher"),
        ("name: x\nsamples: 1\ncamera: [1, 2]", "camera must be a mapping"),
        ("name: x\nsamples: 0", "samples must be between 1"),
        ("name: x\nsamples: 1\nimage_size: 100000", "image_size must be between 32 and 2048"),
        ("name: ../x\nsamples: 1", "name must be letters"),
        ("name: x\nsamples: 1\npasses: [depth, smell]", "passes must be among depth, parts, normal, uv"),
        ("name: x\nsamples: 1\npasses: [depth, depth]", "free of repetitions"),
        ("name: x\nsamples: 1\nseed: -1", "seed must be a whole number from 0"),
        ("name: x\nsamples: 1\nname: y", "'name' stands there twice"),
        ("name: x\nsamples: 1\ncamera: {offset: 0}\ncamera: {fill: [0.5, 0.6]}", "'camera' stands there twice"),
        ("- name\n- samples", "not a mapping"),
        ("", "not a mapping"),
        ("name: [", "is not YAML"),
        ("name: x\n\tsamples: 1", "is not YAML"),
        ("name: !!python/object/apply:os.system ['echo hello']\nsamples: 1", "is not YAML"),
        ("name: " + "[" * 5000, "more than 8 levels"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nname: *b", "aliases"),
        ("name: x\n" * 10_000, "longer than 65,536 characters"),
    ],
)  # fmt: skip
def test_bad_yaml_gets_one_sentence(text, message):
    """Each fault of a spec raises UsageError in one line that names the source and the fault."""
    with pytest.raises(UsageError, match=message) as raised:
        parse_spec(text, "spec mine.yaml")
    assert str(raised.value).startswith("spec")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_minus_zero_is_zero():
    """Written either way it is one spec, of one identity, and numpy may draw with it."""
    text = "name: x\nsamples: 1\nbeta_std: {0}\nsensor: {{noise: [0.0, {0}]}}"
    specs = [parse_spec(text.format(zero), "spec") for zero in ("0.0", "-0.0")]
    assert [math.copysign(1, spec.beta_std) for spec in specs] == [1, 1]
    assert len({dataset_identity(spec, {}) for spec in specs}) == 1


def _changed(value: Any) -> Any:
    """Another value of the same type that every bound allows."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return {"random": "grid", "moderngl": "pyrender"}.get(value, value + "x")
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value + 1 if value > 1 else value * 0.5 + 0.125
    if value == ():
        return ("depth",)
    return (value[0], value[0] + (value[1] - value[0]) * 0.5 if isinstance(value[1], float) else value[1] - 1)


def _leaves(spec: DatasetSpec) -> list[str]:
    names = []
    for f in dataclasses.fields(spec):
        value = getattr(spec, f.name)
        if dataclasses.is_dataclass(value):
            names += [f"{f.name}.{g.name}" for g in dataclasses.fields(value)]
        else:
            names.append(f.name)
    return names


@pytest.mark.parametrize("key", [key for key in _leaves(load_spec("default")) if key not in PATHS])
def test_identity_changes_with_every_field(key):
    """Every field that may change a pixel or a label changes the identity."""
    values = json.loads(json.dumps(spec_to_dict(load_spec("default"))))
    before = dataset_identity(spec_from_dict(values, "spec"), ASSETS)
    group, _, leaf = key.rpartition(".")
    owner = values[group] if group else values
    was = owner[leaf]
    owner[leaf] = _changed(tuple(was) if isinstance(was, list) else was)
    assert owner[leaf] != was
    if key in ("pose.order", "camera.order"):
        owner[leaf] = {"pose": "bank", "camera": "grid"}[group]
        values["samples"] = 895 * 64 if group == "pose" else 37 * 72 * 32
    assert dataset_identity(spec_from_dict(values, "spec"), ASSETS) != before


def test_identity_changes_with_assets_and_not_with_paths():
    """What a path leads to counts, the path does not."""
    spec = load_spec("default")
    identity = dataset_identity(spec, ASSETS)
    elsewhere = dataclasses.replace(spec, hand="/a/hand.npz", textures="/b/skin.npz", backgrounds="/c/images")
    assert dataset_identity(elsewhere, ASSETS) == identity
    assert all(dataset_identity(spec, ASSETS | {name: "other"}) != identity for name in ASSETS)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_text_is_the_spec(name):
    """The text that `plan --yaml` prints to be copied gives the very same dataset."""
    assert parse_spec(spec_text(name), "copy") == load_spec(name)
