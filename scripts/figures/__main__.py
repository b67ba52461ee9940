"""Draw the figures: `python -m scripts.figures [NAME ...] [--png FOLDER]`."""

import argparse
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "networks"
NAMES = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_") and path.stem != "canvas")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these of {', '.join(NAMES)}")
    parser.add_argument("--png", type=Path, metavar="FOLDER", help="write PNG there instead, to look at")
    chosen = parser.parse_args()
    for name in chosen.names or NAMES:
        canvas = import_module(f"scripts.figures.{name}").draw()
        folder, suffix = (chosen.png, ".png") if chosen.png else (DOCS, ".svg")
        folder.mkdir(parents=True, exist_ok=True)
        canvas.save(folder / f"{name.replace('_', '-')}{suffix}")


if __name__ == "__main__":
    main()
