"""Whether a run folder may be written to: it is free, or holds the very run that is to be gone on with."""

from pathlib import Path
from typing import Any

from handmesh.run_folder import CONFIG, read_config
from handsynth.core.errors import UsageError


def check_folder(out: Path, config: dict[str, Any], resume: bool) -> None:
    """Raises UsageError unless `out` is free, or holds the run of `config` that is to be gone on with."""
    if not (out / CONFIG).exists():
        if resume and out.exists() and any(out.iterdir()):
            raise UsageError(f"{out} is not empty and holds no run to go on with: give --out another folder")
        if not resume and out.exists() and any(out.iterdir()):
            raise UsageError(f"{out} is not empty: give --out another folder")
        return
    if not resume:
        raise UsageError(f"{out} already holds a run: --resume goes on with it, or give --out another folder")
    before = read_config(out, config.get("kind", "mesh"))
    for name, then, now in _differences(before, config):
        raise UsageError(f"{out} was started with {name} {then!r:.60}, this command has {now!r:.60}: resume with the same settings")


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Settings that decide the weights and are not the same; folders may have moved."""
    pairs = [(key, before.get("training", {}).get(key), value) for key, value in now["training"].items()]
    pairs += [(key, before.get(key, {}).get("digest"), now[key]["digest"]) for key in ("hand", "poses") if key in now]
    for key in ("datasets", "validation"):
        then, this = ([[d.get("identity"), d.get("weight"), d.get("samples")] for d in c.get(key) or []] for c in (before, now))
        pairs.append((key, then, this))
    return [pair for pair in pairs if pair[1] != pair[2]]
