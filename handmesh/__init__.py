"""handmesh: from an image of a hand to its mesh and joint angles. The trainer follows; see README.md.

    import handmesh
    hands = handmesh.load()
    for hand in hands("photo.jpg"):
        print(hand.side, hand.joint_angles_deg["index_pip_flexion"], hand.vertices.shape)

docs/api.md has more. What is named here is loaded when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handmesh.estimation.detect import Detection
    from handmesh.estimation.hands import Hand, Hands, load

__all__ = ["Detection", "Hand", "Hands", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from handmesh.estimation import detect, hands

    return getattr(detect if name == "Detection" else hands, name)
