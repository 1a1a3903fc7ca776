"""The choice between the sources of backgrounds, and images of a list that may hold damaged ones."""

from pathlib import Path

import numpy as np

from handsynth.assets.backgrounds.coco import CocoFolder, find_tables, given_tables
from handsynth.assets.backgrounds.folder import ImageFolder, list_folder
from handsynth.assets.backgrounds.procedural.scenes import Scenes
from handsynth.assets.backgrounds.protocol import Backgrounds
from handsynth.core.errors import AssetError, UsageError
from handsynth.core.images import ImageError

MAX_TRIES = 100
"""So many images in a row are tried before a folder is given up."""


def open_backgrounds(path: Path | None, *, annotations: str = "auto", exclude_no_derivatives: bool = False) -> Backgrounds:
    """Embedded scenes for None, the person-free images where COCO annotations are given or found, else any folder of images.

    `annotations` is "auto" (looked for, see find_tables), "none" (the folder as it is), or a COCO file or a folder of them.
    Raises AssetError when there is no usable image, UsageError for options that do not apply.
    """
    if path is None:
        if annotations not in ("auto", "none"):
            raise UsageError("COCO annotations were given without their images: add --backgrounds and the folder train2017")
        if exclude_no_derivatives:
            raise UsageError(
                "--exclude-no-derivatives is about the licences of COCO's images, and the embedded scenes have none that forbid "
                "anything: add --backgrounds and the folder train2017, or leave it out"
            )
        return Scenes()
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "does not exist"
        raise AssetError(f"the background folder {path} {what}: give --backgrounds a folder of images, or leave it out")
    listing = list_folder(path)
    if annotations == "auto":
        tables = find_tables(listing)
    else:
        tables = [] if annotations == "none" else given_tables(Path(annotations))
    if tables:
        return CocoFolder(listing, tables, exclude_no_derivatives)
    if exclude_no_derivatives:
        where = "were not looked for" if annotations == "none" else f"lie neither in, beside nor above {path}"
        raise UsageError(
            f"licences are known from COCO annotations only, which {where}: give --annotations FILE, or leave out "
            "--exclude-no-derivatives"
        )
    return ImageFolder(listing)


def read_usable(backgrounds: Backgrounds, index: int) -> tuple[np.ndarray, int]:
    """Image `index` and its number, or the next one in the list that can be read: the same one on every run.

    The list is a ring. Raises AssetError when none of MAX_TRIES (or all) images in a row can be read.
    """
    count = len(backgrounds)
    tries = min(count, MAX_TRIES)
    for step in range(tries):
        used = (index + step) % count
        try:
            return backgrounds.read(used), used
        except ImageError as error:
            last = error
    raise AssetError(
        f"none of {tries} backgrounds from number {index} on can be read (the last: {last}): give --backgrounds another folder"
    )
