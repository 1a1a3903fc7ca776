"""COCO as backgrounds, on a tiny folder of COCO's own structure."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handsynth.assets.backgrounds import coco as module
from handsynth.assets.backgrounds.open import open_backgrounds
from handsynth.core.errors import AssetError

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
    path, given = coco, None
    if layout == "images":
        (coco / "images").mkdir()
        (coco / "train2017").rename(coco / "images" / "train2017")
        path = coco / "images" / "train2017"
    elif layout.startswith("given"):
        (coco / "annotations").rename(tmp_path / "elsewhere")
        given = tmp_path / "elsewhere" / ("instances_train2017.json" if layout == "given file" else "")
        path = coco / "train2017"
    assert ids(open_backgrounds(path, annotations=given)) == [9, 34, 42, 49]


def test_a_folder_that_the_annotations_do_not_describe_is_a_plain_folder(coco):
    """test2017 has no instances file: its images are served as any folder's, not as free of people."""
    (coco / "train2017").rename(coco / "test2017")
    assert open_backgrounds(coco / "test2017").name == "folder"


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
    real = module._read_person_free

    def count(file):
        parsed.append(file)
        return real(file)

    monkeypatch.setattr(module, "_read_person_free", count)
    assert open_backgrounds(coco / "train2017").digest == first.digest
    assert parsed == []
    write_annotations(coco, content() | {"annotations": []})
    assert ids(open_backgrounds(coco / "train2017")) == [9, 25, 30, 34, 42, 49]
    assert len(parsed) == 1


DAMAGED = {
    "cut short": lambda value: json.dumps(value)[:-40],
    "not JSON": lambda value: "<html>404</html>",
    "a list": lambda value: [value],
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


def test_missing_annotations_say_what_to_get(coco, tmp_path):
    """A wrong --annotations is an AssetError that names the path and the file to give."""
    with pytest.raises(AssetError, match=r"nowhere.*instances_train2017\.json"):
        open_backgrounds(coco / "train2017", annotations=tmp_path / "nowhere")


def test_images_of_another_folder_are_an_error(coco, tmp_path):
    """Annotations whose images are not there do not yield an empty list."""
    (tmp_path / "other").mkdir()
    with pytest.raises(AssetError, match="none of the person-free images"):
        open_backgrounds(tmp_path / "other", annotations=coco / "annotations")


def test_small_images_are_named(coco):
    """An image under 32 px is skipped by what the annotations say of it."""
    value = content()
    value["images"][1]["height"] = 20
    write_annotations(coco, value)
    backgrounds = open_backgrounds(coco / "train2017")
    assert ids(backgrounds) == [34, 42, 49]
    assert isinstance(backgrounds, module.CocoFolder)
    assert backgrounds.skipped == {"000000000009.jpg": "64 x 20, needs 32 px"}
