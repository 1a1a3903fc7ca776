"""What every source of backgrounds offers."""

from typing import Any, Protocol

import numpy as np


class Backgrounds(Protocol):
    """A fixed, ordered list of images."""

    name: str
    """"scenes", "folder" or "coco"."""
    licence: str
    """One line for a dataset's index.json."""
    digest: str
    """SHA-256 of what identifies the list: names, sizes and licences, or the generator's version and parameters."""
    notes: tuple[str, ...]
    """Sentences for people, shown on stderr: what was found beside the images, and what was left out."""

    def __len__(self) -> int: ...

    def label(self, index: int) -> dict[str, Any]:
        """What a sample records of image `index`: its name, its licence and, for COCO, its id."""
        ...

    def read(self, index: int) -> np.ndarray:
        """uint8 (H, W, 3) sRGB. Raises ImageError when the image cannot be read."""
        ...
