"""Commands about a spec, before a dataset is made: plan, recipe, preview."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from handsynth.cli.options import (
    AnnotationsOpt,
    AssetsOpt,
    BackgroundsOpt,
    DeviceOpt,
    EnvironmentsOpt,
    HandOpt,
    IndicesOpt,
    JsonOpt,
    NoDerivativesOpt,
    ObjectsOpt,
    PassesOpt,
    RendererOpt,
    SamplesOpt,
    SeedOpt,
    ShardSizeOpt,
    SpecArg,
    TexturesOpt,
    assets_of,
    echo,
    image_path,
    print_json,
    show_notes,
    spec_of,
)
from handsynth.core.errors import UsageError


def plan(
    spec: SpecArg,
    samples: SamplesOpt = None,
    indices: IndicesOpt = None,
    passes: PassesOpt = None,
    shard_size: ShardSizeOpt = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="draw the camera positions of a grid into this image")] = None,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="print a shipped spec with its comments, to copy and edit")] = False,
    assets: AssetsOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Counts, shards, bytes and hours of a dataset, before anything is made."""
    from handsynth.dataset.plan import estimate, plot_plan
    from handsynth.dataset.selection import Selection
    from handsynth.recipe.spec import SHIPPED, spec_text

    if as_yaml:
        if spec not in SHIPPED:
            raise UsageError(f"--yaml prints a shipped spec ({', '.join(SHIPPED)}), not {spec!r}")
        typer.echo(spec_text(spec), nl=False)
        return
    chosen = spec_of(spec, passes=passes, shard_size=shard_size)
    found = estimate(chosen, Selection(samples, indices))
    if plot is not None:
        plot_plan(image_path(plot, ".pdf", ".svg"), chosen, assets_of(assets))
        found["plot"] = str(plot)
    if as_json:
        print_json(found)
        return
    echo(
        f"{found['name']}: {found['samples']:,} samples of {found['image_size']} x {found['image_height']} px in {found['shards']} "
        f"shards, about {found['bytes_estimate'] / 1e9:.1f} GB and {found['core_hours_estimate']:.2f} core hours"
    )
    if plot is not None:
        echo(f"camera positions drawn in {plot}")


def recipe(
    spec: SpecArg,
    indices: IndicesOpt = None,
    samples: SamplesOpt = None,
    seed: SeedOpt = None,
    hand: HandOpt = None,
    backgrounds: BackgroundsOpt = None,
    annotations: AnnotationsOpt = None,
    environments: EnvironmentsOpt = None,
    objects: ObjectsOpt = None,
    textures: TexturesOpt = None,
    assets: AssetsOpt = None,
) -> None:
    """The decisions of samples, one JSON line each, without rendering."""
    from handsynth.core.index import canonical_json
    from handsynth.crowds import open_sampler
    from handsynth.dataset.selection import Selection
    from handsynth.generator import library_of

    chosen = spec_of(
        spec, seed=seed, hand=hand, backgrounds=backgrounds, annotations=annotations,
        environments=environments, objects=objects, textures=textures,
    )  # fmt: skip
    selected = Selection(samples, indices).indices(chosen.samples)
    library = library_of(chosen, assets_of(assets))
    show_notes(library)
    sampler = open_sampler(chosen, library)
    for index in selected:
        sys.stdout.write(canonical_json(sampler.sample(index).to_dict()).decode() + "\n")


def preview(
    spec: SpecArg,
    sheet: Annotated[Path, typer.Argument(help="image to write, .png or .jpg; of clips .webp, .gif or .mp4 too, which move")],
    number: Annotated[int | None, typer.Option("-n", min=1, help="samples on the sheet [64], or clips [9]")] = None,
    zoom: Annotated[int, typer.Option("--zoom", min=1, max=4, help="enlargement")] = 1,
    seed: SeedOpt = None,
    hand: HandOpt = None,
    backgrounds: BackgroundsOpt = None,
    annotations: AnnotationsOpt = None,
    environments: EnvironmentsOpt = None,
    objects: ObjectsOpt = None,
    textures: TexturesOpt = None,
    renderer: RendererOpt = None,
    no_derivatives: NoDerivativesOpt = False,
    device: DeviceOpt = "auto",
    assets: AssetsOpt = None,
) -> None:
    """A contact sheet: half of the samples clean, half with their labels drawn. Of clips one that moves, or film strips."""
    from handsynth.crowds import open_generator, open_sampler
    from handsynth.dataset.selection import Selection
    from handsynth.dataset.statistics import ANIMATED, contact_sheet, film_strips, moving_sheet, save_animation, save_image
    from handsynth.generator import library_of
    from handsynth.render.context import check_device

    chosen = spec_of(
        spec, seed=seed, hand=hand, backgrounds=backgrounds, annotations=annotations,
        environments=environments, objects=objects, textures=textures, renderer=renderer, exclude_no_derivatives=no_derivatives,
    )  # fmt: skip
    frames = chosen.sequence.frames
    moves = sheet.suffix.lower() in ANIMATED
    if moves and not frames:
        raise UsageError(f"{sheet} would move, and spec {chosen.name} has no clips: name an image, .png or .jpg")
    image_path(sheet, *(ANIMATED if frames else ()))
    check_device(device)
    shown = number or (min(9, chosen.samples // frames) if frames else 64)
    selected = Selection(samples=shown * chosen.together).indices(chosen.samples, chosen.together)
    library = library_of(chosen, assets_of(assets))
    show_notes(library)
    library.prepare(lambda text: echo(text, err=True))
    sampler = open_sampler(chosen, library)
    made = list(open_generator(chosen, library, device).make_samples([sampler.sample(i) for i in selected]))
    if moves:
        save_animation(sheet, moving_sheet(made, frames, zoom), chosen.sequence.fps)
    else:
        save_image(sheet, film_strips(made, frames, zoom) if frames else contact_sheet(made, zoom))
    echo(f"{shown} {'clips' if frames else 'samples'} of {chosen.name} in {sheet}")
