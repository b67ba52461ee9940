"""report.html and report.pdf: complete, in words, on their own, and safe whatever the files are called."""

import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from Python.reporting.studies import EVENTS, REGISTRATION, balls, events
from RegistrationNetLib.core.errors import InputError, MissingPackage
from RegistrationNetLib.core.grid import Grid
from RegistrationNetLib.files.colours import STATUSES
from RegistrationNetLib.lesions import events as lesion_events
from RegistrationNetLib.lesions.estimate import Estimate
from RegistrationNetLib.lesions.table import COLUMNS
from RegistrationNetLib.reporting.figures import doubling, figure, percent
from RegistrationNetLib.reporting.graph import in_words, involved
from RegistrationNetLib.reporting.html import html, write_html
from RegistrationNetLib.reporting.page import Page, page
from RegistrationNetLib.reporting.pdf import pdf, write_pdf
from RegistrationNetLib.tracking import Tracked

EVIL = "<script>alert('x')</script>"
FORMULA = r"$\frac{"


class Read(HTMLParser):
    """What a browser would take from a page: tags with their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def sources(self) -> list[str]:
        return [value or "" for _, attrs in self.tags for name, value in attrs.items() if name in ("src", "href")]


@pytest.fixture(scope="module")
def tracked() -> Tracked:
    return events()


@pytest.fixture(scope="module")
def small() -> Tracked:
    """One lesion on two scans."""
    return balls([Grid.of((20, 20, 20), (3, 3, 3), np.eye(3)[:, ::-1], (-30, -30, -30))] * 2, (0, 0, 0), 9)


@pytest.fixture(scope="module")
def shown(tracked: Tracked) -> Page:
    return page(tracked)


def test_every_lesion_is_there_at_every_scan_with_its_figures(tracked: Tracked, shown: Page):
    read = Read(html(shown))
    for entry in tracked.table:
        assert f"{STATUSES[entry.status][1]} {entry.status}" in read.text
        if entry.measures is not None:
            assert figure(entry.measures.volume_mm3) in read.text
            assert figure(entry.measures.longest_mm) in read.text
    names = {entry.lesion for entry in tracked.table}
    assert sum(tag == "figure" for tag, _ in read.tags) == len(names) * len(EVENTS) + 2  # the plot and the graph
    assert all(attrs.get("alt") for tag, attrs in read.tags if tag == "img")


def test_the_page_needs_nothing_but_itself(shown: Page):
    written = html(shown)
    assert not [source for source in Read(written).sources if not source.startswith("data:image/png;base64,")]
    assert "default-src 'none'" in written
    assert not re.findall(r"https?://|@import|url\(", written)


def test_names_from_files_stay_text(shown: Page):
    hostile = page(events(f'">{EVIL}', {"1": EVIL, "2": FORMULA, "3": "_hidden"}))
    read, plain = Read(html(hostile)), Read(html(shown))
    assert [tag for tag, _ in read.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(attrs) for _, attrs in read.tags] == [sorted(attrs) for _, attrs in plain.tags]
    for name in (EVIL, FORMULA, "_hidden"):
        assert f"Lesion {name}" in read.text


def test_warnings_come_before_everything_else(small: Tracked):
    followed = replace(small, missing=("The organ of '3' is missing.",), registrations=(REGISTRATION,))
    text = Read(html(page(followed))).text
    first = text.index("What was compared")
    for said in ("The organ of '3' is missing.", "head 1 registered to head 0: One check asks for a look."):
        assert 0 < text.index(said) < first
    assert text.index("For research use only") < text.index("The organ of")


def test_a_scan_that_nobody_outlined_is_said_to_be_one(shown: Page):
    assert [("nobody outlined" in said) for _, said in shown.facts] == [False, True, False]
    assert dict(shown.counts)["2024-03-01"] == "5 carried"


def test_how_it_was_made_is_said(shown: Page):
    made = dict(shown.made)
    assert "registrationnet 0.2.0" in made["RegistrationNet"]
    assert "One check asks for a look." in made["Registration of head 1 to head 0"]
    assert "returns to" in made["Round the loops"]
    assert "refine steps_full 2" in made["Settings"]


def test_what_merged_is_drawn_and_said_and_what_did_not_is_left_out(tracked: Tracked, shown: Page):
    nodes, found = involved(tracked.tracking.history)
    names = {tracked.tracking.history.names[node] for node in nodes}
    assert names == {"4", "5", "4+5"}
    assert in_words(found[-1], tracked.tracking.history) == "4 and 5 merged to 4+5 on 2024-04-30."
    assert shown.graph is not None
    assert "4 and 5 merged to 4+5 on 2024-04-30." in shown.graph.alt


def test_every_status_has_a_colour_and_a_sign_and_colours_differ_in_more_than_hue():
    said = re.findall(r"(?:^|, )(\w+)", re.sub(r"\([^)]*\)", "", COLUMNS["status"]))
    assert set(STATUSES) == set(said)
    assert set(lesion_events.Kind.__args__) <= set(STATUSES)
    grown, shrunk, stable = (luminance(STATUSES[name][0]) for name in ("grown", "shrunk", "stable"))
    assert len({sign for _, sign in (STATUSES[name] for name in ("grown", "shrunk", "stable", "new"))}) == 4
    assert min(abs(grown - stable), abs(shrunk - stable)) > 0.03


def luminance(colour: str) -> float:
    """Relative, 0 to 1 (WCAG)."""
    parts = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    return float(
        (np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)) @ (0.2126, 0.7152, 0.0722)
    )


def test_figures_are_written_with_their_intervals():
    assert figure(Estimate(12.345, 11.04, 13.91)) == "12.3 (11.0 to 13.9)"
    assert figure(Estimate(2249.3, 1856, 2690)) == "2249 (1856 to 2690)"
    assert percent(Estimate(0.352, 0.2, float("inf"))) == "+35 % (+20 to +\u221e)"
    assert percent(Estimate(-0.1, -0.3, 0.1)) == "\u221210 % (\u221230 to +10), not distinguishable from no change"
    assert doubling(Estimate(-90.0, -144.0, -65.0)) == "halves in 90.0 (65.0 to 144)"
    assert figure(None) == percent(None) == doubling(None) == ""


def test_the_pdf_holds_every_picture_whatever_lesions_are_called(shown: Page):
    pytest.importorskip("reportlab", reason="ReportLab is not installed here.")
    content = pdf(shown)
    pictures = sum(len(lesion.pictures) for lesion in shown.lesions) + 2
    assert content.startswith(b"%PDF")
    assert content.count(b"/Subtype /Image") == pictures
    lesions = (replace(shown.lesions[0], name=f"{EVIL} & <b>", about="</para>"), *shown.lesions[1:])
    hostile = replace(shown, patient="<b>&", lesions=lesions, warnings=("<font color=nothing>",))
    assert pdf(hostile).count(b"/Subtype /Image") == pictures


def test_without_reportlab_the_cure_is_named(small: Tracked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "reportlab", None)
    with pytest.raises(MissingPackage, match=r"pip install 'registrationnet\[pdf\]'"):
        write_pdf(small, tmp_path / "report.pdf")


def test_a_folder_that_is_not_there_is_named(small: Tracked, tmp_path: Path):
    with pytest.raises(InputError, match="cannot be written"):
        write_html(small, tmp_path / "nowhere" / "report.html")
