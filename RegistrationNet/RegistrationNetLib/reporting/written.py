"""All that is reported of a followed study: report.html always, report.pdf and DICOM objects where they are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from RegistrationNetLib.lesions.study import Study
from RegistrationNetLib.reporting.dicom import write_dicom
from RegistrationNetLib.reporting.html import html
from RegistrationNetLib.reporting.page import Followed, page
from RegistrationNetLib.reporting.pdf import check_reportlab, pdf
from RegistrationNetLib.reporting.sources import check_dicom

Format = Literal["pdf", "dicom"]
FORMATS: tuple[Format, ...] = get_args(Format)


def check_formats(study: Study, wanted: Sequence[Format]) -> None:
    """Raises MissingPackage or InputError, before anything is registered, for what could not be written."""
    if "pdf" in wanted:
        check_reportlab()
    if "dicom" in wanted:
        check_dicom(study)


def write_reports(followed: Followed, wanted: Sequence[Format], draft: Path, reader: str = "") -> None:
    """Into a folder that is there. reader: who outlined, for the DICOM reports."""
    shown = page(followed)
    (draft / "report.html").write_text(html(shown), encoding="utf-8")
    if "pdf" in wanted:
        (draft / "report.pdf").write_bytes(pdf(shown))
    if "dicom" in wanted:
        write_dicom(followed.tracking, draft, reader)
