"""A registration as nodes of a scene, placed in one step: all of them, or none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from RegistrationNetLib.core.mapping import Mapping
from RegistrationNetLib.engine.result import Registration
from RegistrationNetLib.scene import curve, heatmap, outputs, runs, transforms, volumes
from RegistrationNetLib.scene.runtime import slicer, vtk
from RegistrationNetLib.scene.tables import table_node

TABLE_COLUMNS = {
    "Figure": "name",
    "Value": "value",
    "Unit": "unit",
    "Verdict": "verdict",
    "In words": "sentence",
    "Threshold": "threshold",
    "Source": "source",
}
"""Titles -> what a check calls it."""


@dataclass(frozen=True, eq=False)
class SceneResult:
    """What a registration put into the scene.

    transform: from parent, fixed world -> moving world; the affine is a step of its own in it. Put anything that
        belongs to the moving image under `moving_parent` and it lands on the fixed image.
    affine: the affine part alone, from parent.
    warped, jacobian: volumes in the world, on the fixed volume's lattice.
    legend, colors: the Jacobian's colour legend and colour table.
    table: a verdict on the whole, then each check with its value, threshold and source, the worst first.
    moving_parent: what the moving volume is under now: `transform`, or, where it already had a parent transform, a copy
        of that which is under `transform`.
    folder: subject hierarchy item that holds all of these.
    report: the registration's report.
    """

    transform: Any
    affine: Any
    warped: Any
    jacobian: Any
    legend: Any
    colors: Any
    table: Any
    moving_parent: Any
    folder: int
    report: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Outputs:
    """Nodes of the scene that take a result; None for a new one."""

    transform: Any | None = None
    warped: Any | None = None


def place(
    fixed: Any,
    moving: Any,
    registration: Registration,
    moving_from_world: Any | None = None,
    similarity: Sequence[tuple[float, float]] = (),
    earlier: Any | None = None,
    into: Outputs | None = None,
) -> SceneResult:
    """Put a registration into the scene of its two volumes, and the moving volume under its transform.

    moving_from_world: world -> the moving volume's own coordinates when the registration began
        (`transforms.from_world`); None where it had no parent transform.
    similarity: voxel size (mm) and similarity of each iteration, for a plot; none for no plot.
    earlier: transform of the result that this one refines.
    into: nodes of the scene that take the transform and the warped volume; without them new ones do.
    On any error the scene is left as it was.
    """
    scene = moving.GetScene()
    base = f"{moving.GetName()} to {fixed.GetName()}"
    mapping = registration.mapping
    transform = _node_of(transforms.to_vtk(mapping), f"{base} ({_method(registration.report, earlier)})")
    affine = _node_of(transforms.to_vtk(Mapping((mapping.affine,))), f"{base} affine")
    warped = volumes.volume_node(replace(registration.warped, name=f"{base} warped"), volumes.is_labels(moving))
    jacobian = volumes.volume_node(replace(registration.jacobian, name=f"{base} Jacobian"))
    checks = [registration.report["overall"], *registration.report["checks"]]
    columns = {title: [check[key] for check in checks] for title, key in TABLE_COLUMNS.items()}
    table = table_node(f"{base} quality", columns)
    colors = heatmap.colour_table()
    own = [] if moving_from_world is None else [_node_of(moving_from_world, f"{moving.GetName()} own transform")]
    with all_or_nothing(scene, moving) as before:
        taken = into or Outputs()
        transform, warped = _put(scene, transform, taken.transform), _put(scene, warped, taken.warped)
        for node in (colors, affine, *own, jacobian, table):
            _put(scene, node)
        for node in (transform, affine):
            _tell_origin(node, fixed, moving, registration.report)
        runs.remember(transform, moving, earlier)
        for node in own:
            node.SetAndObserveTransformNodeID(transform.GetID())
        _show_like(moving, warped)
        legend = heatmap.show_as_heatmap(jacobian, colors)
        moving_parent = own[0] if own else transform
        moving.SetAndObserveTransformNodeID(moving_parent.GetID())
        made = {"transform": transform, "affine": affine, "warped": warped, "jacobian": jacobian, "table": table}
        if own:
            made["own transform"] = own[0]
        if similarity:
            made |= curve.add(scene, similarity, base)
        folder = _folder(scene, base, [node for node in made.values() if node.GetID() not in before], beside=moving)
        made |= {"colors": colors, "legend": legend}
        runs.belong(transform, made, folder, registration.report["settings"], before)
    return SceneResult(
        transform, affine, warped, jacobian, legend, colors, table, moving_parent, folder, registration.report
    )


def checks_of(transform: Any) -> list[dict[str, str]]:
    """The checks of a run as its table has them, the whole first; none where the table was deleted."""
    table = runs.member(transform, "table")
    if table is None:
        return []
    keys = [*enumerate(TABLE_COLUMNS.values())]
    return [{key: table.GetCellText(row, column) for column, key in keys} for row in range(table.GetNumberOfRows())]


@contextmanager
def all_or_nothing(scene: Any, moving: Any) -> Iterator[set[str]]:
    """One undoable step; when it fails, every node it added goes, those it wrote into hold what they held, and the
    moving volume is under its old parent. Gives the IDs of the nodes that were there before."""
    scene.SaveStateForUndo()
    nodes, items, parent = set(_ids(scene)), set(runs.items_of(scene)), moving.GetTransformNodeID()
    try:
        yield nodes
    except BaseException:
        moving.SetAndObserveTransformNodeID(parent)
        hierarchy: Any = runs.hierarchy_of(scene)
        for item in [item for item in runs.items_of(scene) if item not in items]:
            hierarchy.RemoveItem(item, False, False)
        added = [scene.GetNodeByID(node) for node in _ids(scene) if node not in nodes]
        for node in reversed(added):
            if outputs.written(node) is not None:
                outputs.restore(node)
            scene.RemoveNode(node)
        raise


def _put(scene: Any, made: Any, into: Any | None = None) -> Any:
    """A node that is in no scene yet into the scene, or its content into the node that was chosen for it."""
    if into is not None and into.GetScene() is scene:
        return outputs.write(into, made)
    made.SetName(scene.GetUniqueNameByString(made.GetName()))
    return scene.AddNode(made)


def _ids(scene: Any) -> list[str]:
    return [node.GetID() for node in runs.nodes_of(scene)]


def _node_of(from_parent: Any, name: str) -> Any:
    """A transform node, in no scene yet; a matrix is stored as a matrix, so that Slicer offers sliders for it."""
    node = slicer.vtkMRMLTransformNode()
    node.SetName(name)
    linear = vtk.vtkTransform()
    if node.IsGeneralTransformLinear(from_parent, linear):
        node.SetMatrixTransformFromParent(linear.GetMatrix())
    else:
        node.SetAndObserveTransformFromParent(from_parent)
    return node


def _method(report: dict[str, Any], earlier: Any | None) -> str:
    """What made the transform: the network, or the kind of transform where none was used."""
    method = report["model"]["name"] if report["model"]["used"] else report["settings"]["transform"]
    return str(method) if earlier is None else f"{method}, refined"


def _tell_origin(node: Any, fixed: Any, moving: Any, report: dict[str, Any]) -> None:
    """The two roles let SlicerRT write a DICOM registration object."""
    node.SetNodeReferenceID(slicer.vtkMRMLTransformNode.GetMovingNodeReferenceRole(), moving.GetID())
    node.SetNodeReferenceID(slicer.vtkMRMLTransformNode.GetFixedNodeReferenceRole(), fixed.GetID())
    node.SetAttribute("RegistrationNet.Version", report["versions"]["registrationnet"])
    node.SetAttribute("RegistrationNet.Model", report["model"]["name"] if report["model"]["used"] else "none")


def _show_like(moving: Any, warped: Any) -> None:
    """The warped volume in the moving volume's colours, window and level."""
    warped.CreateDefaultDisplayNodes()
    source, display = moving.GetDisplayNode(), warped.GetDisplayNode()
    if source is None or volumes.is_labels(moving):
        return
    display.SetAndObserveColorNodeID(source.GetColorNodeID())
    if not source.GetAutoWindowLevel():
        display.SetAutoWindowLevel(0)
        display.SetWindowLevel(source.GetWindow(), source.GetLevel())


def _folder(scene: Any, name: str, members: list[Any], beside: Any) -> int:
    """A subject hierarchy folder beside the moving volume, with the members in it.

    Items of nodes are made by the application; where there are none (0) they are made here.
    """
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    neighbour = hierarchy.GetItemByDataNode(beside)
    parent = hierarchy.GetItemParent(neighbour) if neighbour else hierarchy.GetSceneItemID()
    folder = hierarchy.CreateFolderItem(parent, name)
    for node in members:
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.SetItemParent(item, folder)
        else:
            hierarchy.CreateItem(folder, node)
    return int(folder)
