"""A dataset's `index.json`, and JSON as handsynth writes it: equal values give equal bytes."""

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol

from handsynth.core.conventions import READABLE_SCHEMAS, check_schema
from handsynth.core.errors import HandsynthError, UsageError
from handsynth.core.shard import ShardInfo


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes. Refuses NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def index_bytes(index: dict[str, Any]) -> bytes:
    """`index.json` as it is written: for people too, and so that equal values give equal bytes."""
    return json.dumps(index, indent=1, sort_keys=True).encode() + b"\n"


class Readable(Protocol):
    """A folder that is not a path: it gives the bytes of a file by name, or raises FileNotFoundError."""

    def read(self, name: str) -> bytes:
        """The file's bytes."""
        ...


def read_index(folder: Path | Readable) -> dict[str, Any]:
    """Reads `index.json` of a dataset. Raises HandsynthError in one sentence when it is missing, damaged or of another schema."""
    path = f"{folder}/index.json"
    try:
        index = json.loads((folder / "index.json").read_bytes() if isinstance(folder, Path) else folder.read("index.json"))
        canonical_json(index)  # refuses NaN and infinity
    except FileNotFoundError:
        raise HandsynthError(
            f"{folder} holds no index.json: it is no finished dataset; run `handsynth generate SPEC {folder}` to finish it"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise HandsynthError(f"{path} is damaged: {error}; `handsynth generate` with the same arguments writes it again") from None
    if not isinstance(index, dict) or not all(isinstance(index.get(key), kind) for key, kind in _INDEX_KEYS.items()):
        raise HandsynthError(f"{path} is no index of a handsynth dataset")
    check_schema(index["schema"], path)
    if index["schema"] != READABLE_SCHEMAS[0] and not (type(index.get("num_shapes")) is int and index["num_shapes"] >= 0):
        raise HandsynthError(f"{path} is damaged: num_shapes is {index.get('num_shapes')!r:.40}")
    for entry in index["shards"]:
        good = isinstance(entry, dict) and all(type(entry.get(key)) is kind for key, kind in _SHARD_KEYS.items())
        good = good and type(entry.get("driver", "")) is str  # older versions kept one list of drivers for the whole dataset
        if not good or not _SHARD_NAME.fullmatch(entry["name"]):
            raise HandsynthError(f"{path} is damaged: it describes a shard as {entry!r:.100}")
    return index


def is_crowd(index: Mapping[str, Any]) -> bool:
    """Whether the images of a dataset show any number of hands, each of which its labels list, and no first one."""
    spec = index.get("spec")
    crowd = spec.get("crowd") if isinstance(spec, dict) else None
    hands = crowd.get("hands") if isinstance(crowd, dict) else None
    return isinstance(hands, list) and len(hands) == 2 and type(hands[1]) is int and hands[1] > 0


def refuse_crowd(index: Mapping[str, Any], where: object) -> None:
    """Raises UsageError for a dataset of crowds, where images of one hand are wanted."""
    if is_crowd(index):
        raise UsageError(
            f"{where} holds crowds ({index['name']!r:.40}), images of any number of hands for training detectors, where images of "
            "one hand each are needed: give a dataset of another spec, such as default"
        )


_SHARD_NAME = re.compile(r"shard-\d{6,9}\.tar", re.ASCII)
_SHARD_KEYS = {f.name: f.type for f in fields(ShardInfo) if f.name != "driver"}
_INDEX_KEYS: dict[str, type] = {
    "schema": str, "name": str, "dataset": str, "spec": dict, "selection": str, "assets": dict, "drivers": list,
    "samples": int, "num_vertices": int, "fingertips": list, "shards": list,
}  # fmt: skip
