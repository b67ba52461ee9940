"""CAML-RBSC-CARSC: one pass above, its fusion module and windows in the middle, the two passes below."""

from scripts.figures.canvas import Box, Canvas

LEVELS = (("16", "1/2"), ("32", "1/4"), ("64", "1/8"), ("128", "1/16"), ("64", "1/8"), ("32", "1/4"), ("16", "1/2"))
CELL, BASE, SEARCH, CELLS = 14, range(4, 8), range(2, 10), 12


def draw() -> Canvas:
    canvas = Canvas(1040, 900)
    one_pass(canvas)
    fusion(canvas, 380)
    windows(canvas, 770, 380)
    cascade(canvas, 650)
    return canvas


def one_pass(canvas: Canvas) -> None:
    """Two streams of one U-Net, which meet in fusion modules and before the head."""
    canvas.text(10, 16, "One pass: two streams, one set of weights", size=11, align="left")
    fixed, moving = stream(canvas, 150, "fixed"), stream(canvas, 290, "moving")
    for i in range(1, 6):
        middle = canvas.box(fixed[i].x, 219, 80, 36, "fusion", "attention")
        canvas.arrow(fixed[i].bottom, middle.top, both=True)
        canvas.arrow(moving[i].top, middle.bottom, both=True)
    for level in range(3):
        skip = canvas.box(455, 30 + 38 * level, 80, 28, "RBSC", "fusion")
        canvas.arrow(fixed[level].top, skip.left)
        canvas.arrow(skip.right, fixed[6 - level].top)
    meet = canvas.box(920, 205, 110, 64, "concat,\nconv3 twice\n16 at 1/2", "fusion")
    canvas.arrow(fixed[6].bottom, meet.left)
    canvas.arrow(moving[6].top, meet.left)
    head = canvas.box(920, 295, 110, 62, "head; grid and\nvalues doubled:\nfield u", "field")
    canvas.arrow(meet.bottom, head.top)
    canvas.text(
        100,
        350,
        "the moving stream has the same skips; what a fusion module gives goes on in both streams",
        size=8,
        align="left",
    )


def stream(canvas: Canvas, y: float, name: str) -> list[Box]:
    """One image and its seven levels, from left to right."""
    before = canvas.box(10, y, 60, 40, name, "image")
    boxes = []
    for i, (channels, scale) in enumerate(LEVELS):
        boxes.append(canvas.box(110 + 115 * i, y, 80, 40, f"{channels}\nat {scale}"))
        canvas.arrow(before.right, boxes[-1].left)
        before = boxes[-1]
    return boxes


def fusion(canvas: Canvas, top: float) -> None:
    """The four calls of one block; P takes the other stream's shallower level (CAML)."""
    canvas.text(10, top, "Fusion: four calls of one block CAT(base, search)", size=11, align="left")
    for name, rival, y in (("F", "M", top + 40), ("M", "F", top + 160)):
        shallow = canvas.box(330, y + 46, 110, 40, f"{rival} of the next\nshallower level", "image")
        pooled = canvas.box(470, y + 46, 110, 40, "P: max-pool 2,\n1 x 1 x 1 conv", "fusion")
        own = canvas.box(10, y, 50, 36, name, "image")
        same = canvas.box(140, y, 130, 36, f"CAT({name}, {rival})", "attention")
        across = canvas.box(460, y, 130, 36, f"CAT({name}', P({rival}))", "attention")
        result = canvas.box(660, y, 60, 36, f'{name}"', "image")
        canvas.arrow(own.right, same.left)
        canvas.arrow(same.right, across.left, f"{name}'")
        canvas.arrow(shallow.right, pooled.left)
        canvas.arrow(pooled.top, across.bottom)
        canvas.arrow(across.right, result.left)
    canvas.arrow((60, top + 172), (140, top + 68), dashed=True)
    canvas.arrow((60, top + 64), (140, top + 168), dashed=True)
    canvas.text(140, top + 114, "dashed: the stream\nthat is searched", size=8, align="left")


def windows(canvas: Canvas, left: float, top: float) -> None:
    """A base window and its search window, in two dimensions."""
    canvas.text(left, top, "Windows", size=11, align="left")
    for row in range(CELLS):
        for column in range(CELLS):
            inner = row in BASE and column in BASE
            outer = row in SEARCH and column in SEARCH
            kind = "attention" if inner else "field" if outer else "image"
            canvas.box(left + CELL * column, top + 20 + CELL * row, CELL, CELL, "", kind)
    note = "Q: the 4 x 4 x 4\nbase window of\none stream.\n\nK, V: the\n8 x 8 x 8 around\nit in the other.\n"
    canvas.text(left + CELL * CELLS + 10, top + 80, note, size=8, align="left")
    rest = "Tokens beyond the volume are masked."
    canvas.text(left, top + 30 + CELL * CELLS, rest, size=8, align="left")


def cascade(canvas: Canvas, top: float) -> None:
    """Two passes; the second receives the first's decoder features."""
    canvas.text(10, top, "CARSC: pass 2 receives the features of pass 1", size=11, align="left")
    pair = canvas.box(10, top + 50, 70, 50, "fixed,\nmoving", "image")
    first = canvas.box(130, top + 50, 80, 50, "pass 1")
    old = canvas.box(260, top + 50, 60, 50, "u1", "field")
    warped = canvas.box(370, top + 50, 130, 50, "fixed,\nmoving(x + u1)", "warp")
    second = canvas.box(560, top + 50, 80, 50, "pass 2")
    new = canvas.box(690, top + 50, 60, 50, "new", "field")
    total = canvas.box(800, top + 50, 220, 50, "total(x) =\nnew(x) + u1(x + new(x))", "field")
    for start, end in ((pair, first), (first, old), (old, warped), (warped, second), (second, new), (new, total)):
        canvas.arrow(start.right, end.left)
    words = "d1: decoder features\nat 1/8, 1/4 and 1/2;\nthe moving ones warped by u1"
    handed = canvas.box(130, top + 150, 220, 66, words, "warp")
    words = "at 1/8 and 1/4: d2 = CAT2(d2, d1) + RB2(d1)\nat 1/2: d2 = d2 + RB2(d1)"
    refine = canvas.box(430, top + 150, 340, 66, words, "attention")
    canvas.arrow(first.bottom, (170, top + 150))
    canvas.arrow(handed.right, refine.left)
    canvas.arrow((600, top + 150), second.bottom)
    cat = "CAT: LN, windowed cross attention, + base; LN, MLP, + that."
    residual = "RBSC, RB2: conv3, IN, LeakyReLU, conv3, IN, + identity, LeakyReLU."
    canvas.text(10, top + 240, f"{cat}   {residual}", size=8, align="left")
