"""COCO annotations beside images: where they are, who is left out for them, and under which licence each image stands."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from handsynth.assets.backgrounds.annotations import NO_COCO, Row, Table, has_lists, read_table, split_of
from handsynth.assets.backgrounds.folder import Listing, in_brackets, list_digest, read_background, skipped_note
from handsynth.core.errors import AssetError
from handsynth.core.images import MIN_SIDE

MAX_TABLES = 100
"""So many JSON files are looked into, the largest first: one with annotations lists many images, and there are few of them."""

MAX_PLACES = 50
"""So many subfolders are tried as the place that file names are relative to."""

ADVICE = "give --annotations the right file, or --annotations none to use every image, with people or without"


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
        with_images = [file for file in inside if any((root / place / split_of(file)).is_dir() for place in ("", "images"))]
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
    return sorted(path for path in sorted(paths, key=_size, reverse=True)[:MAX_TABLES] if has_lists(path))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


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
    root, split, parents = listing.root, split_of(file), file.resolve().parents[:2]
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
