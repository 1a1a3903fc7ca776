"""Doctor: what this machine has for rendering, and what to install where something is missing."""

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from handsynth.assets.environments.read import openexr_version
from handsynth.assets.library import open_library
from handsynth.assets.manifest import check_assets
from handsynth.core.errors import AssetError
from handsynth.core.locations import EMBEDDED_HAND, EMBEDDED_POSES, cache_dir, check_cache


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    good: bool
    needed: bool  # without it nothing can be rendered
    detail: str


def examine(assets: Path) -> list[Check]:
    """Looks at OpenGL, the embedded assets, cores, disk and licensed assets."""
    checks = [
        Check("python", True, True, f"{platform.python_version()} on {platform.machine()}"),
        _opengl(),
        *_devices(),
        Check("embedded hand", *_present(EMBEDDED_HAND), str(EMBEDDED_HAND)),
        Check("embedded poses", *_present(EMBEDDED_POSES), str(EMBEDDED_POSES)),
        Check(
            "cores",
            True,
            False,
            f"{len(os.sched_getaffinity(0))} usable: handsynth generate ... --jobs {len(os.sched_getaffinity(0))}",
        ),
        *_cache(assets),
    ]
    version = openexr_version()
    missing = "no .exr panorama can be read by --environments (.hdr can): pip install 'handsynth[exr]'"
    checks.append(Check("OpenEXR", version is not None, False, f"OpenEXR {version}" if version else missing))
    for status in check_assets(assets):
        checks.append(Check(status.asset.name, status.state == "prepared", False, status.detail))
    return checks


def _cache(assets: Path) -> list[Check]:
    """Whether the embedded skin and scenes lie in the cache or can be made there, and the room for them."""
    try:
        if not open_library("auto", "auto", "scenes", assets).unpainted():
            return [Check("cache", True, True, f"{cache_dir()} (the skin and the embedded scenes lie there)")]
        check_cache()
    except AssetError as error:
        return [Check("cache", False, True, str(error))]
    free = shutil.disk_usage(cache_dir()).free
    return [
        Check("cache", True, True, f"{cache_dir()} (embedded skin and scenes are made there once, about 220 MB)"),
        Check("disk", free > 2e9, False, f"{free / 1e9:.0f} GB free for the cache"),
    ]


def _opengl() -> Check:
    """Makes a context and says which driver drew."""
    from handsynth.render.context import driver_name, make_context

    try:
        return Check("opengl", True, True, driver_name(make_context()))
    except AssetError as error:
        return Check("opengl", False, True, str(error))


def _devices() -> list[Check]:
    """Every device that EGL can draw on, as `generate --device` takes them."""
    from handsynth.render.context import list_devices

    kinds = {"cpu": "software", "gpu": "GPU", None: "cannot be used"}
    return [
        Check(f"device {found.number}", found.driver is not None, False, f"{kinds[found.kind]}: {found.detail}")
        for found in list_devices()
    ]


def _present(path: Path) -> tuple[bool, bool]:
    return path.is_file(), True
