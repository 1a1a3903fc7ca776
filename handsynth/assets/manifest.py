"""What handsynth can use from elsewhere, and whether it is prepared here and still as it was then."""

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import yaml

from handsynth.assets.store import file_sha256
from handsynth.core.errors import AssetError
from handsynth.core.files import write_atomically

MANIFEST = Path(__file__).parent / "assets_manifest.yaml"

State = Literal["missing", "prepared", "damaged", "used in place"]


@dataclass(frozen=True)
class Asset:
    """One entry of assets_manifest.yaml, whose head explains the fields."""

    name: str
    title: str
    files: tuple[str, ...]
    site: str
    licence: str
    becomes: tuple[str, ...]
    prepare: str
    instead: str
    dataset: str


@dataclass(frozen=True)
class AssetStatus:
    """An asset and how it stands in one asset folder."""

    asset: Asset
    state: State
    detail: str  # one sentence: where it lies, what is wrong, or what to type


@dataclass(frozen=True)
class Prepared:
    """What a `prepare_...` function wrote, and a sentence for each thing that the user should know."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...]


def list_assets() -> tuple[Asset, ...]:
    """Every external asset, in the manifest's order. Raises AssetError when the manifest itself is damaged."""
    try:
        entries = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
        return tuple(_asset(name, entry) for name, entry in entries.items())
    except (OSError, yaml.YAMLError, AttributeError, TypeError) as error:
        raise AssetError(f"{MANIFEST} is damaged ({error}); install handsynth again") from None


def _asset(name: str, entry: dict[str, Any]) -> Asset:
    """One entry of the file; a missing or unknown field raises TypeError."""
    values = {key: tuple(value) if isinstance(value, list) else str(value) for key, value in entry.items()}
    unknown = set(values) ^ ({f.name for f in fields(Asset)} - {"name"})
    if unknown:
        raise TypeError(f"{name}: {sorted(unknown)} missing or unknown")
    return Asset(name=name, **values)  # type: ignore[arg-type]


def check_assets(assets: Path) -> tuple[AssetStatus, ...]:
    """How each asset stands in the asset folder; prepared files are hashed again and compared with their record."""
    return tuple(_status(asset, assets) for asset in list_assets())


def _status(asset: Asset, assets: Path) -> AssetStatus:
    """How one asset stands."""
    if not asset.becomes:
        return AssetStatus(asset, "used in place", asset.prepare)
    paths = [assets / name for name in asset.becomes]
    # poses.npz may come from MANO or from the pose prior: its record says which. Without a record it is anybody's.
    if not any(os.path.exists(path) and _read_record(path).get("asset", asset.name) == asset.name for path in paths):
        return AssetStatus(asset, "missing", f"download {', '.join(asset.files)} from {asset.site}, then: {asset.prepare}")
    for path in paths:
        fault = _fault(path)
        if fault:
            return AssetStatus(asset, "damaged", f"{path} {fault}; prepare it again: {asset.prepare}")
    return AssetStatus(asset, "prepared", f"in {paths[0].parent}")


def record_prepared(path: Path, asset: str, source: Path) -> None:
    """Writes the hash of a prepared file beside it (`hand.npz` -> `hand.npz.json`), with the asset and file it came from."""
    record = {"asset": asset, "source": source.name, "bytes": path.stat().st_size, "sha256": file_sha256(path)}
    text = json.dumps(record, indent=1) + "\n"

    def write(target: Path) -> None:
        target.write_text(text, encoding="utf-8")

    write_atomically(_record_path(path), write)


def _record_path(path: Path) -> Path:
    """Where the record of a prepared file lies."""
    return path.with_name(path.name + ".json")


def _read_record(path: Path) -> dict[str, Any]:
    """The record beside a prepared file; empty when there is none to read."""
    try:
        record = json.loads(_record_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _fault(path: Path) -> str:
    """What is wrong with a prepared file, or nothing: completes the sentence "FILE ..."."""
    if not os.path.isfile(path):
        return "is gone"
    expected = _read_record(path).get("sha256")
    if expected is None:
        return "has no readable record of its hash beside it"
    try:
        return "" if file_sha256(path) == expected else "is not the file that was prepared"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
