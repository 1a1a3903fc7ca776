"""COCO's images without people, as backgrounds: who is left out, and under which licence each image stands."""

import contextlib
import io
import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from handsynth.assets.backgrounds.folder import ImageFolder, list_digest, list_images, require_some
from handsynth.assets.backgrounds.images import MIN_SIDE
from handsynth.assets.store import file_sha256, read_cache, write_cache
from handsynth.core.errors import AssetError
from handsynth.core.locations import cache_dir

NO_DERIVATIVES_IDS = frozenset({3, 6})
"""COCO 2017's licences BY-NC-ND and BY-ND; used only where the file brings no table of licences."""
_NO_DERIVATIVES = re.compile(r"no[\s-]*deriv|by(-nc)?-nd", re.IGNORECASE)
_CACHE_VERSION = 1


class CocoFolder(ImageFolder):
    """The images of COCO on which no person is annotated, in the order of their ids.

    Images without any annotation stay in, so that an unlabelled person can slip through. The list is made once for each
    annotation file and kept in the cache; every image has its own licence.
    """

    name = "coco"

    def __init__(self, root: Path, annotations: list[Path], exclude_no_derivatives: bool = False) -> None:
        """Raises AssetError when an annotation file is damaged or hostile, or none of its images is there."""
        self.root = root.resolve()
        found, self.skipped = list_images(self.root)
        self._ids: list[int] = []
        self._licences: list[str] = []
        self.names = []
        rows = []
        for coco_id, name, licence in _merge(self.root, annotations, exclude_no_derivatives, self.skipped):
            if name not in found:
                continue
            self._ids.append(coco_id)
            self.names.append(name)
            self._licences.append(licence)
            rows.append((name, found[name][0], f"{coco_id} {licence}"))
        require_some(
            self,
            f"none of the person-free images named in {', '.join(map(str, annotations))} is in {root}",
            "give --backgrounds the folder that the annotations belong to, for example coco/train2017",
        )
        self.digest = list_digest(self.name, rows)
        counts = ", ".join(f"{licence} ({count})" for licence, count in sorted(Counter(self._licences).items()))
        self.licence = f"COCO images from Flickr, each under its own licence: {counts}"

    def label(self, index: int) -> dict[str, Any]:
        """See Backgrounds.label; also the image's id in COCO."""
        return {"name": self.names[index], "licence": self._licences[index], "coco_id": self._ids[index]}


def find_annotations(images: Path, given: Path | None = None) -> list[Path]:
    """The COCO annotation files that belong to a folder of images, sorted; empty if it is not COCO's.

    With `given`, that file or the instances_*.json of that folder. Otherwise folders `annotations` inside, beside and above
    `images` are searched: for coco/train2017 only instances_train2017.json counts (test2017 has none, and is no COCO folder
    here); for coco itself those whose images are there. Raises AssetError when `given` leads to no file.
    """
    if given is not None:
        files = sorted(given.glob("instances_*.json")) if given.is_dir() else [given]
        if not files or not files[0].is_file():
            raise AssetError(
                f"no COCO annotations at {given}: give the file instances_train2017.json, or the folder that holds it "
                "(annotations_trainval2017.zip of cocodataset.org)"
            )
        return files
    images = images.resolve()
    inside = sorted((images / "annotations").glob("instances_*.json"))
    if inside:
        with_images = [file for file in inside if _image_folder(images, _split(file)) != images]
        return with_images or inside
    for folder in images.parents[:2]:
        file = folder / "annotations" / f"instances_{images.name}.json"
        if file.is_file():
            return [file]
    return []


def _split(annotations: Path) -> str:
    """train2017 for instances_train2017.json."""
    return annotations.stem.removeprefix("instances_")


def _image_folder(root: Path, split: str) -> Path:
    """Where the images of a split lie: in a folder of its name under `root` if there is one, else in `root`."""
    places = [root / split, root / "images" / split]
    return next((place for place in places if place.is_dir()), root)


def _merge(
    root: Path, annotations: list[Path], exclude_no_derivatives: bool, skipped: dict[str, str]
) -> list[tuple[int, str, str]]:
    """(id, name relative to `root`, licence) of every person-free image, sorted; too small ones go to `skipped`."""
    merged = []
    for file in annotations:
        prefix = _image_folder(root, _split(file)).relative_to(root)
        for coco_id, file_name, licence, no_derivatives, width, height in _person_free(file):
            if exclude_no_derivatives and no_derivatives:
                continue
            name = (prefix / file_name).as_posix()
            if min(width, height) < MIN_SIDE:
                skipped[name] = f"{width} x {height}, needs {MIN_SIDE} px"
            else:
                merged.append((coco_id, name, licence))
    return sorted(merged)


def _person_free(file: Path) -> list[list[Any]]:
    """[id, file name, licence, whether it forbids derivatives, width, height] of each person-free image, sorted by id.

    Reading the annotations takes some 20 s and 1 GB, hence the cache, which holds for a file of the same place, size and time.
    """
    status = file.stat()
    identity = [_CACHE_VERSION, str(file.resolve()), status.st_size, status.st_mtime_ns]
    cache = cache_dir() / f"coco-{_split(file)[:32]}-{list_digest('coco', [(str(file.resolve()), 0, '')])[:16]}.json"
    known = read_cache(cache)
    if known.get("identity") == identity:
        return known["images"]
    images = _read_person_free(file)
    write_cache(cache, {"identity": identity, "sha256": file_sha256(file), "images": images})
    return images


def _read_person_free(file: Path) -> list[list[Any]]:
    from pycocotools.coco import COCO  # imports matplotlib, which a cached list does not need

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress where results belong
            coco = COCO(str(file))
            people = coco.getCatIds(catNms=["person"])
            # With no category at all, getImgIds would return every image: refuse instead.
            if not people:
                raise AssetError(f"{file} has no category 'person', so people cannot be left out: give COCO's instances_*.json")
            with_people = {image for category in people for image in coco.getImgIds(catIds=[category])}
        licences = {row["id"]: row for row in coco.dataset.get("licenses", [])}
        return [_image_row(coco.imgs[image], licences) for image in sorted(set(coco.getImgIds()) - with_people)]
    except OSError as error:
        raise AssetError(f"the COCO annotations {file} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, AssertionError, OverflowError, RecursionError) as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
        raise AssetError(
            f"{file} is damaged or holds no COCO annotations ({text}): unpack annotations_trainval2017.zip of cocodataset.org again"
        ) from error


def _image_row(image: dict[str, Any], licences: dict[Any, dict[str, Any]]) -> list[Any]:
    file_name = image["file_name"]
    path = PurePosixPath(file_name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in file_name or "\0" in file_name:
        raise ValueError(f"the file name {file_name!r} leads out of the folder")
    code = image.get("license")
    row = licences.get(code)
    if row is None:
        licence = f"licence {code}" if code is not None else "licence unknown"
        # Where there is a table but the image is not in it, nothing allows derivatives.
        no_derivatives = code in NO_DERIVATIVES_IDS if not licences and code is not None else True
    else:
        licence = " ".join(str(row.get(key, "")) for key in ("name", "url")).strip()
        no_derivatives = bool(_NO_DERIVATIVES.search(licence))
    return [int(image["id"]), path.as_posix(), licence, no_derivatives, int(image["width"]), int(image["height"])]
