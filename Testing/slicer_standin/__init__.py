"""Stand-ins for the part of 3D Slicer that no package brings: see README.md."""
