"""Phantoms on coarse voxels: anatomy and truth as in the demo, registered within seconds."""

import pytest

from RegistrationNetLib.phantom import PhantomPair, phantom_pair


@pytest.fixture(scope="session")
def coarse_phantom() -> PhantomPair:
    """A second's work, for everything but accuracy."""
    return phantom_pair(voxel_mm=4.5)


@pytest.fixture(scope="session")
def fine_phantom() -> PhantomPair:
    """Voxels fine enough that a deformation can be seen."""
    return phantom_pair(voxel_mm=2.4)
