"""Bring trained weights into the product: `python -m scripts.ship_weights FILE NAME --licence LICENSE.md --spacing 2`.

They go to networks/trained as NAME.safetensors with their licence beside them, made for the voxel size at which they
predict best on images that are kept for choosing (`python -m benchmarks.weights --validation`), which may be finer than
the one they learnt at.
"""

import argparse
import shutil
from pathlib import Path

from RegistrationNetLib.networks import weights

LARGEST_MIB = 12.0


def ship(file: Path, name: str, spacing: float | None, folder: Path = weights.FOLDER) -> Path:
    """The file that was written. spacing: mm, None for the one they learnt at. Raises WeightsError or SystemExit."""
    card = weights.read_card(file)
    folder.mkdir(parents=True, exist_ok=True)
    shipped = folder / f"{name}{weights.SUFFIX}"
    weights.save(
        shipped,
        weights.load(file),
        spacing=card.spacing if spacing is None else (spacing,) * 3,
        intensity=card.intensity,
        training_data=card.training_data,
        licence=card.licence,
        version=card.version,
        metrics=card.metrics,
        command=card.command if spacing is None else f"{card.command}; shown {spacing:g} mm",
        machine=card.machine,
        hours=card.hours,
        purpose=card.purpose,
        half=True,
    )
    size = shipped.stat().st_size / 2**20
    if size > LARGEST_MIB:
        shipped.unlink()
        raise SystemExit(f"'{file}' would take {size:.1f} MiB; {LARGEST_MIB:g} are the most that a user should fetch.")
    return shipped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="as a training left it")
    parser.add_argument("name", help="NETWORK, or NETWORK-PURPOSE")
    parser.add_argument("--licence", type=Path, help="text that goes beside them, where their data ask for one")
    parser.add_argument("--spacing", type=float, metavar="MM", help="voxel size that they are shown")
    parser.add_argument("-o", "--output", type=Path, default=weights.FOLDER, metavar="FOLDER", help="instead")
    asked = parser.parse_args()
    shipped = ship(asked.file, asked.name, asked.spacing, asked.output)
    if asked.licence:
        shutil.copyfile(asked.licence, shipped.with_suffix(".LICENSE.md"))
    print(shipped)


if __name__ == "__main__":
    main()
