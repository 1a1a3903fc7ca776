"""Files of COCO annotations: what they list, which of their images show people, and whether that can be relied upon.

Whatever they promise of people is checked and fails closed: an annotation that refers to an image or a category that the file
does not list, or a file without annotations, is refused rather than taken for a file that shows nobody.
"""

import contextlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from handsynth.assets.backgrounds.folder import list_digest
from handsynth.assets.store import read_cache, write_cache
from handsynth.core.errors import AssetError
from handsynth.core.files import inner_path
from handsynth.core.locations import cache_dir

NO_DERIVATIVES_IDS = frozenset({3, 6})
"""COCO 2017's licences BY-NC-ND and BY-ND; used only where the file brings no table of licences."""

HEAD_BYTES = 1 << 20
"""One of a COCO file's three lists begins within so many bytes."""

NO_COCO = "holds no COCO annotations: no list of images, or neither annotations nor categories"
"""The fault of a sound JSON file of another kind; one that is only looked at, not given, is passed over."""

_PEOPLE = frozenset("person persons people human humans pedestrian pedestrians man men woman women boy girl child children".split())
_LISTS = re.compile(r'"(images|annotations|categories)"\s*:\s*\[')
_NO_DERIVATIVES = re.compile(r"no[\s-]*deriv|by(-nc)?-nd", re.IGNORECASE)
_CACHE_VERSION = 2


class Row(NamedTuple):
    """One image that an annotation file lists."""

    coco_id: int
    file_name: str  # relative, never upwards
    licence: str
    no_derivatives: bool  # the licence forbids changed copies
    width: int
    height: int
    people: bool  # an annotation of a person refers to it


class Table(NamedTuple):
    """What an annotation file holds."""

    file: Path
    rows: tuple[Row, ...]  # sorted by id
    fault: str | None  # why it does not show who is in its images; completes the sentence "FILE ..."


def has_lists(path: Path) -> bool:
    """Whether a JSON file begins as COCO annotations do."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False
    return _LISTS.search(head.decode(json.detect_encoding(head), "ignore")) is not None


def split_of(annotations: Path) -> str:
    """train2017 for instances_train2017.json."""
    return annotations.stem.removeprefix("instances_")


def read_table(file: Path) -> Table:
    """What an annotation file holds, from the cache if the file has the same place, size and time: reading COCO's takes 20 s.

    Never raises for what is in it (see Table.fault); raises AssetError when the file cannot be read.
    """
    try:
        status = file.stat()
        identity = [_CACHE_VERSION, str(file.resolve()), status.st_size, status.st_mtime_ns]
        cache = cache_dir() / f"coco-{split_of(file)[:32]}-{list_digest('coco', [(str(file.resolve()), 0, '')])[:16]}.json"
        known = read_cache(cache)
        with contextlib.suppress(KeyError, TypeError):  # whatever a damaged cache holds only costs time
            if known["identity"] == identity:
                return Table(file, tuple(Row(*row) for row in known["rows"]), known["fault"])
        rows, fault = parse_annotations(file.read_bytes())
    except OSError as error:
        raise AssetError(f"the COCO annotations {file} cannot be read ({error.strerror})") from error
    write_cache(cache, {"identity": identity, "rows": rows, "fault": fault})
    return Table(file, tuple(rows), fault)


def parse_annotations(data: bytes) -> tuple[list[Row], str | None]:
    """The images of a COCO file, sorted by id, and what is wrong with it (see Table.fault); without rows if it is damaged."""
    try:
        value = json.loads(data)
        if not isinstance(value, dict) or not isinstance(value.get("images"), list) or not value["images"]:
            return [], NO_COCO
        if "annotations" not in value and "categories" not in value:
            return [], NO_COCO
        licences = {row["id"]: row for row in value.get("licenses") or []}
        images = [_image_row(image, licences) for image in value["images"]]
        people, fault = _with_people(value, {row.coco_id for row in images})
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
        return [], f"is damaged, or no file of COCO annotations ({ascii(text)[1:-1]})"
    return sorted(row._replace(people=row.coco_id in people) for row in images), fault


def _with_people(value: dict[str, Any], ids: set[int]) -> tuple[set[int], str | None]:
    """Ids of the images that show people, and why that is not to be relied upon."""
    annotations, categories = value.get("annotations"), value.get("categories")
    if not isinstance(annotations, list) or not annotations:
        return set(), "has no annotations, so which of its images show people is unknown"
    if not isinstance(categories, list) or not categories:
        return set(), "has no categories, so which of its images show people is unknown"
    names = {row["id"]: str(row["name"]) for row in categories}
    people = {number for number, name in names.items() if _PEOPLE.intersection(re.findall("[a-z]+", name.casefold()))}
    if not people:
        return set(), "has no category 'person', so people cannot be left out"
    shown: set[int] = set()
    lost: list[str] = []
    for row in annotations:
        image = row["image_id"]
        # An annotation of a panoptic file has a list of segments, each with its category.
        for category in [row["category_id"]] if "category_id" in row else [part["category_id"] for part in row["segments_info"]]:
            if type(image) is not int or image not in ids:
                lost.append(f"image_id {image!r:.40}")
            elif type(category) is not int or category not in names:
                lost.append(f"category_id {category!r:.40}")
            elif category in people:
                shown.add(image)
    if lost:
        example = ascii(lost[0])[1:-1]
        return (
            shown,
            f"has {len(lost)} annotations of images or categories that it does not list ({example}; ids are integers)",
        )
    return shown, None


def _image_row(image: dict[str, Any], licences: dict[Any, dict[str, Any]]) -> Row:
    """One image of the file, people not looked for yet. Raises what damaged values raise."""
    file_name = inner_path(image["file_name"])
    if type(image["id"]) is not int:
        raise ValueError(f"the image id {image['id']!r:.40} is no whole number")
    code = image.get("license")
    row = licences.get(code)
    if row is None:
        licence = f"licence {code}" if code is not None else "licence unknown"
        # Where there is a table but the image is not in it, nothing allows derivatives.
        no_derivatives = code in NO_DERIVATIVES_IDS if not licences and code is not None else True
    else:
        licence = " ".join(" ".join(str(row.get(key, "")) for key in ("name", "url")).split())
        no_derivatives = bool(_NO_DERIVATIVES.search(licence))
    return Row(image["id"], file_name, licence, no_derivatives, int(image["width"]), int(image["height"]), False)
