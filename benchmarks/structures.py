"""Which labels the papers judge by, as numbers of the data sets' label maps."""

from __future__ import annotations

_SIDED = (
    *("Cerebral-White-Matter", "Cerebral-Cortex", "Lateral-Ventricle", "Inf-Lat-Vent", "Cerebellum-White-Matter"),
    *("Cerebellum-Cortex", "Thalamus", "Caudate", "Putamen", "Pallidum"),
    *("Hippocampus", "Amygdala", "Accumbens-area", "VentralDC", "vessel", "choroid-plexus"),
)
_LEFT, _RIGHT = ([f"{side}-{name}" for name in _SIDED] for side in ("Left", "Right"))
_MIDDLE = ("3rd-Ventricle", "4th-Ventricle", "Brain-Stem")
SEG35 = {name: number for number, name in enumerate((*_LEFT[:10], *_MIDDLE, *_LEFT[10:], *_RIGHT), 1)}
"""aligned_seg35's labels: FreeSurfer's structures in FreeSurfer's order."""
_NOT_SUBCORTICAL = ("Cerebral-White-Matter", "Cerebral-Cortex", "vessel", "4th-Ventricle")
SUBCORTICAL = tuple(number for name, number in SEG35.items() if not name.endswith(_NOT_SUBCORTICAL))
"""Our choice, for the paper's 28 names are lost: all below the cerebral cortex and its white matter, without vessels
and the fourth ventricle."""
LPBA54 = (*range(21, 35), *range(41, 51), *range(61, 69), *range(81, 93), 101, 102, 121, 122, *range(161, 167))
LPBA56 = (*LPBA54, 181, 182)
"""With cerebellum and brain stem."""
IXI30 = (
    *(2, 3, 4, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 24, 28, 31),
    *(41, 42, 43, 46, 47, 49, 50, 51, 52, 53, 54, 60, 63),
)
"""FreeSurfer's numbers of the 30 structures that TransMorph's page on IXI lists."""
