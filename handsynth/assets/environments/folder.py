"""A folder of environment maps: listed in a fixed order, each read once and kept as its light, damaged files left out."""

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from handsynth.assets.backgrounds.folder import in_brackets, list_digest, list_folder, skipped_note
from handsynth.assets.environments.light_map import LightMap, make_light_map
from handsynth.assets.environments.read import NEEDS_OPENEXR, SUFFIXES, read_map
from handsynth.assets.store import file_sha256, folder_licence, read_cache, write_cache
from handsynth.core.errors import AssetError
from handsynth.core.harmonics import TERMS
from handsynth.core.images import IMAGE_SUFFIXES, TRANSIENT_REASONS, ImageError
from handsynth.core.locations import cache_dir

UNKNOWN_LICENCE = "environment maps of a folder given by the user; their licences are not known to handsynth"

ADVICE = "give --environments a folder of .hdr or .exr panoramas, or leave it out"

_CACHE_VERSION = 1  # to be raised with the rules of read.py and light_map.py


@dataclass(frozen=True, eq=False)
class Environments:
    """The light of a folder's usable maps, in the order of their names."""

    names: tuple[str, ...]
    maps: tuple[LightMap, ...]
    licence: str  # the first line of the folder's LICENSE, or that it is not known
    digest: str  # SHA-256 over names and contents, the licence and the maps' light
    notes: tuple[str, ...]  # sentences for people, shown on stderr: what was left out

    def __len__(self) -> int:
        return len(self.maps)


def open_environments(root: Path) -> Environments:
    """The maps of a folder and its subfolders. What was found in a file is kept in the cache, so that a second start only lists it.

    Raises AssetError when the folder holds no usable map.
    """
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise AssetError(f"the environment folder {root} {what}: {ADVICE}")
    listing = list_folder(root, SUFFIXES, "environment")
    skipped, names, maps, rows = dict(listing.skipped), [], [], []
    licence = folder_licence(listing.root, UNKNOWN_LICENCE)
    for name, found in _read_all(listing.root, listing.images).items():
        if isinstance(found, str):
            skipped[name] = found
            continue
        names.append(name)
        maps.append(_light_map(found))
        rows.append((name, json.dumps(found, sort_keys=True), licence))
    notes = skipped_note(listing.root, skipped, len(names))
    if not maps:
        eight = any(file.suffix.lower() in IMAGE_SUFFIXES for file in listing.root.iterdir())
        hint = "; its images of 8 bits cut off lamps and the sun" if eight and not skipped else ""
        raise AssetError(f"no usable environment map in {listing.root}{in_brackets(notes)}{hint}: {ADVICE}")
    return Environments(tuple(names), tuple(maps), licence, list_digest("environments", rows), notes)  # type: ignore[arg-type]


def _read_all(root: Path, files: Any) -> dict[str, dict[str, Any] | str]:
    """Name -> hash and light of a map, or why it is left out; from the cache where the file's size and time are the same."""
    key = hashlib.sha256(os.fsencode(root) + f"{_CACHE_VERSION}".encode()).hexdigest()[:16]
    cache = cache_dir() / f"environments-{key}.json"
    known, entries, found = read_cache(cache), {}, {}
    for name, (size, changed) in files.items():
        entry = known.get(name)
        if not (isinstance(entry, list) and len(entry) == 3 and entry[:2] == [size, changed] and _is_finding(entry[2])):
            entry = [size, changed, _read_one(root / name)]
        found[name] = entry[2]
        if entry[2] not in (*TRANSIENT_REASONS, NEEDS_OPENEXR):
            entries[name] = entry
    if entries != known:
        write_cache(cache, entries)
    return found


def _read_one(path: Path) -> dict[str, Any] | str:
    """Hash and light of a map as plain values, or why it cannot serve."""
    try:
        light = make_light_map(read_map(path))
        found = {"sha256": file_sha256(path)}
    except ImageError as error:
        return str(error)
    except MemoryError:
        return "too large for this machine's memory"
    except OSError as error:
        return error.strerror or "cannot be read"
    return found | {name: getattr(light, name).ravel().tolist() for name in _SIZES}


_SIZES = {"sky": TERMS * 3, "lamp_direction": 3, "lamp_color": 3}


def _is_finding(value: Any) -> bool:
    """Whether an entry of the cache is one of ours."""
    if isinstance(value, str):
        return True
    if not isinstance(value, dict) or not isinstance(value.get("sha256"), str):
        return False
    return all(
        isinstance(numbers := value.get(name), list)
        and len(numbers) == size
        and all(type(v) in (int, float) and math.isfinite(v) for v in numbers)
        for name, size in _SIZES.items()
    )


def _light_map(found: dict[str, Any]) -> LightMap:
    """What _read_one found, as arrays."""
    return LightMap(np.array(found["sky"]).reshape(TERMS, 3), np.array(found["lamp_direction"]), np.array(found["lamp_color"]))
