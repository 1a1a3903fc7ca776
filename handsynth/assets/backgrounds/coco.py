"""COCO annotations beside images: where they are, who is left out for them, and under which licence each image stands.

Whatever they promise of people is checked and fails closed: an annotation that refers to an image or a category that the file
does not list, or a file without annotations, is refused rather than taken for a file that shows nobody.
"""

import contextlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from handsynth.assets.backgrounds.folder import Listing, in_brackets, list_digest, read_background, skipped_note
from handsynth.assets.store import read_cache, write_cache
from handsynth.core.errors import AssetError
from handsynth.core.images import MIN_SIDE
from handsynth.core.locations import cache_dir

NO_DERIVATIVES_IDS = frozenset({3, 6})
"""COCO 2017's licences BY-NC-ND and BY-ND; used only where the file brings no table of licences."""

MAX_TABLES = 100
"""So many JSON files are looked into, the largest first: one with annotations lists many images, and there are few of them."""

MAX_PLACES = 50
"""So many subfolders are tried as the place that file names are relative to."""

HEAD_BYTES = 1 << 20
"""One of a COCO file's three lists begins within so many bytes."""

NO_COCO = "holds no COCO annotations: no list of images, or neither annotations nor categories"
"""The fault of a sound JSON file of another kind; one that is only looked at, not given, is passed over."""

ADVICE = "give --annotations the right file, or --annotations none to use every image, with people or without"

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


class CocoFolder:
    """The images of a folder on which its COCO annotations show no person, in the order of their ids.

    Images that are listed without an annotation stay in, so that an unlabelled person can slip through; images that are not
    listed are left out. Every image has its own licence.
    """

    name = "coco"

    def __init__(self, listing: Listing, tables: Sequence[Table], exclude_no_derivatives: bool = False) -> None:
        """Raises AssetError when a table has a fault, or none of the images that it shows without people is there."""
        for table in tables:
            if table.fault:
                raise AssetError(f"{table.file} {table.fault}: {ADVICE}")
        files = ", ".join(str(table.file) for table in tables)
        self.root = listing.root
        skipped = dict(listing.skipped)
        listed = _merge(listing, tables)
        free = []
        for name, row in listed.items():
            if row.people or name not in listing.images or (exclude_no_derivatives and row.no_derivatives):
                continue
            if min(row.width, row.height) < MIN_SIDE:
                skipped[name] = f"{row.width} x {row.height}, needs {MIN_SIDE} px"
            else:
                free.append((row.coco_id, name, row.licence))
        free.sort()
        self._ids = [coco_id for coco_id, _, _ in free]
        self.names = [name for _, name, _ in free]
        self._licences = [licence for _, _, licence in free]
        self.notes = (
            _found_note(listing, listed, files, len(free), exclude_no_derivatives),
            *skipped_note(self.root, skipped, len(free)),
        )
        self.skipped = skipped
        if not free:
            raise AssetError(
                f"none of the person-free images named in {files} is in {self.root}{in_brackets(self.notes)}: give --backgrounds "
                "the folder that the annotations belong to, for example coco/train2017"
            )
        rows = [(name, listing.images[name][0], f"{coco_id} {licence}") for coco_id, name, licence in free]
        self.digest = list_digest(self.name, rows)
        counts = ", ".join(f"{licence} ({count})" for licence, count in sorted(Counter(self._licences).items()))
        self.licence = f"images of a folder with COCO annotations, each under its own licence: {counts}"

    def __len__(self) -> int:
        return len(self.names)

    def label(self, index: int) -> dict[str, Any]:
        """See Backgrounds.label; also the image's id in COCO."""
        return {"name": self.names[index], "licence": self._licences[index], "coco_id": self._ids[index]}

    def read(self, index: int) -> np.ndarray:
        """See Backgrounds.read."""
        return read_background(self.root, self.names[index])


def _found_note(listing: Listing, listed: dict[str, Row], files: str, usable: int, excluded: bool) -> str:
    """A sentence on what was found and what was left out."""
    there = [listed[name] for name in listing.images if name in listed]
    people = sum(row.people for row in there)
    left = [f"{people} with people", f"{len(listing.images) - len(there)} that are not listed"]
    if excluded:
        left.append(f"{sum(row.no_derivatives and not row.people for row in there)} whose licence forbids derivatives")
    return f"COCO annotations found: {files}; {usable} of {len(listing.images)} images are used, left out are {', '.join(left)}"


def given_tables(given: Path) -> list[Table]:
    """The tables of a file, or of a folder's instances_*.json, else of all its JSON files. Raises AssetError when there is none."""
    files = [given]
    if given.is_dir():
        files = sorted(given.glob("instances_*.json")) or sorted(given.glob("*.json"))
    if not files or not files[0].is_file():
        raise AssetError(
            f"no COCO annotations at {given}: give --annotations the file, such as instances_train2017.json, or the folder that "
            "holds it (annotations_trainval2017.zip of cocodataset.org)"
        )
    return [read_table(file) for file in files]


def find_tables(listing: Listing) -> list[Table]:
    """The tables that belong to a folder of images; none if nothing that describes them is found.

    COCO's own places come first: the instances_*.json in `annotations` inside the folder, and the one of the folder's name in
    `annotations` beside and above it. Otherwise JSON files inside, beside and above it count by what they hold: lists of images,
    annotations and categories, with names of images that are here. One that holds less only counts where no other is found.
    """
    named = _in_cocos_places(listing.root)
    if named:
        return [read_table(file) for file in named]
    tables = [read_table(path) for path in [*_likely(listing.tables), *_likely(_around(listing.root))]]
    tables = [table for table in tables if table.fault != NO_COCO]
    near = [table for table in tables if not table.rows or _names(listing, table, matching=True)]
    strange = [table for table in tables if table not in near and table.file in listing.tables]
    if not near and strange:
        raise AssetError(f"{strange[0].file} holds COCO annotations of none of the images in {listing.root}: {ADVICE}")
    return [table for table in near if not table.fault] or near[:1]


def _in_cocos_places(root: Path) -> list[Path]:
    """COCO's files by their names: for coco/train2017 only instances_train2017.json; for coco those with images there."""
    inside = sorted((root / "annotations").glob("instances_*.json"))
    if inside:
        with_images = [file for file in inside if any((root / place / _split(file)).is_dir() for place in ("", "images"))]
        return with_images or inside
    beside = [folder / "annotations" / f"instances_{root.name}.json" for folder in root.parents[:2]]
    return [file for file in beside if file.is_file()][:1]


def _around(root: Path) -> list[Path]:
    """JSON files beside and above a folder."""
    found: list[Path] = []
    for folder in root.parents[:2]:
        for place in (folder, folder / "annotations"):
            try:
                found += [path for path in place.glob("*.json") if path.is_file() and not path.name.startswith(".")]
            except OSError:  # a folder that may not be listed
                continue
    return found


def _likely(paths: Iterable[Path]) -> list[Path]:
    """The JSON files that begin as annotations do, sorted; the largest are looked into."""
    return sorted(path for path in sorted(paths, key=_size, reverse=True)[:MAX_TABLES] if _has_lists(path))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _has_lists(path: Path) -> bool:
    """Whether a JSON file begins as COCO annotations do."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False
    return _LISTS.search(head.decode(json.detect_encoding(head), "ignore")) is not None


def _split(annotations: Path) -> str:
    """train2017 for instances_train2017.json."""
    return annotations.stem.removeprefix("instances_")


def _merge(listing: Listing, tables: Iterable[Table]) -> dict[str, Row]:
    """Every listed image by its name in the folder. What several tables list shows people if any of them has it so."""
    merged: dict[str, Row] = {}
    for table in tables:
        for name, row in _names(listing, table):
            if name in merged:
                people, strict = (merged[name].people or row.people, merged[name].no_derivatives or row.no_derivatives)
                row = min(merged[name], row)._replace(people=people, no_derivatives=strict)
            merged[name] = row
    return merged


def _names(listing: Listing, table: Table, matching: bool = False) -> list[tuple[str, Row]]:
    """(name in the folder, row) of each image of a table that can be in the folder; with `matching`, of those that are.

    What file names are relative to differs from one program to another: the place counts that leads to most of the images.
    """
    best: list[tuple[str, Row]] = []
    most = 0
    for place in _places(listing, table.file):
        names = list(_names_from(listing.root, place, table.rows))
        found = [pair for pair in names if pair[0] in listing.images or pair[0] in listing.skipped]
        if len(found) > most:
            best, most = found if matching else names, len(found)
        if most == len(table.rows):
            break
    return best


def _places(listing: Listing, file: Path) -> list[Path]:
    """What a table's file names may be relative to, the most likely first."""
    root, split, parents = listing.root, _split(file), file.resolve().parents[:2]
    own = [place for parent in (root, *parents) for place in (parent / split, parent / "images" / split)]
    inside = sorted({name.rpartition("/")[0] for name in listing.images})[:MAX_PLACES]
    images = [parent / "images" for parent in (root, *parents)]
    return list(dict.fromkeys([*own[:2], root, *parents, *images, *own[2:], *(root / place for place in inside)]))


def _names_from(root: Path, place: Path, rows: Iterable[Row]) -> Iterator[tuple[str, Row]]:
    """(name relative to `root`, row) of the images that lie under `root` if file names are relative to `place`."""
    steps = Path(os.path.relpath(place, root)).parts
    up = steps.count("..")
    prefix = "".join(f"{step}/" for step in steps[up:])
    way = "".join(f"{step}/" for step in root.parts[len(root.parts) - up :])  # from there back to the root
    for row in rows:
        path = prefix + row.file_name
        if path.startswith(way):
            yield path[len(way) :], row


def read_table(file: Path) -> Table:
    """What an annotation file holds, from the cache if the file has the same place, size and time: reading COCO's takes 20 s.

    Never raises for what is in it (see Table.fault); raises AssetError when the file cannot be read.
    """
    try:
        status = file.stat()
        identity = [_CACHE_VERSION, str(file.resolve()), status.st_size, status.st_mtime_ns]
        cache = cache_dir() / f"coco-{_split(file)[:32]}-{list_digest('coco', [(str(file.resolve()), 0, '')])[:16]}.json"
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
    file_name = image["file_name"]
    path = PurePosixPath(file_name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in file_name or "\0" in file_name:
        raise ValueError(f"the file name {file_name!r} leads out of the folder")
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
    return Row(image["id"], path.as_posix(), licence, no_derivatives, int(image["width"]), int(image["height"]), False)
