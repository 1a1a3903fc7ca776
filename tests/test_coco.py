"""COCO as backgrounds, on a tiny folder of COCO's own structure."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import handsynth

from handsynth.assets.backgrounds import annotations as module
from handsynth.assets.backgrounds.coco import CocoFolder
from handsynth.assets.backgrounds.open import open_backgrounds
from handsynth.core.errors import AssetError, UsageError
from handsynth.dataset.replay import Here, replay

LICENCES = [
    {"url": "http://creativecommons.org/licenses/by-nc-sa/2.0/", "id": 1, "name": "Attribution-NonCommercial-ShareAlike License"},
    {"url": "http://creativecommons.org/licenses/by-nc-nd/2.0/", "id": 3, "name": "Attribution-NonCommercial-NoDerivs License"},
    {"url": "http://creativecommons.org/licenses/by/2.0/", "id": 4, "name": "Attribution License"},
    {"url": "http://creativecommons.org/licenses/by-nd/2.0/", "id": 6, "name": "Attribution-NoDerivs License"},
]
CATEGORIES = [
    {"supercategory": "person", "id": 1, "name": "person"},
    {"supercategory": "animal", "id": 17, "name": "cat"},
]
# id, licence, categories annotated (the last as a crowd), whether the file is there
IMAGES = [
    (42, 1, [17], True),
    (9, 3, [], True),  # no annotation at all
    (25, 4, [1], True),  # a person
    (30, 4, [17, 1], True),  # a cat and a crowd
    (34, 6, [17], True),
    (36, 4, [17], False),
    (49, 4, [17], True),
]


def image(coco_id: int, licence: int, side: int = 48) -> dict:
    name = f"{coco_id:012d}.jpg"
    url = f"http://images.cocodataset.org/train2017/{name}"
    size = {"height": side, "width": side + 16}
    return {"license": licence, "file_name": name, "coco_url": url, **size, "date_captured": "2013-11-14", "id": coco_id}


def content() -> dict:
    annotations = []
    for coco_id, _, categories, _ in IMAGES:
        for place, category in enumerate(categories):
            crowd = int(place == 1)
            shape = {"counts": [10, 20], "size": [48, 64]} if crowd else [[1.0, 1.0, 9.0, 1.0, 9.0, 9.0]]
            link = {"image_id": coco_id, "category_id": category, "id": 100 * coco_id + place}
            annotations.append({"segmentation": shape, "area": 32.0, "iscrowd": crowd, "bbox": [1, 1, 8, 8], **link})
    images = [image(coco_id, licence) for coco_id, licence, _, _ in IMAGES]
    tables = {"licenses": LICENCES, "categories": CATEGORIES, "images": images, "annotations": annotations}
    return {"info": {"year": 2017, "version": "1.0"}, **tables}


def write_annotations(root: Path, value: object) -> Path:
    file = root / "annotations" / "instances_train2017.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return file


@pytest.fixture
def coco(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HANDSYNTH_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "coco"
    (root / "train2017").mkdir(parents=True)
    for coco_id, _, _, there in IMAGES:
        if there:
            Image.fromarray(np.full((48, 64, 3), coco_id, np.uint8)).save(root / "train2017" / f"{coco_id:012d}.jpg")
    write_annotations(root, content())
    return root


def ids(backgrounds) -> list[int]:
    return [backgrounds.label(index)["coco_id"] for index in range(len(backgrounds))]


def test_people_are_left_out_and_the_rest_is_in_order(coco, capsys):
    """Images with a person or a crowd are not there, those without annotations are, sorted by id; stdout stays clean."""
    backgrounds = open_backgrounds(coco / "train2017")
    assert backgrounds.name == "coco"
    assert ids(backgrounds) == [9, 34, 42, 49]
    assert capsys.readouterr().out == ""
    assert backgrounds.label(0) == {
        "name": "000000000009.jpg",
        "licence": "Attribution-NonCommercial-NoDerivs License http://creativecommons.org/licenses/by-nc-nd/2.0/",
        "coco_id": 9,
    }
    json.dumps(backgrounds.label(0))
    assert "Attribution License" in backgrounds.licence
    assert abs(float(backgrounds.read(2).mean()) - 42) < 2


@pytest.mark.parametrize("layout", ["root", "images", "given file", "given folder"])
def test_the_annotations_are_found_wherever_people_keep_them(coco, layout, tmp_path):
    """From COCO's root, with images in images/, or given where: the same images."""
    path, given = coco, "auto"
    if layout == "images":
        (coco / "images").mkdir()
        (coco / "train2017").rename(coco / "images" / "train2017")
        path = coco / "images" / "train2017"
    elif layout.startswith("given"):
        (coco / "annotations").rename(tmp_path / "elsewhere")
        given = str(tmp_path / "elsewhere" / ("instances_train2017.json" if layout == "given file" else ""))
        path = coco / "train2017"
    assert ids(open_backgrounds(path, annotations=given)) == [9, 34, 42, 49]


def test_a_folder_that_the_annotations_do_not_describe_is_a_plain_folder(coco):
    """Images that no file beside them lists are served as any folder's, not as free of people."""
    (coco / "test2017").mkdir()
    for path in (coco / "train2017").iterdir():
        path.rename(coco / "test2017" / f"9{path.name}")
    assert open_backgrounds(coco / "test2017").name == "folder"


LAYOUTS = {
    "another name of the folder": ("annotations/instances_train2017.json", "train"),
    "another name of the file": ("annotations/labels.json", "train2017"),
    "Roboflow's": ("train2017/_annotations.coco.json", "train2017"),
    "Roboflow's, all splits": ("train2017/_annotations.coco.json", ""),
    "COCO's root, renamed": ("annotations/instances_train2017.json", "train", ""),
    "beside the folder": ("train.json", "train2017"),
    "inside, with names from above": ("train2017/labels.json", "train2017"),
    "above, with images in images": ("labels.json", "images/train2017"),
    "in UTF-16": ("train2017/labels.json", "train2017"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_annotations_are_found_by_what_they_hold(coco, layout):
    """Wherever other programs keep them and whatever they call them: people are left out, and a note reports what was found."""
    file, folder, *given = LAYOUTS[layout]
    value = content()
    if "names from above" in layout:
        value["images"] = [row | {"file_name": f"train2017/{row['file_name']}"} for row in value["images"]]
    (coco / folder).parent.mkdir(exist_ok=True)
    (coco / "annotations" / "instances_train2017.json").unlink()
    if folder:
        (coco / "train2017").rename(coco / folder)
    text = json.dumps(value)
    (coco / file).write_bytes(text.encode("utf-16" if "UTF-16" in layout else "utf-8"))
    backgrounds = open_backgrounds(coco / (given[0] if given else folder))
    assert ids(backgrounds) == [9, 34, 42, 49]
    assert abs(float(backgrounds.read(3).mean()) - 49) < 2
    (note,) = backgrounds.notes
    assert note == (
        f"COCO annotations found: {coco / file}; 4 of 6 images are used, left out are 2 with people, 0 that are not listed"
    )


def test_images_that_are_not_listed_are_left_out_and_counted(coco):
    """Whether they show people is unknown; --annotations none takes them all, people too."""
    Image.new("RGB", (64, 48)).save(coco / "train2017" / "more.png")
    backgrounds = open_backgrounds(coco / "train2017", exclude_no_derivatives=True)
    assert ids(backgrounds) == [42, 49]
    assert "2 of 7 images are used, left out are 2 with people, 1 that are not listed, 2 whose licence" in backgrounds.notes[0]
    every = open_backgrounds(coco / "train2017", annotations="none")
    assert (every.name, len(every), every.notes) == ("folder", 7, ())
    with pytest.raises(UsageError, match="licences are known from COCO annotations only, which were not looked for"):
        open_backgrounds(coco / "train2017", annotations="none", exclude_no_derivatives=True)


def test_json_files_of_other_kinds_are_passed_over(coco):
    """Lists of images that are no annotations, a text, a list, nothing: the folder is a plain one."""
    (coco / "annotations" / "instances_train2017.json").unlink()
    for k, text in enumerate(('{"images": ["a.jpg"]}', '"images": [', "", "[1]", '{"shapes": [], "imagePath": "a.jpg"}', "{}")):
        (coco / ("train2017" if k else "") / f"{k}.json").write_text(text)
    (coco / "train2017" / "1.json").unlink()
    assert open_backgrounds(coco / "train2017").name == "folder"


def test_sound_annotations_among_others_count(coco):
    """Captions name no person, keypoints do: an image is left out if any file shows a person in it."""
    (coco / "annotations" / "instances_train2017.json").unlink()
    captions = content() | {"annotations": [{"image_id": 42, "id": 1, "caption": "a cat"}]}
    del captions["categories"]
    keypoints = content() | {"annotations": [{"image_id": 49, "category_id": 1, "id": 1}]}
    for name, value in (("captions", captions), ("labels", content()), ("keypoints", keypoints)):
        (coco / "annotations" / f"{name}.json").write_text(json.dumps(value))
    assert ids(open_backgrounds(coco / "train2017")) == [9, 34, 42]
    (coco / "annotations" / "labels.json").unlink()
    (coco / "annotations" / "keypoints.json").unlink()
    with pytest.raises(AssetError, match=r"captions\.json has no categories.*--annotations none"):
        open_backgrounds(coco / "train2017")


def test_annotations_inside_that_describe_other_images_are_refused(coco):
    """Whoever keeps annotations in the folder expects them to count."""
    (coco / "annotations" / "instances_train2017.json").rename(coco / "train2017" / "labels.json")
    for path in (coco / "train2017").glob("*.jpg"):
        path.rename(path.with_suffix(".png"))
    with pytest.raises(AssetError, match=r"labels\.json holds COCO annotations of none of the images in .*--annotations none"):
        open_backgrounds(coco / "train2017")


def test_annotations_that_end_early_are_refused_wherever_they_are_found(coco):
    """A download that was cut is not taken for a file of another kind."""
    (coco / "annotations" / "instances_train2017.json").unlink()
    for place in (coco / "train2017", coco):
        (place / "labels.json").write_text(json.dumps(content())[:-100])
        with pytest.raises(AssetError, match=r"labels\.json is damaged"):
            open_backgrounds(coco / "train2017")
        (place / "labels.json").unlink()


@pytest.mark.parametrize("table", [True, False])
def test_no_derivatives_are_excludable(coco, table):
    """Licences 3 and 6 go, by their names where the file has a table of licences and by number where it has none."""
    value = content()
    if table:  # other numbers than COCO's: the names decide
        renumber = {1: 11, 3: 4, 4: 3, 6: 16}
        for row in value["licenses"]:
            row["id"] = renumber[row["id"]]
        for row in value["images"]:
            row["license"] = renumber[row["license"]]
    else:
        del value["licenses"]
    write_annotations(coco, value)
    every, free = open_backgrounds(coco / "train2017"), open_backgrounds(coco / "train2017", exclude_no_derivatives=True)
    assert ids(every) == [9, 34, 42, 49]
    assert ids(free) == [42, 49]
    assert every.digest != free.digest


def test_the_list_is_made_once(coco, monkeypatch):
    """A second start does not parse the annotations; a changed file is parsed again."""
    first = open_backgrounds(coco / "train2017")
    parsed = []
    real = module.parse_annotations

    def count(data):
        parsed.append(data)
        return real(data)

    monkeypatch.setattr(module, "parse_annotations", count)
    assert open_backgrounds(coco / "train2017").digest == first.digest
    assert parsed == []
    cats = [row for row in content()["annotations"] if row["category_id"] == 17]
    write_annotations(coco, content() | {"annotations": cats})
    assert ids(open_backgrounds(coco / "train2017")) == [9, 25, 30, 34, 42, 49]
    assert len(parsed) == 1


DAMAGED = {
    "cut short": lambda value: json.dumps(value)[:-40],
    "not JSON": lambda value: "<html>404</html>",
    "a list": lambda value: [value],
    "annotations without a category": lambda value: value | {"annotations": [{"image_id": 9}]},
    "an image without a number": lambda value: value | {"images": [image(9, 4) | {"id": "9"}]},
    "no images": lambda value: value | {"images": []},
    "image without a name": lambda value: value | {"images": [{"id": 1}]},
    "annotations of something else": lambda value: value | {"annotations": [3]},
    "path upwards": lambda value: value | {"images": [image(9, 4) | {"file_name": "../../secret.jpg"}]},
    "absolute path": lambda value: value | {"images": [image(9, 4) | {"file_name": "/etc/passwd"}]},
    "number as name": lambda value: value | {"images": [image(9, 4) | {"file_name": 3}]},
    "deep nesting": lambda value: "[" * 100_000,
    "endless image": lambda value: json.dumps(value).replace('"width": ', '"width": 1e999, "was": '),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_or_hostile_annotations_are_refused(coco, damage):
    """One AssetError that names the file; nothing outside the folder is ever named as an image."""
    write_annotations(coco, DAMAGED[damage](content()))
    with pytest.raises(AssetError, match=r"instances_train2017\.json"):
        open_backgrounds(coco / "train2017")


def test_without_the_category_person_nothing_is_promised(coco):
    """If people are not annotated they cannot be left out; to serve everything would be wrong."""
    write_annotations(coco, content() | {"categories": CATEGORIES[1:]})
    with pytest.raises(AssetError, match="no category 'person'"):
        open_backgrounds(coco / "train2017")


def with_references(key: str, change) -> dict:
    """The annotations with one reference changed in each."""
    return content() | {"annotations": [row | {key: change(row[key])} for row in content()["annotations"]]}


UNRELIABLE = {
    "image ids as text": with_references("image_id", str),
    "image ids as fractions": with_references("image_id", float),
    "one image id as text": with_references("image_id", lambda i: str(i) if i == 25 else i),
    "images that are not listed": with_references("image_id", lambda i: 77 if i == 25 else i),
    "category ids as text": with_references("category_id", str),
    "categories that are not listed": with_references("category_id", lambda i: 99 if i == 1 else i),
    "truth values as ids": with_references("category_id", lambda i: i == 1),
    "no annotations": {key: value for key, value in content().items() if key != "annotations"},
    "an empty list of annotations": content() | {"annotations": []},
    "no categories": {key: value for key, value in content().items() if key != "categories"},
}


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("fault", UNRELIABLE)
def test_annotations_that_cannot_tell_who_is_shown_fail_closed(coco, fault, by_name):
    """What refers to nothing would silently show nobody: one sentence instead, and what to type."""
    file = write_annotations(coco, UNRELIABLE[fault])
    if not by_name:
        file = file.rename(coco / "train2017" / "labels.json")
    with pytest.raises(AssetError, match=r"--annotations none") as raised:
        open_backgrounds(coco / "train2017")
    assert str(raised.value).startswith(f"{file} has ")
    assert "\n" not in str(raised.value)
    assert len(open_backgrounds(coco / "train2017", annotations="none")) == 6


@pytest.mark.parametrize("name", ["Person", "people", "Human face", "adult man", "girl"])
def test_people_are_known_by_other_names(coco, name):
    """Other sets of categories name them otherwise; a cat is no person by any of them."""
    write_annotations(coco, content() | {"categories": [CATEGORIES[0] | {"name": name}, CATEGORIES[1]]})
    assert ids(open_backgrounds(coco / "train2017")) == [9, 34, 42, 49]


def test_people_in_panoptic_segments_count(coco):
    """There an annotation is a list of segments."""
    rows = [{"image_id": row["image_id"], "segments_info": [row]} for row in content()["annotations"]]
    write_annotations(coco, content() | {"annotations": rows})
    assert ids(open_backgrounds(coco / "train2017")) == [9, 34, 42, 49]


def test_pycocotools_finds_the_same_people(coco, capsys):
    """The oracle: what COCO's own library lists as images of persons is what is left out."""
    oracle = pytest.importorskip("pycocotools.coco").COCO(str(coco / "annotations" / "instances_train2017.json"))
    shown = set(oracle.getImgIds(catIds=oracle.getCatIds(catNms=["person"])))
    rows, fault = module.parse_annotations((coco / "annotations" / "instances_train2017.json").read_bytes())
    assert fault is None
    assert {row.coco_id for row in rows if row.people} == shown == {25, 30}
    assert {row.coco_id for row in rows} == set(oracle.getImgIds())


def test_recipes_take_annotations_and_report_what_was_found(coco, tiny_world):
    """--annotations reaches the library; what is left out is reported on stderr, and results alone are on stdout."""
    flags = ("recipe", tiny_world.spec_path, "--indices", "0:1", "--backgrounds", coco / "train2017")
    for extra, reported in (
        ((), "2 with people"),
        (("--annotations", coco / "annotations"), "2 with people"),
        (("--annotations", "none"), ""),
    ):
        done = handsynth(*flags, *extra)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["index"] == 0
        assert (reported in done.stderr) if reported else done.stderr == ""


def test_a_dataset_is_replayed_where_its_annotations_lie_elsewhere(coco, tiny_world, tmp_path):
    """verify --replay and replay take --annotations, as they take --backgrounds; the digest decides, not the place."""
    (coco / "annotations").rename(tmp_path / "labels")
    annotations = str(tmp_path / "labels" / "instances_train2017.json")
    spec = {"backgrounds": coco / "train2017", "annotations": annotations}
    tiny_world.generate(tmp_path / "out", "0:4", **spec)
    (tmp_path / "labels").rename(tmp_path / "moved")
    with pytest.raises(AssetError, match=r"no COCO annotations at .*--annotations"):
        replay(tmp_path / "out", [1], tiny_world.assets)
    moved = tmp_path / "moved" / "instances_train2017.json"
    assert replay(tmp_path / "out", [1], tiny_world.assets, Here(annotations=str(moved)))[0].faithful
    done = handsynth("verify", tmp_path / "out", "--replay", 2, "--annotations", moved, "--assets", tiny_world.assets)
    assert done.returncode == 0, done.stdout + done.stderr
    done = handsynth("replay", tmp_path / "out", 1, "--annotations", "none", "--assets", tiny_world.assets)
    assert done.returncode == 2
    assert "other assets (backgrounds)" in done.stderr


def test_missing_annotations_say_what_to_get(coco, tmp_path):
    """A wrong --annotations is an AssetError that names the path and the file to give."""
    with pytest.raises(AssetError, match=r"nowhere.*instances_train2017\.json"):
        open_backgrounds(coco / "train2017", annotations=str(tmp_path / "nowhere"))


def test_images_of_another_folder_are_an_error(coco, tmp_path):
    """Annotations whose images are not there do not yield an empty list."""
    (tmp_path / "other").mkdir()
    with pytest.raises(AssetError, match="none of the person-free images"):
        open_backgrounds(tmp_path / "other", annotations=str(coco / "annotations"))


def test_small_images_are_named(coco):
    """An image under 32 px is skipped by what the annotations say of it."""
    value = content()
    value["images"][1]["height"] = 20
    write_annotations(coco, value)
    backgrounds = open_backgrounds(coco / "train2017")
    assert ids(backgrounds) == [34, 42, 49]
    assert isinstance(backgrounds, CocoFolder)
    assert backgrounds.skipped == {"000000000009.jpg": "64 x 20, needs 32 px"}
