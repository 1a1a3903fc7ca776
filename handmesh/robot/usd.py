"""An articulated hand as USD with physics (openusd.org, UsdPhysics): rigid bodies of one axis each, drives, meshes inside.

Needs usd-core (`pip install 'handsynth[robots]'`).
"""

from pathlib import Path
from typing import Any

import numpy as np

from handmesh.robot.articulated import ArticulatedHand
from handmesh.robot.chain import Body, chain
from handmesh.robot.links import Capsule
from handmesh.robot.robot_xml import DAMPING, MAX_TORQUE, SKIN, STIFFNESS, ExportOptions, about_text
from handsynth.core.errors import AssetError, UsageError

_ROOT = "/hand"


def write_usd(model: ArticulatedHand, path: Path, options: ExportOptions, texture: str | None = None) -> None:
    """Writes a stage, binary or text by the suffix of `path` (.usd, .usdc, .usda).

    Args:
        model: the hand.
        path: file to write.
        options: coupled joints are refused, because UsdPhysics has none.
        texture: file of the skin's texture relative to the stage, for textured visuals.

    Raises AssetError when usd-core is missing, UsageError for coupled joints.
    """
    try:
        from pxr import Gf, Usd, UsdGeom, UsdPhysics
    except ImportError:
        raise AssetError("USD needs usd-core: pip install 'handsynth[robots]'") from None
    if options.coupled:
        raise UsageError("--coupled: UsdPhysics has no coupled joints: leave it out, or write urdf or mjcf")
    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    UsdPhysics.SetStageKilogramsPerUnit(stage, 1.0)
    root = UsdGeom.Xform.Define(stage, _ROOT)
    stage.SetDefaultPrim(root.GetPrim())
    root.GetPrim().SetMetadata("comment", about_text(model))
    UsdPhysics.ArticulationRootAPI.Apply(root.GetPrim())
    material = _material(stage, texture if options.visuals == "textured" else None)
    places: dict[str | None, np.ndarray] = {None: np.zeros(3)}
    for body in chain(model):
        places[body.name] = places[body.parent] + body.position
        prim = UsdGeom.Xform.Define(stage, f"{_ROOT}/{body.name}")
        prim.AddTranslateOp().Set(Gf.Vec3d(*places[body.name].tolist()))
        _mass(prim.GetPrim(), body)
        if body.is_link:
            _shapes(stage, prim, body, options, material)
            if body.link.parent:
                # A joint leaves out contacts of its two bodies, but between links there may be carriers.
                pairs = UsdPhysics.FilteredPairsAPI.Apply(prim.GetPrim())
                pairs.CreateFilteredPairsRel().AddTarget(f"{_ROOT}/{body.link.parent}")
        _joint(stage, body, options)
    stage.GetRootLayer().Save()


def _mass(prim: Any, body: Body) -> None:
    from pxr import Gf, UsdPhysics

    UsdPhysics.RigidBodyAPI.Apply(prim)
    mass = UsdPhysics.MassAPI.Apply(prim)
    moments, axes = np.linalg.eigh(body.inertia)
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    mass.CreateMassAttr(body.mass)
    mass.CreateCenterOfMassAttr(Gf.Vec3f(*body.centre.tolist()))
    mass.CreateDiagonalInertiaAttr(Gf.Vec3f(*moments.tolist()))
    mass.CreatePrincipalAxesAttr(_quaternion(axes))


def _shapes(stage: Any, parent: Any, body: Body, options: ExportOptions, material: Any) -> None:
    from pxr import Gf, Sdf, UsdGeom, UsdPhysics, UsdShade

    surface = body.link.surface if options.visuals == "textured" else None
    source = surface or body.link.mesh
    mesh = _mesh(stage, parent.GetPath().AppendChild("visual"), source.vertices, source.faces)
    if surface:
        mesh.CreateNormalsAttr([Gf.Vec3f(*row) for row in surface.normals.tolist()])
        mesh.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
        coordinates = UsdGeom.PrimvarsAPI(mesh).CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.vertex)
        coordinates.Set([Gf.Vec2f(*row) for row in surface.uv.tolist()])
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)
    if options.collision == "convex":
        hull = _mesh(stage, parent.GetPath().AppendChild("hull"), body.link.hull.vertices, body.link.hull.faces)
        UsdPhysics.MeshCollisionAPI.Apply(hull.GetPrim()).CreateApproximationAttr("convexHull")
        shapes = [hull]
    else:
        shapes = [
            _capsule(stage, parent.GetPath().AppendChild(f"capsule_{k}"), capsule) for k, capsule in enumerate(body.link.capsules)
        ]
    for shape in shapes:
        shape.CreatePurposeAttr(UsdGeom.Tokens.guide)
        UsdPhysics.CollisionAPI.Apply(shape.GetPrim())


def _mesh(stage: Any, path: Any, vertices: np.ndarray, faces: np.ndarray) -> Any:
    from pxr import Gf, UsdGeom

    mesh = UsdGeom.Mesh.Define(stage, path)
    mesh.CreatePointsAttr([Gf.Vec3f(*row) for row in np.asarray(vertices).tolist()])
    mesh.CreateFaceVertexCountsAttr([3] * len(faces))
    mesh.CreateFaceVertexIndicesAttr(np.asarray(faces).ravel().tolist())
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    return mesh


def _capsule(stage: Any, path: Any, capsule: Capsule) -> Any:
    from pxr import Gf, UsdGeom

    shape = UsdGeom.Capsule.Define(stage, path)
    along = capsule.end - capsule.start
    shape.CreateRadiusAttr(capsule.radius)
    shape.CreateHeightAttr(float(np.linalg.norm(along)))
    shape.CreateAxisAttr(UsdGeom.Tokens.x)
    shape.AddTranslateOp().Set(Gf.Vec3d(*((capsule.start + capsule.end) / 2).tolist()))
    shape.AddOrientOp().Set(_from_x(along))
    return shape


def _joint(stage: Any, body: Body, options: ExportOptions) -> None:
    """The joint to the parent: revolute about x of its own frame, or fixed; none for a floating palm."""
    from pxr import Gf, UsdPhysics

    if body.parent is None and options.floating:
        return
    name = body.joint.name if body.joint else f"{body.name}_fixed"
    kind = UsdPhysics.RevoluteJoint if body.joint else UsdPhysics.FixedJoint
    joint = kind.Define(stage, f"{_ROOT}/joints/{name}")
    if body.parent:
        joint.CreateBody0Rel().SetTargets([f"{_ROOT}/{body.parent}"])
    joint.CreateBody1Rel().SetTargets([f"{_ROOT}/{body.name}"])
    joint.CreateLocalPos0Attr(Gf.Vec3f(*body.position.tolist()))
    joint.CreateLocalPos1Attr(Gf.Vec3f(0.0))
    if body.joint:
        turn = _from_x(body.joint.axis)
        joint.CreateLocalRot0Attr(turn)
        joint.CreateLocalRot1Attr(turn)
        joint.CreateAxisAttr("X")
        low, high = np.rad2deg(body.joint.limits).tolist()
        joint.CreateLowerLimitAttr(low)
        joint.CreateUpperLimitAttr(high)
        drive = UsdPhysics.DriveAPI.Apply(joint.GetPrim(), "angular")
        drive.CreateTypeAttr("force")
        drive.CreateStiffnessAttr(float(np.deg2rad(STIFFNESS)))  # USD counts in degrees
        drive.CreateDampingAttr(float(np.deg2rad(DAMPING)))
        drive.CreateMaxForceAttr(MAX_TORQUE)
        drive.CreateTargetPositionAttr(0.0)


def _material(stage: Any, texture: str | None) -> Any:
    from pxr import Gf, Sdf, UsdShade

    material = UsdShade.Material.Define(stage, f"{_ROOT}/looks/skin")
    shader = UsdShade.Shader.Define(stage, f"{_ROOT}/looks/skin/surface")
    shader.CreateIdAttr("UsdPreviewSurface")
    shader.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(0.6)
    colour = shader.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f)
    colour.Set(Gf.Vec3f(*map(float, SKIN.split()[:3])))
    if texture:
        reader = UsdShade.Shader.Define(stage, f"{_ROOT}/looks/skin/coordinates")
        reader.CreateIdAttr("UsdPrimvarReader_float2")
        reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
        image = UsdShade.Shader.Define(stage, f"{_ROOT}/looks/skin/texture")
        image.CreateIdAttr("UsdUVTexture")
        image.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(texture)
        image.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set("sRGB")
        coordinates = reader.CreateOutput("result", Sdf.ValueTypeNames.Float2)
        image.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(coordinates)
        colour.ConnectToSource(image.CreateOutput("rgb", Sdf.ValueTypeNames.Float3))
    material.CreateSurfaceOutput().ConnectToSource(shader.ConnectableAPI(), "surface")
    return material


def _from_x(direction: np.ndarray) -> Any:
    """The rotation that takes x to a direction."""
    from pxr import Gf

    turn = Gf.Rotation(Gf.Vec3d(1, 0, 0), Gf.Vec3d(*direction.tolist())).GetQuat()
    return Gf.Quatf(turn.GetReal(), *turn.GetImaginary())


def _quaternion(axes: np.ndarray) -> Any:
    """Of (3, 3) axes in columns."""
    from pxr import Gf

    turn = Gf.Matrix3d(*axes.T.ravel().tolist()).ExtractRotation().GetQuat()  # USD multiplies rows by matrices
    return Gf.Quatf(turn.GetReal(), *turn.GetImaginary())
