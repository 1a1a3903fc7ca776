"""Where nets run: the device by name."""

import torch

from handsynth.core.errors import AssetError, UsageError


def pick_device(name: str = "auto") -> torch.device:
    """The device "auto" (CUDA when there is one), "cpu", "cuda" or "cuda:N".

    Raises UsageError for another name, AssetError when there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise UsageError(f"there is no device {name!r}: use auto, cpu, cuda or cuda:N")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise AssetError(f"device {name} is not here: torch sees {torch.cuda.device_count()} CUDA devices (--device cpu works)")
    return torch.device(name)
