from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed here.")

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.core.mapping import Affine, Mapping
from RegistrationNetLib.scene import transforms, volumes
from RegistrationNetLib.scene.runtime import slicer, vtk
from Testing.Python.scene.cases import FIXED_GRID, image_on, known_mapping, pattern, rigid

Add = Callable[..., Any]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_a_volume_keeps_values_and_pixel_type(add_volume: Add, dtype: Any) -> None:
    image = image_on(FIXED_GRID, "fixed", dtype)
    back = volumes.image_of(add_volume(image))
    assert back.data.dtype == dtype
    np.testing.assert_array_equal(back.data, image.data)
    assert back.grid.isclose(image.grid, 1e-9)
    assert back.name == "fixed"


def test_a_linear_parent_is_folded_into_the_grid(add_volume: Add, add_transform: Add) -> None:
    to_world = rigid((0.2, 0.1, -0.3), (5, -7, 9))
    node = add_volume(image_on(FIXED_GRID, "fixed"), add_transform(to_world.inverse()))
    image = volumes.image_of(node)
    np.testing.assert_allclose(image.grid.corners(), to_world(FIXED_GRID.corners()), atol=1e-9)
    np.testing.assert_array_equal(image.data, volumes.local_image(node).data)


def test_a_chain_of_linear_parents_is_folded(add_volume: Add, add_transform: Add) -> None:
    inner, outer = rigid((0.2, 0, 0), (1, 2, 3)), rigid((0, 0, 0.4), (4, 5, 6))
    inner_node, outer_node = add_transform(inner.inverse()), add_transform(outer.inverse())
    inner_node.SetAndObserveTransformNodeID(outer_node.GetID())
    image = volumes.image_of(add_volume(image_on(FIXED_GRID, "fixed"), inner_node))
    np.testing.assert_allclose(image.grid.corners(), outer(inner(FIXED_GRID.corners())), atol=1e-9)


def looks_as_in_the_world(image: Image, from_world: Mapping, inside_voxels: float = 1.5) -> None:
    """Every world voxel that lies in the volume shows the value of the point it came from."""
    local = from_world(image.grid.points())
    voxel = FIXED_GRID.to_voxel(local)
    inside = np.all((voxel > inside_voxels) & (voxel < np.array(FIXED_GRID.shape) - 1 - inside_voxels), axis=-1)
    assert inside.sum() > 3000
    assert np.abs(image.scalar - pattern(local))[inside].max() < 4  # trilinear interpolation of the pattern


def test_a_nonlinear_parent_is_resampled_onto_a_lattice_that_covers_it(add_volume: Add, add_transform: Add) -> None:
    from_world = known_mapping()
    node = add_volume(image_on(FIXED_GRID, "fixed"), add_transform(from_world))
    image = volumes.image_of(node)
    looks_as_in_the_world(image, from_world)
    surface = transforms.move(transforms.to_world(node.GetParentTransformNode()), FIXED_GRID.points())
    assert image.grid.contains(surface).all()
    assert image.grid.voxels < 2.5 * FIXED_GRID.voxels


def test_a_parent_that_shears_is_resampled_onto_right_angles(add_volume: Add, add_transform: Add) -> None:
    shear = np.eye(4)
    shear[0, 1] = 0.3
    from_world = Mapping((Affine(shear),))
    image = volumes.image_of(add_volume(image_on(FIXED_GRID, "fixed"), add_transform(from_world)))
    np.testing.assert_allclose(image.grid.directions.T @ image.grid.directions, np.eye(3), atol=1e-9)
    looks_as_in_the_world(image, from_world)


def test_labels_under_a_nonlinear_parent_get_no_new_values(add_volume: Add, add_transform: Add) -> None:
    labels = (image_on(FIXED_GRID, "labels").data > 100).astype(np.int16) * 700
    node = add_volume(Image(labels, FIXED_GRID, 0.0, "labels"), add_transform(known_mapping()), labels=True)
    assert set(np.unique(volumes.image_of(node).data)) == {0, 700}


def test_outside_a_ct_volume_lies_air(add_volume: Add, add_transform: Add) -> None:
    data = (image_on(FIXED_GRID, "ct").data * 5 - 1024).astype(np.int16)
    data[0, 0] = -1024
    image = volumes.image_of(add_volume(Image(data, FIXED_GRID, -1024.0, "ct"), add_transform(known_mapping())))
    assert image.background == -1024
    assert image.data[0, 0, 0, 0] == -1024


def test_a_few_nan_voxels_become_background(add_volume: Add) -> None:
    image = image_on(FIXED_GRID, "fixed")
    image.data[0, 3, 3, 3] = np.nan
    assert volumes.image_of(add_volume(image)).data[0, 3, 3, 3] == 0


def empty_volume() -> Any:
    return slicer.vtkMRMLScalarVolumeNode()


def colour_volume() -> Any:
    node, image = slicer.vtkMRMLVectorVolumeNode(), vtk.vtkImageData()
    image.SetDimensions(4, 4, 4)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    node.SetAndObserveImageData(image)
    return node


@pytest.mark.parametrize(("make", "words"), [(empty_volume, "empty"), (colour_volume, "3 channels")])
def test_an_unusable_volume_is_refused_by_name(scene: Any, make: Callable[[], Any], words: str) -> None:
    node = scene.AddNode(make())
    node.SetName("my scan")
    with pytest.raises(InputError, match=f"'my scan'.*{words}"):
        volumes.image_of(node)


def test_a_slice_and_an_all_nan_volume_are_refused(add_volume: Add) -> None:
    flat = FIXED_GRID.padded((0, 0, 0), (-17, 0, 0))
    with pytest.raises(InputError, match="2-D"):
        volumes.image_of(add_volume(image_on(flat, "slice")))
    with pytest.raises(InputError, match="finite"):
        volumes.image_of(add_volume(Image(np.full((1, *FIXED_GRID.shape), np.nan), FIXED_GRID, 0.0, "nan")))
