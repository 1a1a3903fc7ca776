"""The manifest of external assets, and the check of what was prepared from them."""

from pathlib import Path

import numpy as np
import pytest
from licensed_files import html_arrays, mano_arrays, write_html, write_mano

from handsynth.assets.hands.mano import prepare_mano
from handsynth.assets.manifest import MANIFEST, check_assets, list_assets
from handsynth.assets.skins.html import prepare_html
from handsynth.core.errors import AssetError


def states(assets: Path) -> dict[str, str]:
    return {status.asset.name: status.state for status in check_assets(assets)}


@pytest.fixture
def assets(tmp_path) -> Path:
    """An asset folder with MANO and HTML prepared."""
    write_mano(tmp_path / "MANO_RIGHT.pkl", mano_arrays())
    write_html(tmp_path / "html", *html_arrays(used=300, components=5))
    prepare_mano(tmp_path / "MANO_RIGHT.pkl", tmp_path / "assets")
    prepare_html(tmp_path / "html", tmp_path / "assets")
    return tmp_path / "assets"


def test_every_asset_is_described():
    """Each entry has a licence, a site, what to type and what to do without; names and prepared files are their own."""
    assets = list_assets()
    assert {asset.name for asset in assets} == {"mano", "pose_prior", "html", "coco", "environments"}
    for asset in assets:
        for field in ("title", "site", "licence", "prepare", "instead", "dataset", "files"):
            assert getattr(asset, field), (asset.name, field)
        assert asset.site.startswith("https://")
        assert all(not Path(name).is_absolute() and ".." not in Path(name).parts for name in asset.becomes)


def test_top_level_manifest_is_the_packages(request):
    """The file at the top of the repository and the one that is installed are one."""
    assert (request.config.rootpath / "assets_manifest.yaml").read_bytes() == MANIFEST.read_bytes()


def test_nothing_prepared(tmp_path):
    """In an empty or absent folder every prepared asset is missing, with the site and the command to type."""
    assert states(tmp_path / "nowhere") == {
        "mano": "missing",
        "pose_prior": "missing",
        "html": "missing",
        "coco": "used in place",
        "environments": "used in place",
    }
    for status in check_assets(tmp_path):
        assert status.asset.prepare in status.detail


def test_prepared_assets_are_seen(assets):
    """What prepare wrote is found; the pose prior, which was not there, is still missing."""
    assert states(assets) == {
        "mano": "prepared",
        "pose_prior": "missing",
        "html": "prepared",
        "coco": "used in place",
        "environments": "used in place",
    }


def test_pose_prior_is_seen(tmp_path, assets):
    """When the poses came from the prior, both MANO and the prior count as prepared."""
    np.savez(tmp_path / "p.npz", hands_meanr=np.zeros(45), hands_componentsr=np.eye(45), hands_coeffsr=np.zeros((895, 45)))
    prepare_mano(tmp_path / "MANO_RIGHT.pkl", assets, pose_prior=tmp_path / "p.npz")
    assert states(assets)["mano"] == states(assets)["pose_prior"] == "prepared"


@pytest.mark.parametrize("name", ["mano/hand.npz", "mano/poses.npz", "html/skin.npz"])
def test_one_changed_byte_is_damage(assets, name):
    """A prepared file that changed by one byte, was cut, lost its record or went away is damaged, and the detail says which."""
    path = assets / name
    record, raw, owner = path.with_name(path.name + ".json"), path.read_bytes(), name.split("/")[0]

    def check(expected: str) -> None:
        (status,) = [s for s in check_assets(assets) if s.asset.name == owner]
        assert status.state == "damaged"
        assert str(path) in status.detail
        assert expected in status.detail

    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    check("is not the file")
    path.write_bytes(raw[:100])
    check("is not the file")
    path.write_bytes(raw)
    assert states(assets)[owner] == "prepared"
    kept = record.read_bytes()
    for broken in (b"", b"[]", b"{}", b"{"):
        record.write_bytes(broken)
        check("record")
    record.write_bytes(kept)
    if owner == "mano":  # HTML has one file: without it, it is missing
        path.unlink()
        check("is gone")


def test_damaged_manifest_is_an_asset_error(tmp_path, monkeypatch):
    """A manifest that is no YAML, or lacks a field, is an AssetError and not a traceback."""
    for text in ("mano: [", "mano: {title: x}", "just text", ""):
        (tmp_path / "m.yaml").write_text(text)
        monkeypatch.setattr("handsynth.assets.manifest.MANIFEST", tmp_path / "m.yaml")
        with pytest.raises(AssetError, match=r"m\.yaml is damaged"):
            list_assets()
