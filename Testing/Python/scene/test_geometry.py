import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

pytest.importorskip("slicer", reason="slicer-core is not installed here.")

from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.core.image import Image
from RegistrationNetLib.scene import volumes
from RegistrationNetLib.scene.runtime import vtk


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    shape = draw(st.tuples(*[st.integers(2, 7)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.3, 5, allow_subnormal=False)] * 3))
    turn = Rotation.from_rotvec(draw(st.tuples(*[st.floats(-3, 3, allow_subnormal=False)] * 3))).as_matrix()
    flips = np.diag(draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)))
    order = list(draw(st.permutations(range(3))))
    return Grid.of(
        shape, spacing, (turn @ flips)[:, order], draw(st.tuples(*[st.floats(-300, 300, allow_subnormal=False)] * 3))
    )


@given(grids())
def test_a_grid_goes_through_a_volume_node_and_back(grid: Grid) -> None:
    node = volumes.volume_node(Image(np.zeros((1, *grid.shape), np.int16), grid))
    assert volumes.local_grid(node).isclose(grid, atol_mm=1e-9)


@given(grids())
def test_slicer_finds_a_voxel_where_the_grid_says_it_lies(grid: Grid) -> None:
    voxel = np.array(grid.shape) - 1
    node = volumes.volume_node(Image(np.zeros((1, *grid.shape), np.int16), grid))
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    d, h, w = (float(v) for v in voxel)
    left, posterior, superior, _ = matrix.MultiplyPoint((w, h, d, 1.0))
    np.testing.assert_allclose(grid.to_world(voxel), (-left, -posterior, superior), atol=1e-9)


def test_the_value_at_a_voxel_is_the_one_slicer_shows_there() -> None:
    grid = Grid.of((3, 4, 5), (1, 2, 3), np.eye(3), (0, 0, 0))
    data = np.arange(60, dtype=np.int16).reshape(1, 3, 4, 5)
    node = volumes.volume_node(Image(data, grid))
    assert node.GetImageData().GetScalarComponentAsDouble(4, 2, 1, 0) == data[0, 1, 2, 4]
