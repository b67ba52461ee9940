"""What SimpleITK does not say of a NIfTI file: that it ends too early, and that it holds NaN, which it reads as 0."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FLOATS = {16: "f4", 64: "f8"}  # NIfTI's codes
_BROKEN = (OSError, EOFError, zlib.error)


def is_truncated_nifti(path: Path) -> bool:
    """True for a single-file NIfTI-1 (.nii, .nii.gz) that ends before its last voxel or cannot be unpacked."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return False
    try:
        with (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rb") as file:
            header = file.read(348)
    except _BROKEN:
        return path.read_bytes()[:2] == b"\x1f\x8b"  # else no gzip file at all, and SimpleITK says so
    if header[344:347] != b"n+1":
        return False
    return _content_size(path, promised := _promised_size(header)) < promised


def broken_voxels(path: Path, count: int) -> NDArray[np.bool_] | None:
    """Where the first `count` stored numbers are NaN or infinite, in the file's order; None where all are finite.

    path: a complete file (see `is_truncated_nifti`); other formats and integer types have none.
    """
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return None
    with (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rb") as file:
        header = file.read(348)
        order = _byte_order(header)
        kind = _FLOATS.get(struct.unpack(order + "h", header[70:72])[0])
        if header[344:347] != b"n+1" or kind is None:
            return None
        file.seek(_offset(header))
        values = np.frombuffer(file.read(count * np.dtype(kind).itemsize), order + kind)
    finite = np.isfinite(values)
    return None if finite.all() else ~finite


def _byte_order(header: bytes) -> str:
    return "<" if struct.unpack("<i", header[:4])[0] == 348 else ">"


def _offset(header: bytes) -> int:
    return int(struct.unpack(_byte_order(header) + "f", header[108:112])[0])


def _promised_size(header: bytes) -> int:
    order = _byte_order(header)
    dims = struct.unpack(order + "8h", header[40:56])
    bits = struct.unpack(order + "h", header[72:74])[0]
    values = np.prod([max(n, 1) for n in dims[1 : dims[0] + 1]], dtype=np.int64)
    return _offset(header) + int(values) * bits // 8


def _content_size(path: Path, promised: int) -> int:
    """Bytes after unpacking; 0 where that fails."""
    if path.suffix.lower() != ".gz":
        return path.stat().st_size
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        if struct.unpack("<I", file.read(4))[0] == promised % 2**32:
            return promised  # a gzip file ends with its content's size, so the end is there
    size = 0
    try:
        with gzip.open(path, "rb") as unpacked:
            while block := unpacked.read(1 << 22):
                size += len(block)
    except _BROKEN:
        return 0
    return size
