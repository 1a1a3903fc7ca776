"""Other hands of an image as recipes of their own, before the camera of the first."""

from dataclasses import replace

from handsynth.recipe.recipe import CameraChoice, Recipe, recipe_of


def hand_recipes(recipe: Recipe, image_size: int) -> tuple[Recipe, ...]:
    """Each other hand of an image of a side [px] as the first of one that is else the same; posed, it is before the same camera."""
    if not recipe.others:
        return ()
    found = (recipe_of(other, recipe) for other in recipe.others)
    # A left hand is posed as a right one before a mirrored camera, so that one of the other side takes the mirror image of it.
    return tuple(
        own if own.side == recipe.side else replace(own, camera=mirrored_camera(recipe.camera, image_size)) for own in found
    )


def mirrored_camera(camera: CameraChoice, image_size: int) -> CameraChoice:
    """The camera whose image of a world mirrored in x = 0 is the other's mirror image."""
    x, y, z = camera.target
    column, row = camera.principal_xy
    return replace(
        camera,
        azimuth_deg=-camera.azimuth_deg,
        roll_deg=-camera.roll_deg,
        target=(-x, y, z),
        principal_xy=(image_size - column, row),
    )
