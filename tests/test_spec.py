"""Specs: what ships, what its axes count, how YAML becomes a spec, and what the identity of a dataset follows from."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handsynth.core.conventions import CLOTHING, GENERATOR_VERSION, SCHEMA
from handsynth.core.errors import UsageError
from handsynth.recipe import spec as spec_module
from handsynth.recipe.spec import (
    SENSOR_EFFECTS,
    SHIPPED,
    CameraSpec,
    DatasetSpec,
    dataset_identity,
    grid_axes,
    load_spec,
    parse_spec,
    recorded_identity,
    spec_capacity,
    spec_from_dict,
    spec_text,
    spec_to_dict,
)

ASSETS = {"hand": "a", "poses": "b", "skin": "c", "backgrounds": "d"}
PATHS = ("hand", "textures", "backgrounds", "annotations", "environments", "objects")
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


def _grid(step: float, azimuth: tuple[float, float] = (0.0, 360.0), elevation: tuple[float, float] = (-90.0, 90.0)) -> CameraSpec:
    return CameraSpec(order="grid", step_deg=step, azimuth_deg=azimuth, elevation_deg=elevation)


@pytest.mark.parametrize("start", [0, -180, 0.1, 17.3])
def test_a_step_that_divides_the_circle_closes_it(start):
    """360 / n, however it was rounded when it was written, gives n azimuths that are evenly spread, none of them twice."""
    for count in (*range(1, 400), *range(400, 3600, 41), 3600):
        for digits in (6, 12):
            step = round(360 / count, digits)
            if step >= 0.1:
                azimuths = grid_axes(_grid(step, (start, start + 360)))[1]
                assert len(azimuths) == count, step
                assert azimuths[0] == start
                np.testing.assert_allclose(np.diff([*azimuths, start + 360]), 360 / count, atol=2e-6)


@pytest.mark.parametrize("step", [0.3, 0.6, 1.2, 2.4, 4.8])
def test_a_decimal_step_is_kept_to_the_digit(step):
    """No 359.99999 and no 0.30000000000000004: what a person writes is what a recipe holds."""
    azimuths = grid_axes(_grid(step))[1]
    assert azimuths == [round(k * step, 6) for k in range(round(360 / step))]
    assert azimuths[-1] < 360


def test_elevations_hold_both_limits_when_the_step_divides_them():
    """-90 and 90 are both seen for 180 / n; else the last elevation is the last whole step."""
    for count in range(1, 1801):
        elevations = grid_axes(_grid(180 / count))[0]
        assert (len(elevations), elevations[0], elevations[-1]) == (count + 1, -90, 90)
    assert grid_axes(_grid(70))[0] == [-90, -20, 50]
    assert grid_axes(_grid(5, elevation=(30, 30)))[0] == [30]


def test_a_step_that_does_not_divide_the_circle_is_kept_and_named():
    """Whole steps from the lower limit on, the last one short of the upper limit; the message on the count says by how much."""
    assert grid_axes(_grid(100))[1] == [0, 100, 200, 300]
    assert grid_axes(_grid(7))[1] == [7 * k for k in range(52)]
    assert grid_axes(_grid(400))[1] == grid_axes(_grid(5, (0, 0)))[1] == [0]
    text = "name: x\nsamples: 5\ncamera: {order: grid, step_deg: 7, draws: 2}"
    with pytest.raises(
        UsageError, match=r"2704 \(26 elevations x 52 azimuths x 2 draws; steps of 7 degrees end 3 before azimuth 360\)"
    ):
        parse_spec(text, "spec")


def test_a_grid_of_more_than_a_turn_is_refused():
    """Its azimuths would show the same views twice; drawn at random they may go round as often as they like."""
    camera = "azimuth_deg: [-360, 360]"
    with pytest.raises(UsageError, match=r"camera\.azimuth_deg must be one turn at most"):
        parse_spec(f"name: x\nsamples: 5\ncamera: {{order: grid, {camera}}}", "spec")
    assert parse_spec(f"name: x\nsamples: 5\ncamera: {{{camera}}}", "spec").camera.azimuth_deg == (-360, 360)


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
        ("name: x\nsamples: 1\npasses: [depth, smell]", "passes must be among depth, parts, normal, uv, amodal"),
        ("name: x\nsamples: 1\npasses: [depth, depth]", "free of repetitions"),
        ("name: x\nsamples: 1\narm: {probability: 1.5}", "arm.probability must be between 0 and 1, found 1.5"),
        ("name: x\nsamples: 1\narm: {probability: -0.1}", "arm.probability must be between 0 and 1"),
        ("name: x\nsamples: 1\narm: {probability: .nan}", "arm.probability must be a finite number"),
        ("name: x\nsamples: 1\narm: {probability: often}", "arm.probability must be a finite number"),
        ("name: x\nsamples: 1\narm: {flexion_mean_deg: 90}", "arm.flexion_mean_deg must be between -70 and 70"),
        ("name: x\nsamples: 1\narm: {deviation_mean_deg: -30}", "arm.deviation_mean_deg must be between -30 and 20"),
        ("name: x\nsamples: 1\narm: {twist_std_deg: -1}", "arm.twist_std_deg must be between 0 and 90"),
        ("name: x\nsamples: 1\narm: {hair: [0, 2]}", "arm.hair must be within 0 and 1"),
        ("name: x\nsamples: 1\narm: {veins: [0.5, 0.1]}", "veins must go from the lower to the higher"),
        ("name: x\nsamples: 1\narm: {girth_std: 1}", "arm.girth_std must be between 0 and 0.5"),
        ("name: x\nsamples: 1\narm: true", "arm must be a mapping"),
        ("name: x\nsamples: 1\nwear: {rings: 1.5}", "wear.rings must be between 0 and 1, found 1.5"),
        ("name: x\nsamples: 1\nwear: {varnish: -0.1}", "wear.varnish must be between 0 and 1"),
        ("name: x\nsamples: 1\nwear: {glove: .inf}", "wear.glove must be a finite number"),
        ("name: x\nsamples: 1\nwear: {ring: 0.5}", "unknown key 'wear.ring'.*did you mean wear.rings"),
        ("name: x\nsamples: 1\nwear: often", "wear must be a mapping"),
        ("name: x\nsamples: 1\nwear: {sleeve: 1}", "wear.sleeve takes a forearm: set arm.probability above 0, or wear.sleeve to 0"),
        ("name: x\nsamples: 1\nwear: {watch: 0.5}", "wear.watch takes a forearm"),
        ("name: x\nsamples: 1\narm: {probability: 0}\nwear: {bracelet: 1}", "wear.bracelet takes a forearm"),
        ("name: x\nsamples: 1\nsensor: {vignetting_probability: 1.1}", "sensor.vignetting_probability must be between 0 and 1"),
        ("name: x\nsamples: 1\nsensor: {vignetting: [0, 1]}", "sensor.vignetting must be within 0 and 0.9"),
        ("name: x\nsamples: 1\nsensor: {background_defocus_px: [0, 3]}", "background_defocus_px must be within 0"),
        ("name: x\nsamples: 1\nsensor: {hand_defocus_px: [1, 30]}", r"sensor.hand_defocus_px must be within 0 \(excluded\) and 20"),
        (
            "name: x\nsamples: 1\nsensor: {hand_defocus_probability: 0.6, background_defocus_probability: 0.5}",
            "sensor.hand_defocus_probability must be at most 1 together with background_defocus_probability",
        ),
        ("name: x\nsamples: 1\nsensor: {source_scale: [0.3, 1]}", "sensor.source_scale must be within 0.5 and 1"),
        ("name: x\nsamples: 1\nsensor: {read_noise: [0, 1]}", "sensor.read_noise must be within 0 and 0.1"),
        ("name: x\nsamples: 1\nsensor: {fine_chroma_probability: -1}", "sensor.fine_chroma_probability must be between 0 and 1"),
        ("name: x\nsamples: 1\nmotion: {probability: 2}", "motion.probability must be between 0 and 1"),
        ("name: x\nsamples: 1\nmotion: {camera_share: .nan}", "motion.camera_share must be a finite number"),
        ("name: x\nsamples: 1\nmotion: {shift_m: [0, 8]}", "motion.shift_m must be within 0 and 0.5 metres"),
        ("name: x\nsamples: 1\nmotion: {turn_deg: [5, 1]}", "turn_deg must go from the lower to the higher"),
        ("name: x\nsamples: 1\nmotion: {shake_deg: [-1, 1]}", "motion.shake_deg must be within 0 and 10 degrees"),
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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_spec_is_utf_8_whatever_the_locale(tmp_path, encoding):
    """Comments and paths in any script are read in the C locale too, with the mark of Windows' editors or without."""
    (tmp_path / "mine.yaml").write_text("name: x\nsamples: 5\nbackgrounds: gr\u00f6\u00dfe \u624b  # \u624b\n", encoding=encoding)
    code = "import sys; from handsynth.recipe.spec import load_spec; print(ascii(load_spec(sys.argv[1]).backgrounds))"
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHONUTF8"))}
    found = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "mine.yaml"], env=plain | {"LC_ALL": "C", "PYTHONUTF8": "0"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == ascii(str(tmp_path / "gr\u00f6\u00dfe \u624b"))


@pytest.mark.parametrize("data", ["name: \u00e9".encode("latin-1"), "name: x".encode("utf-16"), b"\xff"])
def test_text_in_another_encoding_is_one_sentence(tmp_path, data):
    path = tmp_path / "mine.yaml"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"mine\.yaml is not UTF-8 text \(byte \d+\): save it as UTF-8"):
        load_spec(str(path))


@pytest.mark.parametrize("name", ["missing.yaml", ".", "a\0b.yaml"])
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"spec .* cannot be read"):
        load_spec(name)


def test_relative_paths_mean_the_folder_of_the_file(tmp_path, monkeypatch):
    """Wherever the command runs: what a YAML file names lies beside it; words and absolute paths stay."""
    (tmp_path / "specs").mkdir()
    path = tmp_path / "specs" / "mine.yaml"
    path.write_text("name: x\nsamples: 5\nhand: my/hand.npz\ntextures: ../skin.npz\nbackgrounds: images\nannotations: a.json")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for here, name in ((tmp_path, "specs/mine.yaml"), (tmp_path / "specs", "mine.yaml"), (Path("/"), str(path))):
        monkeypatch.chdir(here)
        spec = load_spec(name)
        assert (Path(spec.hand), Path(spec.backgrounds)) == (tmp_path / "specs/my/hand.npz", tmp_path / "specs/images")
        assert Path(spec.textures).resolve() == tmp_path / "skin.npz"
        assert Path(spec.annotations) == tmp_path / "specs/a.json"
    path.write_text("name: x\nsamples: 5\nhand: mano\ntextures: html\nbackgrounds: ~/images")
    assert [getattr(load_spec(str(path)), key) for key in PATHS] == [
        "mano", "html", str(tmp_path / "home/images"), "auto", "none", "shapes",
    ]  # fmt: skip
    path.write_text("name: x\nsamples: 5\nbackgrounds: /data/images\nannotations: none")
    assert [getattr(load_spec(str(path)), key) for key in PATHS] == [
        "auto", "auto", "/data/images", "none", "none", "shapes",
    ]  # fmt: skip


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
        return value + 1 if value > 1 else value * 0.5 + 0.13
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
    group, _, leaf = key.rpartition(".")
    values = json.loads(json.dumps(spec_to_dict(load_spec({"crowd": "crowd", "sequence": "clips"}.get(group, "default")))))
    if group in ("second", "occluder"):
        values[group]["probability"] = 0.1  # what is never drawn decides nothing
    before = dataset_identity(spec_from_dict(values, "spec"), ASSETS)
    owner = values[group] if group else values
    was = owner[leaf]
    owner[leaf] = _changed(tuple(was) if isinstance(was, list) else was)
    assert owner[leaf] != was
    if key in ("pose.order", "camera.order"):
        owner[leaf] = {"pose": "bank", "camera": "grid"}[group]
        values["samples"] = 895 * 64 if group == "pose" else 37 * 72 * 32
    if key == "sequence.frames":
        owner[leaf] = 15  # of which there are a whole number
    if key == "light.ambient_order":
        owner[leaf] = 0
    if key == "crowd.height":
        owner[leaf] = was + 2
    assert dataset_identity(spec_from_dict(values, "spec"), ASSETS) != before


def test_crowds_that_are_never_drawn_are_no_part_of_the_identity():
    """Where images show one hand each, what a crowd would be changes nothing, and an index without `crowd` means the same."""
    spec = load_spec("default")
    other = dataclasses.replace(spec, crowd=dataclasses.replace(spec.crowd, empty=0.5, height=300))
    assert dataset_identity(other, ASSETS) == dataset_identity(spec, ASSETS)
    values = spec_to_dict(spec)
    del values["crowd"]
    code = {"schema": SCHEMA, "generator_version": GENERATOR_VERSION, "assets": ASSETS}
    assert recorded_identity(code | {"spec": values}) == dataset_identity(spec, ASSETS)


CROWD = "name: x\nsamples: 9\nimage_size: 96\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("crowd: {hands: [1, 9]}", r"crowd\.hands must be within 0 and 8, found \(1, 9\)"),
        ("crowd: {hands: [0, 3], height: 72}", r"crowd\.hands must be within 1 and 8 .*crowd\.empty"),
        ("crowd: {hands: [1, 4], height: 72, size: [0.7, 0.9]}", r"4 hands of 70 % .* do not fit into 96 x 72 pixels: give fewer"),
        ("crowd: {hands: [1, 4], height: 100}", r"crowd\.height must be between half of image_size, 96, and all of it"),
        ("crowd: {hands: [1, 4], height: 71}", r"crowd\.height must be even, as image_size is"),
        ("crowd: {hands: [1, 4], height: 72}\npasses: [depth]", r"passes must be empty: crowds have none"),
        ("crowd: {hands: [1, 4], height: 72}\ncamera: {order: grid}", r"camera\.order must be random"),
        ("crowd: {hands: [1, 4], height: 72}\npose: {order: bank}", r"pose\.order must be random"),
        ("crowd: {hands: [1, 4], height: 72, empty: 1.5}", r"crowd\.empty must be between 0 and 1"),
        ("crowd: {hands: [1, 4], height: 72, size: [0.01, 0.9]}", r"crowd\.size must be within 0\.05 and 1"),
        ("crowd: {hands: [4, 1], height: 72}", r"hands must go from the lower to the higher value"),
    ],
)
def test_crowds_that_no_image_holds_are_refused(text, sentence):
    """One sentence names the key, and says what it may be."""
    with pytest.raises(UsageError, match=sentence) as error:
        parse_spec(CROWD + text, "spec")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["manorender", "angrender"])
def test_a_forearm_that_is_never_drawn_is_no_part_of_the_identity(name):
    """The paper's specs have bare wrists: what an arm would be changes nothing, and an index without `arm` means the same."""
    spec = load_spec(name)
    assert spec.arm.probability == 0
    assert load_spec("default").arm.probability == 0.9
    other = dataclasses.replace(spec, arm=dataclasses.replace(spec.arm, girth_std=0.1, hair=(0.0, 0.1)))
    assert dataset_identity(other, ASSETS) == dataset_identity(spec, ASSETS)
    drawn = dataclasses.replace(spec, arm=dataclasses.replace(spec.arm, probability=1e-6))
    assert dataset_identity(drawn, ASSETS) != dataset_identity(spec, ASSETS)
    values = {key: value for key, value in json.loads(json.dumps(spec_to_dict(spec))).items() if key != "arm"}
    index = {"schema": spec_module.SCHEMA, "generator_version": spec_module.GENERATOR_VERSION, "assets": ASSETS, "spec": values}
    assert recorded_identity(index) == dataset_identity(spec, ASSETS)


@pytest.mark.parametrize("name", ["manorender", "angrender"])
def test_clothing_that_no_one_wears_is_no_part_of_the_identity(name):
    """The paper's hands are bare, and an index without `wear` means the same; each probability of its own is part of it."""
    spec = load_spec(name)
    assert not any(vars(spec.wear).values())
    assert set(vars(load_spec("default").wear)) == set(CLOTHING)
    assert all(probability > 0 for probability in vars(load_spec("default").wear).values())
    values = {key: value for key, value in json.loads(json.dumps(spec_to_dict(spec))).items() if key != "wear"}
    index = {"schema": spec_module.SCHEMA, "generator_version": spec_module.GENERATOR_VERSION, "assets": ASSETS, "spec": values}
    assert recorded_identity(index) == dataset_identity(spec, ASSETS)
    worn = [dataclasses.replace(spec, wear=dataclasses.replace(spec.wear, **{key: 1e-6})) for key in ("rings", "varnish", "glove")]
    assert len({dataset_identity(other, ASSETS) for other in (spec, *worn)}) == 4


@pytest.mark.parametrize("name", ["manorender", "angrender"])
def test_a_camera_that_does_nothing_is_no_part_of_the_identity(name):
    """The paper's specs turn no effect on: how strong one would be changes nothing, and an index without the keys is the same."""
    spec = load_spec(name)
    assert not any(getattr(spec.sensor, key) for key in SENSOR_EFFECTS)
    assert spec.motion.probability == 0
    assert all(getattr(load_spec("default").sensor, key) > 0 for key in SENSOR_EFFECTS)
    for effect, keys in SENSOR_EFFECTS.items():
        upper = {key: (getattr(spec.sensor, key)[1],) * 2 for key in keys}
        other = dataclasses.replace(spec, sensor=dataclasses.replace(spec.sensor, **upper))
        assert dataset_identity(other, ASSETS) == dataset_identity(spec, ASSETS)
        drawn = dataclasses.replace(spec, sensor=dataclasses.replace(spec.sensor, **{effect: 1e-6}))
        assert dataset_identity(drawn, ASSETS) != dataset_identity(spec, ASSETS)
    other = dataclasses.replace(spec, motion=dataclasses.replace(spec.motion, shift_m=(0.1, 0.2)))
    assert dataset_identity(other, ASSETS) == dataset_identity(spec, ASSETS)
    moving = dataclasses.replace(spec, motion=dataclasses.replace(spec.motion, probability=1e-6))
    assert dataset_identity(moving, ASSETS) != dataset_identity(spec, ASSETS)
    values = json.loads(json.dumps(spec_to_dict(spec)))
    del values["motion"]
    for effect, keys in SENSOR_EFFECTS.items():
        for key in (effect, *keys):
            del values["sensor"][key]
    index = {"schema": spec_module.SCHEMA, "generator_version": spec_module.GENERATOR_VERSION, "assets": ASSETS, "spec": values}
    assert recorded_identity(index) == dataset_identity(spec, ASSETS)


def test_identity_changes_with_assets_and_not_with_paths():
    """What a path leads to counts, the path does not."""
    spec = load_spec("default")
    identity = dataset_identity(spec, ASSETS)
    elsewhere = dataclasses.replace(spec, hand="/a/hand.npz", textures="/b/skin.npz", backgrounds="/c/images")
    assert dataset_identity(elsewhere, ASSETS) == identity
    assert all(dataset_identity(spec, ASSETS | {name: "other"}) != identity for name in ASSETS)


def test_identity_changes_with_the_code_and_the_schema(monkeypatch):
    """A dataset that other code began is another dataset; the index records all that its identity follows from."""
    spec, found = load_spec("default"), []
    for name, value in (("GENERATOR_VERSION", GENERATOR_VERSION), ("GENERATOR_VERSION", 999), ("SCHEMA", "handsynth/999")):
        monkeypatch.setattr(spec_module, name, value)
        found.append(dataset_identity(spec, ASSETS))
        index = {"schema": spec_module.SCHEMA, "generator_version": spec_module.GENERATOR_VERSION, "assets": ASSETS}
        assert recorded_identity(index | {"spec": json.loads(json.dumps(spec_to_dict(spec)))}) == found[-1]
    assert len(set(found)) == 3


FIRST_DEFAULT = """
{"alpha_std": 1.0, "background": {"flip": true, "scale": [0.45, 1.0]}, "backgrounds": "scenes", "beta_std": 1.0,
"camera": {"azimuth_deg": [0.0, 360.0], "distance_m": [0.35, 1.2], "draws": 32, "elevation_deg": [-90.0, 90.0],
"fill": [0.45, 0.9], "offset": 0.8, "order": "random", "roll_std_deg": 60.0, "step_deg": 5.0}, "exclude_no_derivatives": false,
"hand": "auto", "image_size": 256, "left_fraction": 0.5, "light": {"ambient": [0.25, 0.6], "background_tint": [0.2, 0.8],
"count": [1, 3], "fill_intensity": [0.1, 0.6], "key_intensity": [0.6, 1.3], "temperature_k": [3000.0, 7500.0],
"total": [1.0, 1.9]}, "name": "default", "passes": [], "pose": {"bank_poses": 895, "draws": 64, "order": "random",
"swap_probability": 0.3}, "renderer": "moderngl", "samples": 100000, "seed": 0, "sensor": {"blur_probability": 0.6,
"blur_px": [0.35, 0.8], "exposure_stops": [-0.3, 0.3], "jpeg_quality": [88, 97], "noise": [0.0, 0.012], "white_balance": 0.06},
"shard_size": 512, "textures": "auto"}
"""
"""The default spec as an index of schema handsynth/1 records it."""


def test_identities_of_the_first_schema_are_those_of_its_time():
    """What handsynth 0.1 wrote of its default spec still follows from what its index records."""
    assert recorded_identity({"schema": "handsynth/1", "spec": json.loads(FIRST_DEFAULT), "assets": ASSETS}) == (
        "a8da23a7b9f5504b28d4aa02fc7c68d8af9e833f0b1a4d5f625c7066adf5b6ad"
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_text_is_the_spec(name):
    """The text that `plan --yaml` prints to be copied gives the very same dataset."""
    assert parse_spec(spec_text(name), "copy") == load_spec(name)
