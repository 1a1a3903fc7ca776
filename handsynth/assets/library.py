"""The library: the hand, poses, skin and backgrounds that a spec asks for, with their digests and licences."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from handsynth.assets.backgrounds.open import open_backgrounds
from handsynth.assets.backgrounds.procedural.scenes import Scenes
from handsynth.assets.backgrounds.protocol import Backgrounds
from handsynth.assets.poses import PoseBank, load_poses
from handsynth.assets.skins.painter.basis import COMPONENTS, LICENCE, embedded_skin, skin_identity, skin_path
from handsynth.assets.skins.skin import SkinModel, layout_fits, load_skin
from handsynth.assets.store import EMBEDDED, file_sha256
from handsynth.core.errors import AssetError
from handsynth.core.hand import HandModel, load_hand
from handsynth.core.toy import toy_hand, toy_poses


@dataclass(frozen=True, eq=False)
class Library:
    """What recipes may refer to, and what renders them."""

    hand: HandModel
    bank: PoseBank
    backgrounds: Backgrounds
    num_skin_components: int
    digests: dict[str, str]  # "hand", "poses", "skin", "backgrounds" -> SHA-256
    licences: dict[str, str]  # the same names -> one line each
    painted_skin: Path | None  # where the painter's skin is kept; None for a skin that was read from elsewhere
    _make_skin: Callable[[], SkinModel]

    def prepare(self, say: Callable[[str], None]) -> None:
        """Makes what is made once and kept in the cache: the embedded skin and scenes. `say` tells people why they wait."""
        if isinstance(self.backgrounds, Scenes) and not self.backgrounds.path.exists():
            say("painting the background scenes, once (about 40 s)")
            self.backgrounds.prepare()
        if self.painted_skin and not self.painted_skin.exists():
            say("painting the skin, once (about 10 s)")
        _ = self.skin

    @cached_property
    def skin(self) -> SkinModel:
        """The skin; painted or read on first use, because recipes do not need it."""
        return self._make_skin()


def open_library(hand: str, textures: str, backgrounds: str, assets: Path, exclude_no_derivatives: bool = False) -> Library:
    """Opens what a spec names (see DatasetSpec.hand, textures, backgrounds). Raises AssetError saying what to type."""
    model, bank = _open_hand(hand, assets)
    make_skin, skin_digest, num_components, skin_licence, painted_skin = _open_skin(textures, model, assets)
    images = open_backgrounds(None if backgrounds == "scenes" else Path(backgrounds), exclude_no_derivatives=exclude_no_derivatives)
    return Library(
        hand=model,
        bank=bank,
        backgrounds=images,
        num_skin_components=num_components,
        digests={"hand": model.digest, "poses": bank.digest, "skin": skin_digest, "backgrounds": images.digest},
        painted_skin=painted_skin,
        licences={"hand": model.licence, "skin": skin_licence, "backgrounds": images.licence},
        _make_skin=make_skin,
    )


def _open_hand(name: str, assets: Path) -> tuple[HandModel, PoseBank]:
    """The hand and its pose bank."""
    mano, mano_poses = assets / "mano" / "hand.npz", assets / "mano" / "poses.npz"
    embedded_poses = EMBEDDED / "poses.npz"
    if name == "auto":
        name = "mano" if mano.exists() else "embedded"
    if name == "toy":
        theta = toy_poses()
        return toy_hand(), PoseBank(theta, tuple(f"toy {k}" for k in range(len(theta))))
    if name == "embedded":
        return load_hand(EMBEDDED / "hand.npz"), load_poses(embedded_poses)
    if name == "mano":
        if not mano.exists():
            raise AssetError(
                f"MANO is not prepared: looked for {mano}. Register at mano.is.tue.mpg.de (non-commercial research), download "
                "mano_v1_2.zip, then: handsynth assets prepare --mano mano_v1_2.zip. Without it: --hand embedded"
            )
        return load_hand(mano), load_poses(mano_poses)
    path = Path(name)
    if not path.exists():
        raise AssetError(f"no hand is called {name!r} and no such file exists: use auto, mano, embedded, toy or a prepared .npz")
    beside = path.with_name("poses.npz")
    return load_hand(path), load_poses(beside if beside.exists() else embedded_poses)


def find_hand(digest: str, assets: Path) -> HandModel | None:
    """The hand of that digest, if it is on this machine."""
    for name in ("embedded", "mano", "toy"):
        try:
            model = _open_hand(name, assets)[0]
        except AssetError:
            continue
        if model.digest == digest:
            return model
    return None


def _open_skin(name: str, hand: HandModel, assets: Path) -> tuple[Callable[[], SkinModel], str, int, str, Path | None]:
    """How to get the skin, its digest, its number of components, its licence, and where it is kept if we paint it."""
    html = assets / "html" / "skin.npz"
    if name == "auto":
        name = "html" if html.exists() and hand.name == "mano" else "embedded"
    if name == "embedded":
        if not len(hand.uv):
            raise AssetError(f"hand model {hand.name!r} has no texture coordinates: use --textures html, or prepare it again")
        return lambda: embedded_skin(hand), skin_identity(hand), COMPONENTS, LICENCE, skin_path(hand)
    if name == "html" and not html.exists():
        raise AssetError(
            f"HTML is not prepared: looked for {html}. Register at handtracker.mpi-inf.mpg.de (research only), download the HTML "
            "release, then: handsynth assets prepare --html HTML_release_both_hands. Without it: --textures embedded"
        )
    path = html if name == "html" else Path(name)
    if not path.exists():
        raise AssetError(f"no skin is called {name!r} and no such file exists: use auto, html, embedded or a prepared .npz")
    skin = load_skin(path)
    if not layout_fits(hand.faces, skin.uv_faces):
        raise AssetError(
            f"skin {path} belongs to another hand ({len(skin.uv_faces)} faces), hand {hand.name!r} has other faces: "
            "use --textures embedded, or the hand that it was made for"
        )
    return lambda: skin, file_sha256(path), len(skin.components), skin.licence, None
