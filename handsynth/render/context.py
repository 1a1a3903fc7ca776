"""A headless OpenGL context through EGL: made on first use, one per process."""

import os
from typing import Any

from handsynth.core.errors import AssetError

INSTALL_HINT = "on Debian or Ubuntu: apt-get install -y libegl1 libegl-mesa0 libgl1-mesa-dri; then `handsynth doctor`"


def prepare_environment() -> None:
    """Settings that Mesa reads when it is loaded: no rasteriser threads (workers are the parallelism), no display."""
    os.environ.setdefault("LP_NUM_THREADS", "0")
    os.environ.setdefault("EGL_PLATFORM", "surfaceless")


def make_context(device: int = 0):
    """A moderngl context on EGL device `device`. Raises AssetError saying which package to install."""
    prepare_environment()
    import moderngl

    settings: dict[str, Any] = {"standalone": True, "backend": "egl", "device_index": device}
    try:
        context = moderngl.create_context(**settings)
    except Exception as error:  # glcontext raises bare Exceptions
        try:
            # Where only the run-time libraries are installed, they are found by their exact names.
            settings |= {"libgl": "libGL.so.1", "libegl": "libEGL.so.1"}
            context = moderngl.create_context(**settings)
        except Exception:
            raise AssetError(f"no OpenGL through EGL on this machine ({error}); {INSTALL_HINT}") from None
    if context.version_code < 330:
        raise AssetError(f"OpenGL {context.version_code / 100:.1f} is too old, 3.3 is needed; {INSTALL_HINT}")
    return context


def driver_name(context) -> str:
    """Renderer and version strings of the driver."""
    return f"{context.info['GL_RENDERER']}; OpenGL {context.info['GL_VERSION']}"
