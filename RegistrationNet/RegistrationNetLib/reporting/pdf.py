"""report.pdf: the same as report.html, on pages of A4."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from RegistrationNetLib.core.errors import InputError, MissingPackage
from RegistrationNetLib.files.colours import STATUSES
from RegistrationNetLib.reporting.page import COLUMNS, USE, Followed, Page, Told, page
from RegistrationNetLib.reporting.pictures import FAINT, INK, Picture

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

_WIDTH_MM, _MARGIN_MM = 210.0, 15.0
_INSIDE_MM = _WIDTH_MM - 2 * _MARGIN_MM
_ACROSS = 4
"""Pictures side by side."""
_SHARES = (0.1, 0.115, 0.145, 0.13, 0.13, 0.14, 0.14, 0.1)
"""Of the table's columns."""
_FONT = "DejaVu Sans"


def check_reportlab() -> None:
    """Raises MissingPackage with the cure, before anything was computed in vain."""
    try:
        import reportlab  # noqa: F401
    except ImportError as error:
        raise MissingPackage(
            "A report as PDF needs ReportLab: pip install 'registrationnet[pdf]'. The HTML report prints as well."
        ) from error


def write_pdf(followed: Followed, path: str | Path) -> None:
    """The report of a followed study. Raises MissingPackage, or InputError where the file cannot be written."""
    check_reportlab()
    try:
        Path(path).write_bytes(pdf(page(followed)))
    except OSError as error:
        raise InputError(f"'{path}' cannot be written ({error.strerror}); check the folder.") from error


def pdf(shown: Page) -> bytes:
    """The file's content."""
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm
    from reportlab.platypus import SimpleDocTemplate

    content = BytesIO()
    sides = dict.fromkeys(("leftMargin", "rightMargin", "topMargin", "bottomMargin"), _MARGIN_MM * mm)
    document = SimpleDocTemplate(content, pagesize=A4, title=f"Lesions of {shown.patient}", invariant=1, **sides)
    document.build(_Setter().story(shown), onFirstPage=_footed, onLaterPages=_footed)
    return content.getvalue()


def _footed(canvas: Any, document: Any) -> None:
    from reportlab.lib.units import mm

    canvas.setFont(_FONT, 7)
    canvas.drawString(_MARGIN_MM * mm, 8 * mm, USE)
    canvas.drawRightString((_WIDTH_MM - _MARGIN_MM) * mm, 8 * mm, f"Page {document.page}")


class _Setter:
    """Sets words and pictures in type: the styles, and what is made with them. Whatever comes from files is escaped."""

    def __init__(self) -> None:
        from reportlab.lib.colors import HexColor
        from reportlab.lib.styles import ParagraphStyle

        _register_font()
        bold = f"{_FONT} Bold"
        self.text = ParagraphStyle("text", fontName=_FONT, fontSize=8, leading=10.5, textColor=HexColor(INK))
        self.small = ParagraphStyle("small", self.text, fontSize=6.6, leading=8.4)
        self.faint = ParagraphStyle("faint", self.small, textColor=HexColor(FAINT))
        self.head = ParagraphStyle("head", self.small, fontName=bold)
        self.title = ParagraphStyle("title", self.text, fontName=bold, fontSize=15, leading=19)
        self.section = ParagraphStyle("section", self.text, fontName=bold, fontSize=11, spaceBefore=10, spaceAfter=4)
        self.lesion = ParagraphStyle("lesion", self.text, fontName=bold, spaceBefore=6, spaceAfter=2)

    def story(self, shown: Page) -> list[Flowable]:
        said: list[Flowable] = [self.words(f"Lesions over time: {shown.patient}", self.title), self.words(USE)]
        if shown.warnings:
            said.append(self.warnings(shown.warnings))
        said += [self.words("What was compared", self.section), self.pairs(shown.facts)]
        if shown.responses:
            said += [self.words("Response", self.section), self.responses(shown)]
        said += [self.words("What became of the lesions", self.section), self.pairs(shown.counts)]
        for picture in (shown.course, shown.graph):
            said += self.drawn(picture) if picture else []
        said += [self.words("Measurements, with 95 % intervals", self.section), self.measurements(shown.lesions)]
        said.append(self.words("Pictures", self.section))
        for lesion in shown.lesions:
            said += self.pictures(lesion)
        return [*said, self.words("How this was made", self.section), self.pairs(shown.made, self.small)]

    def words(self, text: str, style: Any = None) -> Flowable:
        from reportlab.platypus import Paragraph

        return Paragraph(escape(text), style or self.text)

    def warnings(self, warnings: Sequence[str]) -> Flowable:
        from reportlab.lib.colors import HexColor

        rows = [[self.words("Look at this first", self.head)], *([self.words(one)] for one in warnings)]
        look: list[tuple[Any, ...]] = [("BACKGROUND", (0, 0), (-1, -1), HexColor("#fff8e5"))]
        look += [("LINEBEFORE", (0, 0), (0, -1), 4, HexColor("#e0a100"))]
        return self.table(rows, (1.0,), look, lines=False)

    def pairs(self, pairs: Sequence[tuple[str, str]], style: Any = None) -> Flowable:
        rows = [[self.words(name, self.head), self.words(said, style)] for name, said in pairs]
        return self.table(rows, (0.22, 0.78), lines=False)

    def responses(self, shown: Page) -> Flowable:
        rows = [[self.words(name, self.head) for name in ("Criterion", "Scan", "Response", "Sum of targets", "Why")]]
        for one in shown.responses:
            cells = (one.criterion, one.day, one.response, one.total, " ".join(one.reasons))
            rows.append([self.words(cell, self.small) for cell in cells])
        return self.table(rows, (0.1, 0.1, 0.1, 0.16, 0.54))

    def measurements(self, lesions: Sequence[Told]) -> Flowable:
        from reportlab.lib.colors import HexColor

        rows: list[list[Any]] = [[self.words(name, self.head) for name in COLUMNS]]
        look: list[tuple[Any, ...]] = []
        for lesion in lesions:
            about = f" ({lesion.about})" if lesion.about else ""
            look += [
                ("SPAN", (0, len(rows)), (-1, len(rows))),
                ("BACKGROUND", (0, len(rows)), (-1, len(rows)), "#f1f3f5"),
            ]
            rows.append([self.words(f"Lesion {lesion.name}{about}", self.head)])
            for row in lesion.rows:
                colour, sign = STATUSES[row.status]
                look.append(("LINEBEFORE", (1, len(rows)), (1, len(rows)), 3, HexColor(colour)))
                marked = (row.cells[0], f"{sign} {row.status}", *row.cells[2:])
                rows.append([self.words(cell, self.small) for cell in marked])
                if row.note:
                    look.append(("SPAN", (1, len(rows)), (-1, len(rows))))
                    rows.append(["", self.words(row.note, self.faint)])
        return self.table(rows, _SHARES, look)

    def pictures(self, lesion: Told) -> list[Flowable]:
        from reportlab.platypus import KeepTogether

        cells = [
            [self.image(one, _INSIDE_MM / _ACROSS - 4), self.words(one.caption, self.small)] for one in lesion.pictures
        ]
        rows = [cells[start : start + _ACROSS] for start in range(0, len(cells), _ACROSS)]
        filled = [[*row, *[""] * (_ACROSS - len(row))] for row in rows]
        title, caption = self.words(f"Lesion {lesion.name}", self.lesion), self.words(lesion.caption, self.faint)
        parts = [self.table([row], (1 / _ACROSS,) * _ACROSS, lines=False) for row in filled]
        return [KeepTogether([title, *parts[:1]]), *parts[1:], caption]

    def drawn(self, picture: Picture) -> list[Flowable]:
        return [self.image(picture, _INSIDE_MM), self.words(picture.caption or picture.alt, self.faint)]

    def image(self, picture: Picture, width_mm: float) -> Flowable:
        from reportlab.lib.units import mm
        from reportlab.platypus import Image

        height = width_mm * picture.size_mm[1] / picture.size_mm[0]
        return Image(BytesIO(picture.png), width_mm * mm, height * mm, hAlign="LEFT")

    def table(
        self, rows: Sequence[Sequence[Any]], shares: Sequence[float], look: Sequence[Any] = (), lines: bool = True
    ) -> Flowable:
        """shares: of the page's width, one for each column; lines: below rows, the first of which is on every page."""
        from reportlab.lib.colors import HexColor
        from reportlab.lib.units import mm
        from reportlab.platypus import Table, TableStyle

        ruled = [("LINEBELOW", (0, 0), (-1, -1), 0.4, HexColor("#e6e9ec"))] if lines else []
        tight: list[tuple[Any, ...]] = [(name, (0, 0), (-1, -1), 2) for name in ("TOPPADDING", "BOTTOMPADDING")]
        tight += [("LEFTPADDING", (0, 0), (-1, -1), 4), ("RIGHTPADDING", (0, 0), (-1, -1), 4)]
        style = TableStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), *tight, *ruled, *look])
        widths = [share * _INSIDE_MM * mm for share in shares]
        return Table(rows, widths, style=style, repeatRows=int(lines), hAlign="LEFT")


def _register_font() -> None:
    """The one that Matplotlib brings: PDF's own fonts know only western European letters."""
    import matplotlib
    from reportlab.pdfbase.pdfmetrics import registerFont
    from reportlab.pdfbase.ttfonts import TTFont

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    registerFont(TTFont(_FONT, fonts / "DejaVuSans.ttf"))
    registerFont(TTFont(f"{_FONT} Bold", fonts / "DejaVuSans-Bold.ttf"))
