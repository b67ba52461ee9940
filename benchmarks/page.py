"""docs/benchmarks.md: each benchmark owns what stands between its two markers."""

from __future__ import annotations

import os
import platform
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def write_table(name: str, body: str, page: Path = PAGE) -> None:
    """Put `body` (Markdown) between the markers of `name`; the rest of the page stays as it is."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = page.read_text(encoding="utf-8") if page.exists() else "# Benchmarks\n"
    if begin not in text:
        text = f"{text.rstrip()}\n\n{begin}\n{end}\n"
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    page.parent.mkdir(exist_ok=True)
    page.write_text(f"{before}{begin}\n{body}\n{end}{after}", encoding="utf-8")


def machine(gpu: str = "no GPU used") -> str:
    """Cores and processor, nothing that names the machine."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores, {models[0] if models else platform.machine()}, {platform.system()}, {gpu}"
