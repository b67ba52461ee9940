"""Comparing a result with the fixed volume in the slice views: over it, in turn, in tiles, by edges or differences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.scene import runs, views, volumes
from RegistrationNetLib.scene.runtime import slicer, vtk

Mode = Literal["fixed", "warped", "earlier", "blend", "checkerboard", "edges", "difference", "jacobian"]
"""Two shown in turn make a flicker; earlier is the warped volume of the result that this one refines; edges are the
warped volume's, over the fixed one."""

_TILE_MM = 25.0
_EDGES = 92.0  # percent of the body's voxels whose brightness changes less
_SMOOTHING_MM = 1.0  # before edges are looked for


def show(transform: Any, mode: Mode, opacity: float = 0.5) -> None:
    """In all slice views, for the run of this transform. opacity: of the warped volume, for "blend".

    Volumes that a mode needs are made once and belong to the run. Raises InputError where the run's own are gone.
    """
    fixed, warped = _fixed(transform), _member(transform, "warped")
    plain = {"fixed": (warped, 0.0), "warped": (warped, 1.0), "blend": (warped, opacity)}
    if mode in plain:
        foreground, alpha = plain[mode]
    elif mode == "earlier":
        foreground, alpha = _there(transform, before_refining(transform), "result before refining"), 1.0
    elif mode == "jacobian":
        foreground, alpha = _member(transform, "jacobian"), views.HEATMAP_OPACITY
    else:
        foreground, alpha = runs.member(transform, mode) or _made(transform, mode, fixed, warped), 1.0
    views.show_over(transform.GetScene(), fixed, foreground, alpha)


def before_refining(transform: Any) -> Any | None:
    """The warped volume of the result that this one refines; None where it refines none that is there."""
    earlier = runs.refined_by(transform)
    return None if earlier is None else runs.member(earlier, "warped")


def checkerboard(one: Image, other: Image) -> NDArray[np.float32]:
    """Cubes of about 25 mm of one image and of the other in turn; both on one grid, (D, H, W)."""
    sides = [np.arange(n) * size // _TILE_MM for n, size in zip(one.grid.shape, one.grid.spacing, strict=True)]
    tiles = (sides[0][:, None, None] + sides[1][:, None] + sides[2]) % 2
    return np.where(tiles == 0, one.scalar, other.scalar).astype(np.float32)


def edges(image: Image) -> NDArray[np.float32]:
    """1 where brightness changes most, 0 elsewhere, (D, H, W)."""
    sigma = [_SMOOTHING_MM / size for size in image.grid.spacing]
    slope = ndimage.gaussian_gradient_magnitude(image.scalar.astype(np.float32), sigma)
    body = slope[slope > 0]
    return (slope > np.percentile(body, _EDGES) if body.size else slope > 0).astype(np.float32)


def _made(transform: Any, mode: str, fixed: Any, warped: Any) -> Any:
    """A volume that shows both, in the scene, as part of the run."""
    seen = bright(warped)
    base = bright(fixed)
    base = base if base.grid.isclose(seen.grid) else volumes.resampled(base, vtk.vtkTransform(), seen.grid)
    values = {
        "checkerboard": lambda: checkerboard(base, seen),
        "edges": lambda: edges(seen),
        "difference": lambda: (seen.scalar - base.scalar).astype(np.float32),
    }[mode]()
    name = f"{warped.GetName().removesuffix(' warped')} {mode}"
    node = transform.GetScene().AddNode(volumes.volume_node(replace(seen, data=values[None], name=name)))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(0)
    display.SetWindowLevelMinMax(*((-1, 1) if mode == "difference" else (0, 1)))
    if mode == "edges":
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeYellow")
        display.SetThreshold(0.5, 1)
        display.ApplyThresholdOn()
    runs.join(transform, node, mode)
    return node


def bright(node: Any) -> Image:
    """A volume in the world, its values as bright as it is shown, 0 to 1."""
    image, display = volumes.image_of(node), node.GetDisplayNode()
    low, high = float(image.data.min()), float(image.data.max())
    if display is not None:
        low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    values = np.clip((image.data.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
    return replace(image, data=values, background=0.0)


def _fixed(transform: Any) -> Any:
    node = transform.GetNodeReference(slicer.vtkMRMLTransformNode.GetFixedNodeReferenceRole())
    return _there(transform, node, "fixed volume")


def _member(transform: Any, what: str) -> Any:
    return _there(transform, runs.member(transform, what), f"{what} volume")


def _there(transform: Any, node: Any | None, what: str) -> Any:
    if node is None:
        raise InputError(f"The {what} of '{transform.GetName()}' is no longer in the scene, so there is no comparison.")
    return node
