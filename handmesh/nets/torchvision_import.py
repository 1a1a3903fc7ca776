"""The one place that imports torchvision: beside a CPU build of torch its compiled operators may be missing, and are not needed.

torchvision's wheel for Linux is built against CUDA. Where torch is a CPU build, its library of operators cannot load, and
`import torchvision` fails on `operator torchvision::nms does not exist`, although models and their weights are pure Python.
Declaring the schemas of the operators that it decorates at import, and only when they are missing, makes the import work;
whoever calls them still learns that they are missing.
"""

import torch

_SCHEMAS = {name: f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")}
_declared: list[torch.library.Library] = []  # a Library takes its operators with it when it is collected


def _declare_missing() -> None:
    try:
        from torchvision import models  # noqa: F401
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
    else:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
    _declared.append(library)


_declare_missing()

from torchvision import models  # noqa: E402

__all__ = ["models"]
