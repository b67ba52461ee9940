"""All that is reported of a followed study: report.html always, report.pdf where it is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from RegistrationNetLib.lesions.study import Study
from RegistrationNetLib.reporting.html import html
from RegistrationNetLib.reporting.page import Followed, page
from RegistrationNetLib.reporting.pdf import check_reportlab, pdf

Format = Literal["pdf"]


def check_formats(study: Study, wanted: Sequence[Format]) -> None:
    """Raises MissingPackage or InputError, before anything is registered, for what could not be written."""
    if "pdf" in wanted:
        check_reportlab()


def write_reports(followed: Followed, wanted: Sequence[Format], draft: Path) -> None:
    """Into a folder that is there."""
    shown = page(followed)
    (draft / "report.html").write_text(html(shown), encoding="utf-8")
    if "pdf" in wanted:
        (draft / "report.pdf").write_bytes(pdf(shown))
