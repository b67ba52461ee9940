"""The endings by which files are told apart, known without loading a library that reads them."""

from __future__ import annotations

from pathlib import Path

IMAGES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
"""What volumes are written as, none of which loses the direction of the axes; more formats are read."""
SEGMENTATIONS = (".seg.nrrd", ".seg.nhdr")
SURFACES = (".stl", ".vtk", ".vtp", ".ply")
FOREIGN_SURFACES = (".obj", ".off", ".gii")
"""Surfaces that are recognised but not read."""


def ends(path: str | Path, suffixes: tuple[str, ...]) -> bool:
    """Whether the file's name ends so, in capitals or not."""
    return Path(path).name.lower().endswith(suffixes)
