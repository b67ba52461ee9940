"""Stand-ins for the part of 3D Slicer that no package brings: see README.md."""

from slicer_standin.lenient import install as install
