"""report.html: one file that needs nothing else, neither the network nor another file."""

from __future__ import annotations

from pathlib import Path

from RegistrationNetLib.core.errors import InputError
from RegistrationNetLib.files.colours import STATUSES
from RegistrationNetLib.reporting.page import COLUMNS, USE, Followed, Page, page

_TEMPLATE = Path(__file__).parent / "page.html"


def write_html(followed: Followed, path: str | Path) -> None:
    """The report of a followed study. Raises InputError where the file cannot be written."""
    try:
        Path(path).write_text(html(page(followed)), encoding="utf-8")
    except OSError as error:
        raise InputError(f"'{path}' cannot be written ({error.strerror}); check the folder.") from error


def html(shown: Page) -> str:
    """Whatever comes from files is escaped: a name is text, never markup."""
    from jinja2 import Environment, StrictUndefined

    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = made.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(page=shown, columns=COLUMNS, statuses=STATUSES, use=USE)
