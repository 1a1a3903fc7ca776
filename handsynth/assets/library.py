"""The library: the hand, poses, skin and backgrounds that a spec asks for, with their digests and licences."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from handsynth.assets.backgrounds.open import open_backgrounds
from handsynth.assets.backgrounds.procedural.scenes import Scenes
from handsynth.assets.backgrounds.protocol import Backgrounds
from handsynth.assets.environments.folder import Environments, open_environments
from handsynth.assets.objects.own import Objects, open_objects
from handsynth.assets.objects.table import HoldingTable, holdings_path, load_table, table_identity
from handsynth.assets.skins.painter.basis import COMPONENTS, LICENCE, embedded_skin, skin_identity, skin_path
from handsynth.assets.skins.skin import SkinModel, layout_fits, load_skin
from handsynth.assets.store import file_sha256
from handsynth.core.errors import AssetError
from handsynth.core.hand import HandModel
from handsynth.core.locations import EMBEDDED_HOLDINGS, EMBEDDED_POSES, check_cache, html_skin
from handsynth.core.named_hands import open_hand, open_poses
from handsynth.core.poses import PoseBank, load_poses


@dataclass(frozen=True, eq=False)
class Library:
    """What recipes may refer to, and what renders them."""

    hand: HandModel
    bank: PoseBank
    backgrounds: Backgrounds
    skin_source: "SkinSource"
    environments: Environments | None = None
    holdings: HoldingTable | None = None  # what the poses hold, where hands hold anything and it was searched
    objects: Objects = field(default_factory=Objects)

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of hand, poses, skin and backgrounds, and of environments, holdings and own objects where there are any."""
        more = {} if self.environments is None else {"environments": self.environments.digest}
        more |= {} if self.holdings is None else {"holdings": self.holdings.digest}
        more |= {"objects": self.objects.digest} if self.objects.are_own else {}
        return more | {
            "hand": self.hand.digest,
            "poses": self.bank.digest,
            "skin": self.skin_source.digest,
            "backgrounds": self.backgrounds.digest,
        }

    @property
    def licences(self) -> dict[str, str]:
        """One line for each part that has a licence."""
        more = {} if self.environments is None else {"environments": self.environments.licence}
        more |= {"objects": self.objects.licence} if self.objects.are_own else {}
        return more | {"hand": self.hand.licence, "skin": self.skin_source.licence, "backgrounds": self.backgrounds.licence}

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for people: what was found beside backgrounds, environments and objects, and which of them are left out."""
        more = self.environments.notes if self.environments is not None else ()
        return (*self.backgrounds.notes, *more, *self.objects.notes)

    def prepare(self, say: Callable[[str], None]) -> None:
        """Makes what is made once and kept in the cache: the embedded skin and scenes. `say` tells people why they wait.

        Raises AssetError naming HANDSYNTH_CACHE when the cache cannot be written to, before anything is painted.
        """
        missing = self.unpainted()
        if missing:
            check_cache()
        for what in missing:
            say(f"painting {what}")
        if isinstance(self.backgrounds, Scenes):
            self.backgrounds.prepare()
        _ = self.skin

    def unpainted(self) -> list[str]:
        """What has to be painted into the cache, once, before a sample can be made."""
        scenes = self.backgrounds.path if isinstance(self.backgrounds, Scenes) else None
        needed = ((scenes, "the background scenes, once (about 40 s)"), (self.skin_source.painted, "the skin, once (about 10 s)"))
        return [what for path, what in needed if path and not os.path.exists(path)]

    @cached_property
    def skin(self) -> SkinModel:
        """The skin; painted or read on first use, because recipes do not need it."""
        return self.skin_source.make()


class SkinSource(NamedTuple):
    """A skin that was found and not yet made or read: recipes need no more than its number of components."""

    make: Callable[[], SkinModel]
    digest: str
    num_components: int
    licence: str
    painted: Path | None  # where it is kept if we paint it


def open_library(
    hand: str,
    textures: str,
    backgrounds: str,
    assets: Path,
    exclude_no_derivatives: bool = False,
    annotations: str = "auto",
    environments: str = "none",
    holds: bool = False,
    objects: str = "shapes",
) -> Library:
    """Opens what a spec names (see ASSET_NAMES of recipe.spec), with what the poses hold where `holds` and where it is known.

    Raises AssetError saying what to type.
    """
    model, bank = open_hand(hand, assets), open_poses(hand, assets)
    folder = None if backgrounds == "scenes" else Path(backgrounds)
    things = Objects() if objects == "shapes" else open_objects(Path(objects))
    return Library(
        hand=model,
        bank=bank,
        backgrounds=open_backgrounds(folder, annotations=annotations, exclude_no_derivatives=exclude_no_derivatives),
        skin_source=open_skin(textures, model, assets),
        environments=None if environments == "none" else open_environments(Path(environments)),
        holdings=_open_holdings(model, bank, things, objects) if holds else None,
        objects=things,
    )


def _open_holdings(hand: HandModel, bank: PoseBank, things: Objects, folder: str) -> HoldingTable | None:
    """What each pose of the bank holds: of the shipped table, for poses of the embedded bank, or of a search; None without any.

    Raises AssetError where the user's own things were not searched for this hand and bank.
    """
    identity = table_identity(hand, bank, things.shapes)
    shipped = load_table(EMBEDDED_HOLDINGS)
    if shipped.identity == identity:
        return shipped
    known = load_poses(EMBEDDED_POSES)
    if shipped.identity == table_identity(hand, known, things.shapes):
        row_of = {theta.tobytes(): row for row, theta in enumerate(known.theta)}
        rows = [row_of.get(theta.tobytes(), -1) for theta in bank.theta]
        if -1 not in rows:
            return shipped.of_rows(rows, identity)
    if os.path.exists(path := holdings_path(identity)):
        return load_table(path)
    if things.are_own:
        raise AssetError(
            f"what the poses of hand {hand.name!r} can hold has not been searched yet: type `handsynth assets holdings "
            f"--hand {hand.name} --objects {folder}`, once (an hour of one core or less), or set held.probability to 0"
        )
    return None


def open_skin(name: str, hand: HandModel, assets: Path) -> SkinSource:
    """The skin by name or file, for a hand."""
    html = html_skin(assets)
    if name == "auto":
        name = "html" if os.path.exists(html) and hand.name == "mano" else "embedded"
    if name == "embedded":
        if not len(hand.uv):
            raise AssetError(f"hand model {hand.name!r} has no texture coordinates: use --textures html, or prepare it again")
        return SkinSource(lambda: embedded_skin(hand), skin_identity(hand), COMPONENTS, LICENCE, skin_path(hand))
    if name == "html" and not os.path.exists(html):
        raise AssetError(
            f"HTML is not prepared: looked for {html}. Register at handtracker.mpi-inf.mpg.de (research only), download the HTML "
            "release, then: handsynth assets prepare --html HTML_release_both_hands. Without it: --textures embedded"
        )
    path = html if name == "html" else Path(name)
    if not os.path.exists(path):
        raise AssetError(f"no skin is called {name!r} and no such file exists: use auto, html, embedded or a prepared .npz")
    skin = load_skin(path)
    if not layout_fits(hand.faces, skin.uv_faces):
        raise AssetError(
            f"skin {path} belongs to another hand ({len(skin.uv_faces)} faces), hand {hand.name!r} has other faces: "
            "use --textures embedded, or the hand that it was made for"
        )
    return SkinSource(lambda: skin, file_sha256(path), len(skin.components), skin.licence, None)
