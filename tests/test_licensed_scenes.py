"""Everything with MANO and HTML: files of their exact structure, with the embedded hand's content, make dressed hands that hold."""

import json
from pathlib import Path

import numpy as np
import pytest
from licensed_files import smplx_arrays, write_mano
from tiny import handsynth, make_world

from handsynth.assets.skins.painter.basis import embedded_skin
from handsynth.assets.skins.skin import SkinModel, shrink_skin
from handsynth.core.conventions import FINGERTIP_TABLES, PARENTS
from handsynth.core.hand import load_hand
from handsynth.core.index import read_index
from handsynth.core.locations import EMBEDDED_HAND, EMBEDDED_POSES
from handsynth.core.poses import load_poses

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
HAND = load_hand(EMBEDDED_HAND)
TIPS = FINGERTIP_TABLES["freihand"]


def order() -> np.ndarray:
    """(778,) vertices of the embedded hand in an order in which its fingertips have the numbers that MANO's have."""
    rows = np.arange(HAND.num_vertices)
    for own, wanted in zip(HAND.fingertips, TIPS, strict=True):
        place = int(np.flatnonzero(rows == own)[0])
        rows[[place, wanted]] = rows[[wanted, place]]
    return rows


def mano_of_the_embedded_hand() -> dict[str, np.ndarray]:
    """What MANO_RIGHT.pkl holds, of the embedded hand and its poses."""
    rows = order()
    mean, poses = HAND.hands_mean.ravel(), load_poses(EMBEDDED_POSES).theta.reshape(-1, 45)
    return {
        "v_template": HAND.v_template[rows],
        "shapedirs_source": HAND.shapedirs[rows],
        "posedirs": HAND.posedirs[rows],
        "J_regressor": HAND.J_regressor[:, rows],
        "weights": HAND.weights[rows],
        "J": HAND.rest_joints,
        "f": np.argsort(rows)[HAND.faces].astype(np.uint32),
        "kintree_table": np.array([[p % 2**32 for p in PARENTS], range(16)], np.uint32),
        "hands_components": np.eye(45),
        "hands_mean": mean,
        "hands_coeffs": np.resize(poses - mean, (1554, 45)),
    }


def few_components(skin: SkinModel, count: int) -> SkinModel:
    return SkinModel(skin.name, skin.licence, skin.size, skin.mean, skin.components[:count], skin.texels, skin.uv, skin.uv_faces)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder of prepared assets: MANO and HTML as `assets prepare` writes them."""
    folder = tmp_path_factory.mktemp("licensed")
    write_mano(folder / "MANO_RIGHT.pkl", mano_of_the_embedded_hand())
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        from html_release import write_html_release
    write_html_release(few_components(shrink_skin(embedded_skin(HAND), 256), 3), folder / "html")
    done = handsynth(
        "assets", "prepare", "--mano", folder / "MANO_RIGHT.pkl", "--html", folder / "html", "--assets", folder / "assets"
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_rebuilt_file_is_the_embedded_hand():
    arrays = smplx_arrays(mano_of_the_embedded_hand())
    assert arrays["v_template"].shape == (778, 3)
    np.testing.assert_allclose(arrays["J_regressor"] @ arrays["v_template"], HAND.rest_joints, atol=1e-9)
    np.testing.assert_array_equal(arrays["v_template"][list(TIPS)], HAND.v_template[HAND.fingertips])
    np.testing.assert_array_equal(arrays["v_template"][arrays["f"].astype(int)], HAND.v_template[HAND.faces])


def test_default_with_everything_takes_mano_html_and_a_folder_of_images(prepared, tmp_path):
    """Arms, clothing, surroundings and camera, on licensed assets; verify finds nothing, and replays give the same bytes."""
    images = make_world(tmp_path / "world").images
    out = tmp_path / "out"
    assets = ["--assets", prepared / "assets", "--backgrounds", images]
    passes = "depth,parts,normal,uv,amodal,scene"
    done = handsynth(
        "generate", "default", out, "--samples", 12, "--hand", "mano", "--textures", "html", "--passes", passes, *assets
    )
    assert done.returncode == 0, done.stderr
    index = read_index(out)
    assert "MANO" in index["licences"]["hand"]
    assert "HTML" in index["licences"]["skin"]
    checked = handsynth("verify", out, "--replay", 3, "--json", *assets)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    shown = json.loads(handsynth("stats", out, "--json").stdout)
    assert shown["arms"] >= 6
    assert sum(shown["clothing"].values()) > 0
