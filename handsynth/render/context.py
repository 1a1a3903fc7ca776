"""A headless OpenGL context through EGL: made on first use, one per process; and the devices that EGL can draw on."""

import os
import re
from dataclasses import dataclass
from typing import Any

from handsynth.core.errors import AssetError, UsageError

INSTALL_HINT = "on Debian or Ubuntu: apt-get install -y libegl1 libegl-mesa0 libgl1-mesa-dri; then `handsynth doctor`"

AUTO = "auto"
"""EGL's first device. Machines with a GPU and its driver name that one first, and Mesa's software device last."""

_SOFTWARE = re.compile("llvmpipe|softpipe|swrast|software", re.IGNORECASE)  # Mesa's names of its drivers that draw on a CPU

_BEYOND_ALL = 1 << 20  # given such a device, EGL's binding refuses and says how many there are


@dataclass(frozen=True)
class Device:
    """One of EGL's devices."""

    number: int
    driver: str | None  # None when no context can be made on it
    detail: str  # the driver, or why there is no context

    @property
    def kind(self) -> str | None:
        """One of cpu and gpu; None when it cannot be used."""
        return self.driver and ("cpu" if _SOFTWARE.search(self.driver) else "gpu")


def prepare_environment() -> None:
    """Settings that Mesa reads when it is loaded: no rasteriser threads (workers are the parallelism), no display."""
    os.environ.setdefault("LP_NUM_THREADS", "0")
    os.environ.setdefault("EGL_PLATFORM", "surfaceless")
    os.environ.pop("GLCONTEXT_DEVICE_INDEX", None)  # it would overrule the device that is requested


def make_context(device: int = 0):
    """A moderngl context on EGL device `device`. Raises AssetError saying which package to install."""
    try:
        context = _create(device)
    except Exception as error:  # glcontext raises bare Exceptions
        raise AssetError(f"no OpenGL through EGL on this machine ({error}); {INSTALL_HINT}") from None
    if context.version_code < 330:
        raise AssetError(f"OpenGL {context.version_code / 100:.1f} is too old, 3.3 is needed; {INSTALL_HINT}")
    return context


def _create(device: int):
    prepare_environment()
    import moderngl

    settings: dict[str, Any] = {"standalone": True, "backend": "egl", "device_index": device}
    try:
        return moderngl.create_context(**settings)
    except Exception:
        # Where only the run-time libraries are installed, they are found by their exact names.
        return moderngl.create_context(**settings | {"libgl": "libGL.so.1", "libegl": "libEGL.so.1"})


def driver_name(context) -> str:
    """Renderer and version strings of the driver."""
    return f"{context.info['GL_RENDERER']}; OpenGL {context.info['GL_VERSION']}"


def list_devices() -> list[Device]:
    """EGL's devices by number, each tried; none where there is no EGL."""
    return [_try_device(number) for number in range(_count_devices())]


def check_device(wanted: str) -> None:
    """Raises UsageError when `wanted` is neither auto, cpu, gpu nor a number."""
    if wanted not in (AUTO, "cpu", "gpu") and not re.fullmatch("[0-9]{1,5}", wanted):
        raise UsageError(f"--device is auto, cpu, gpu, or a number that `handsynth doctor` lists, not {wanted!r}")


def find_device(wanted: str) -> int:
    """The number of the EGL device that is meant by auto (the first), cpu or gpu (the first of that kind), or a number.

    Raises UsageError when it is none of these, AssetError when this machine has no such device.
    """
    check_device(wanted)
    if wanted == AUTO:
        return 0
    count = _count_devices()
    if wanted.isdigit():
        if count and int(wanted) >= count:
            there = f"has {count}, numbered from 0" if count > 1 else "has one, number 0"
            raise AssetError(f"there is no EGL device {wanted}: {os.uname().nodename} {there}; `handsynth doctor` lists them")
        return int(wanted)  # without any device, make_context says what to install
    tried = []
    for number in range(count):
        tried.append(_try_device(number))
        if tried[-1].kind == wanted:
            return number
    if not tried:
        return 0
    found = "; ".join(f"{device.number}: {device.detail}" for device in tried)
    missing = "no GPU that EGL can draw on" if wanted == "gpu" else "no software device"
    cure = "install its driver's EGL library, or leave --device out" if wanted == "gpu" else INSTALL_HINT
    raise AssetError(f"{os.uname().nodename} has {missing} ({found}): {cure}")


def _count_devices() -> int:
    """How many devices EGL has; 0 without EGL."""
    try:
        _create(_BEYOND_ALL)
    except Exception as error:
        found = re.search(r"found (\d+) devices", str(error))
        return int(found[1]) if found else 0
    return 1  # a binding that ignores the number


def _try_device(number: int) -> Device:
    """Makes a context for a moment."""
    try:
        context = make_context(number)
    except AssetError as error:
        return Device(number, None, str(error))
    driver = driver_name(context)
    context.release()
    return Device(number, driver, driver)
