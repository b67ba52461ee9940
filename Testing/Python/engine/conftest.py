"""A phantom on coarse voxels: anatomy and truth as in the demo, registered within two seconds."""

import pytest

from RegistrationNetLib.phantom import PhantomPair, phantom_pair


@pytest.fixture(scope="session")
def coarse_phantom() -> PhantomPair:
    return phantom_pair(voxel_mm=4.5)
