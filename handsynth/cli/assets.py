"""Commands about this machine and what it may use: doctor, assets list, check and prepare."""

from pathlib import Path
from typing import Annotated

import typer

from handsynth.cli.options import AssetsOpt, JsonOpt, ObjectsOpt, assets_of, echo, place, print_json
from handsynth.core.errors import UsageError

assets_app = typer.Typer(help="Licensed assets: what is needed, what is here, MANO and HTML to plain files.", no_args_is_help=True)


def doctor(assets: AssetsOpt = None, as_json: JsonOpt = False) -> None:
    """What is here: OpenGL, assets, cores; and what to install if not."""
    from handsynth.doctor import examine

    checks = examine(assets_of(assets))
    if as_json:
        print_json([vars(check) for check in checks])
    else:
        for check in checks:
            echo(f"{'ok  ' if check.good else 'MISS' if check.needed else 'note'}  {check.name}: {check.detail}")
    if any(check.needed and not check.good for check in checks):
        raise typer.Exit(3)


@assets_app.command("list")
def assets_list(assets: AssetsOpt = None, as_json: JsonOpt = False) -> None:
    """Every external asset: what it is, its licence, where to get it, whether it is here."""
    from handsynth.assets.manifest import check_assets

    statuses = check_assets(assets_of(assets))
    if as_json:
        print_json([vars(s.asset) | {"state": s.state, "detail": s.detail} for s in statuses])
        return
    echo(f"asset folder: {assets_of(assets)}")
    for status in statuses:
        asset = status.asset
        echo(f"\n{asset.name}: {asset.title} [{status.state}]")
        echo(f"  licence  {asset.licence}\n  get it   {asset.site}\n  prepare  {asset.prepare}\n  without  {asset.instead}")


@assets_app.command("check")
def assets_check(assets: AssetsOpt = None, as_json: JsonOpt = False) -> None:
    """Hash prepared assets again; exit code 3 when one is damaged."""
    from handsynth.assets.manifest import check_assets

    statuses = check_assets(assets_of(assets))
    if as_json:
        print_json([{"name": s.asset.name, "state": s.state, "detail": s.detail} for s in statuses])
    else:
        for status in statuses:
            echo(f"{status.asset.name}: {status.state}. {status.detail}")
    if any(status.state == "damaged" for status in statuses):
        raise typer.Exit(3)


@assets_app.command("holdings")
def assets_holdings(
    hand: Annotated[str, typer.Option("--hand", help="auto, mano, embedded, toy, or a prepared .npz")] = "auto",
    objects: ObjectsOpt = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="cores that search", min=1)] = 1,
    assets: AssetsOpt = None,
) -> None:
    """Search, once, what each pose of a hand's bank can hold: specs with held.probability above 0 need it.
    With --objects, of your own things.

    About an hour of one core for 895 poses. A search that was stopped goes on where it was.
    """
    from tqdm import tqdm

    from handsynth.assets.objects.own import Objects, open_objects
    from handsynth.assets.objects.table import load_table, make_table
    from handsynth.core.locations import check_cache
    from handsynth.core.named_hands import open_hand, open_poses

    folder = assets_of(assets)
    model, bank = open_hand(hand, folder), open_poses(hand, folder)
    things = Objects() if objects in (None, "shapes") else open_objects(Path(place("objects", str(objects))))
    for note in things.notes:
        echo(note, err=True)
    check_cache()
    with tqdm(total=len(bank.theta), unit="pose") as bar:
        path = make_table(model, bank, jobs, lambda done: bar.update(done - bar.n), things.shapes)
    table = load_table(path)
    echo(f"wrote {path}: {len(table.poses)} of {len(bank.theta)} poses hold something, {len(table.pose)} placements")


@assets_app.command("prepare")
def assets_prepare(
    mano: Annotated[Path | None, typer.Option("--mano", help="mano_v1_2.zip, its folder, or MANO_RIGHT.pkl")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="HTML's release: its zip or folder")] = None,
    pose_prior: Annotated[
        Path | None, typer.Option("--pose-prior", help="pose_hand_prior.npz: exactly the paper's 895 poses")
    ] = None,
    assets: AssetsOpt = None,
) -> None:
    """Turn licensed files into plain ones that no other program needs a pickle for."""
    from handsynth.assets.hands.mano import prepare_mano
    from handsynth.assets.skins.html import prepare_html
    from handsynth.core.locations import check_assets_dir

    if mano is None and html is None:
        raise UsageError("say what to prepare: --mano mano_v1_2.zip, --html HTML_release_both_hands, or both")
    if pose_prior is not None and mano is None:
        raise UsageError("--pose-prior goes with --mano: give both")
    folder = assets_of(assets)
    check_assets_dir(folder)
    prepared = [prepare_mano(mano, folder, pose_prior)] if mano else []
    prepared += [prepare_html(html, folder)] if html else []
    for result in prepared:
        for note in result.notes:
            echo(note)
        for path in result.paths:
            echo(f"wrote {path}")
