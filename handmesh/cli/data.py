"""Foreign data in, a challenge's files out."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from handmesh.cli.options import BatchOpt, DeviceOpt, JsonOpt, print_json, run_and_rest

convert_app = typer.Typer(help="Foreign data into our shards or labels, once.", no_args_is_help=True)
submit_app = typer.Typer(help="Predictions as a challenge takes them.", no_args_is_help=True)


@convert_app.command("freihand")
def convert_freihand(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="FreiHAND v2's folder", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder for OUT/train and OUT/val", show_default=False)],
    hand: Annotated[Path, typer.Option(help="MANO's right hand as `handsynth assets prepare` wrote it (.npz)", show_default=False)],
    shard_size: Annotated[int, typer.Option(help="samples of a shard", min=1)] = 1000,
    as_json: JsonOpt = False,
) -> None:
    """FreiHAND v2 -> shards: every version of every image, nine tenths to train on, one tenth to validate."""
    from handmesh.data import freihand
    from handsynth.core.files import check_out_folder
    from handsynth.core.hand import load_hand

    check_out_folder(out)
    made = freihand.convert_freihand(src, out, load_hand(hand), shard_size)
    if as_json:
        print_json(made)
    else:
        typer.echo(f"{out}: {made['train']} samples in train, {made['val']} in val, of {made['originals']} originals")


@convert_app.command("keypoints")
def convert_keypoints(
    other: Annotated[str, typer.Argument(metavar="HAND", help="whose keypoints: mano, or a prepared .npz", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="TABLE.yaml", help="file to write", show_default=False)],
    hand: Annotated[str, typer.Option(help="of the net that is evaluated: mano, embedded, toy, or a .npz")] = "embedded",
    as_json: JsonOpt = False,
) -> None:
    """Another hand's keypoints, FreiHAND's with MANO, as a table for `evaluate --photos --keypoints`: the skins are registered."""
    import numpy as np

    from handmesh.evaluation.keypoint_tables import save_table
    from handmesh.evaluation.registration import table_of_hand
    from handmesh.keypoints import keypoint_regressor
    from handsynth.core.files import check_out_file
    from handsynth.core.named_hands import open_hand

    check_out_file(out)
    net_hand = open_hand(hand)
    table = table_of_hand(net_hand, open_hand(other), out.stem)
    save_table(out, table)
    moved = 1000 * np.linalg.norm((table.matrix - keypoint_regressor(net_hand)) @ net_hand.v_template, axis=1)
    if as_json:
        print_json({"out": str(out), "about": table.about, "moved_mm": moved.round(2).tolist()})
    else:
        typer.echo(f"{out}: {table.about}; keypoints move by {moved.mean():.1f} mm, at most {moved.max():.1f}")


class PhotoSet(StrEnum):
    """Sets of labelled photographs that `convert photos` reads."""

    FREIHAND = "freihand"
    HO3D = "ho3d"
    MMPOSE = "mmpose"


class Side(StrEnum):
    """Which hand."""

    RIGHT = "right"
    LEFT = "left"


@convert_app.command("photos")
def convert_labelled_photos(
    kind: Annotated[PhotoSet, typer.Argument(metavar="SET", help="freihand, ho3d or mmpose", show_default=False)],
    src: Annotated[
        Path, typer.Argument(metavar="SRC", help="the set's folder; of mmpose, the JSON file of hands", show_default=False)
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT.json", help="file to write, in the folder of the images or above", show_default=False)
    ],
    every: Annotated[int, typer.Option(help="take the first of so many hands", min=1)] = 1,
    images: Annotated[Path | None, typer.Option(help="folder of mmpose's images [that of SRC]", show_default=False)] = None,
    side: Annotated[Side | None, typer.Option(help="of all hands of a file that does not say", show_default=False)] = None,
    as_json: JsonOpt = False,
) -> None:
    """FreiHAND's evaluation set, HO-3D v2 or mmpose's samples -> the labels that `evaluate --photos` reads."""
    from handmesh.data.photo_sets import convert_photos
    from handsynth.core.files import check_out_file

    check_out_file(out)
    hands = convert_photos(kind, src, out, every, images, side)
    if as_json:
        print_json({"out": str(out), "hands": hands})
    else:
        typer.echo(f"{out}: {hands} hands; evaluate a net with: handmesh evaluate --photos {out}")


@submit_app.command("freihand")
def submit_freihand(
    words: Annotated[
        list[Path],
        typer.Argument(
            metavar="[RUN] SRC PRED.ZIP", help="run or shipped weights, FreiHAND's folder, file to write", show_default=False
        ),
    ],
    boxes: Annotated[
        Path | None,
        typer.Option(help="JSON list of [x0, y0, x1, y1] px tightly about each hand, from a detector [the image's centre]"),
    ] = None,
    batch: BatchOpt = 32,
    device: DeviceOpt = "auto",
    as_json: JsonOpt = False,
) -> None:
    """FreiHAND's evaluation images -> the challenge's zip; scored at once where its annotations are in SRC."""
    from handmesh.device import pick_device
    from handmesh.evaluation import challenge
    from handmesh.evaluation.report import scores_line
    from handmesh.run_folder import load_run
    from handmesh.shipped import find_run
    from handsynth.core.files import check_out_file

    run, (src, out) = run_and_rest(words, 2, "SRC, FreiHAND's folder, and PRED.ZIP, the file to write, alone or after RUN")
    where = pick_device(device)
    opened = load_run(find_run(run), where)
    check_out_file(out)
    task = challenge.read_challenge(src, opened.hand, boxes)
    made = challenge.submit_freihand(opened.net, opened.hand, task, out, opened.spec.side, batch, where)
    if as_json:
        print_json(made)
    else:
        typer.echo(f"{out}: {made['images']} hands")
        typer.echo(scores_line(made["metrics"]) if "metrics" in made else f"not scored: {', '.join(made['missing'])} missing")
