"""MAXCA: its network above, its block and the two kinds of groups below."""

from scripts.figures.canvas import Canvas

CELL, CELLS, REGION = 13, 8, 4


def draw() -> Canvas:
    canvas = Canvas(1000, 690)
    network(canvas)
    block(canvas, 325)
    groups(canvas, 540)
    return canvas


def network(canvas: Canvas) -> None:
    """The encoder, then the coarsest and one finer level."""
    canvas.text(10, 16, "The network: coarse to fine", size=11, align="left")
    fixed = canvas.box(10, 60, 70, 40, "fixed", "image")
    moving = canvas.box(10, 150, 70, 40, "moving", "image")
    canvas.box(110, 85, 120, 80, "encoder, shared:\n8, 16, 32, 64\nat 1 to 1/8")
    canvas.arrow(fixed.right, (110, 110))
    canvas.arrow(moving.right, (110, 140))
    match = canvas.box(290, 40, 130, 50, "match: conv3 of\nf, corr27(f, m), m")
    attend = canvas.box(450, 40, 90, 50, "MAXCA\n96 at 1/8", "attention")
    head = canvas.box(850, 40, 110, 50, "head\nu at 1/8", "field")
    canvas.arrow((230, 105), match.left, "f, m")
    canvas.arrow(match.right, attend.left)
    canvas.arrow(attend.right, head.left)
    warp = canvas.box(290, 240, 130, 36, "m': m warped\nby old", "warp")
    fine = canvas.box(290, 160, 130, 50, "match: conv3 of\nf, corr27(f, m'), m'")
    near = canvas.box(450, 160, 90, 50, "MAXCA", "attention")
    join = canvas.box(570, 160, 130, 50, "join: conv3 of\na, corr27(a, b), b")
    far = canvas.box(730, 160, 90, 50, "MAXCA", "attention")
    finer = canvas.box(850, 160, 110, 50, "head: new\nu = new o old", "field")
    up = canvas.box(570, 105, 130, 36, "b: up conv, LN")
    canvas.arrow((230, 130), (290, 178), "f")
    canvas.arrow((230, 155), warp.left, "m")
    canvas.arrow(warp.top, fine.bottom)
    for start, end, text in ((fine, near, ""), (near, join, "a"), (join, far, ""), (far, finer, "")):
        canvas.arrow(start.right, end.left, text)
    canvas.arrow((515, 90), up.left, bend=0.2)
    canvas.arrow(up.bottom, join.top)
    old = canvas.box(850, 240, 110, 36, "old: u, grid and\nvalues doubled", "field")
    canvas.arrow(head.right, old.right, bend=-0.2)
    canvas.text(990, 150, "u", size=8)
    canvas.arrow((880, 240), (880, 210), "old")
    canvas.arrow((930, 210), (930, 240), "u", dashed=True)
    canvas.arrow(old.left, warp.right, "old")
    canvas.text(10, 225, "below 1/8, three times:\n64 at 1/4, 32 at 1/2, 16 at 1", align="left")
    canvas.text(10, 292, "u = new o old: new(x) + old(x + new(x)); dashed: for the next level", align="left", size=8)


def block(canvas: Canvas, top: float) -> None:
    """Its three steps, from left to right."""
    canvas.text(10, top, "The block: C channels in, C channels out", size=11, align="left")
    x = canvas.box(10, top + 90, 40, 40, "x", "image")
    spread = canvas.box(80, top + 80, 110, 60, "LN\nLinear C to 2C\nGELU, halves")
    dilated = canvas.box(240, top + 35, 150, 60, "dilated XCA\nplus its input", "attention")
    regional = canvas.box(240, top + 125, 150, 60, "regional XCA\nplus its input", "attention")
    merge = canvas.box(430, top + 80, 100, 60, "concat\nLinear\n2C to C", "fusion")
    y = canvas.box(560, top + 90, 50, 40, "+ x\n= y", "fusion")
    refine = canvas.box(640, top + 80, 110, 60, "LN, conv3\nLeakyReLU\nconv3 = u")
    gate = canvas.box(780, top + 80, 110, 60, "u * gate of\nmean of u\n+ y", "fusion")
    out = canvas.box(920, top + 90, 50, 40, "+ x", "fusion")
    for start, end in ((x, spread), (merge, y), (y, refine), (refine, gate), (gate, out)):
        canvas.arrow(start.right, end.left)
    canvas.arrow(spread.right, dilated.left, "a")
    canvas.arrow(spread.right, regional.left, "b")
    canvas.arrow(dilated.right, merge.left)
    canvas.arrow(regional.right, merge.left)


def groups(canvas: Canvas, top: float) -> None:
    """One attention's tokens in a plane of 8 x 8 voxels, f = 4; then what XCA does with them."""
    canvas.text(10, top, "Which voxels share one attention (a plane, f = 4)", size=11, align="left")
    for left, name in ((10, "dilated: one in f, far apart"), (200, "regional: a cube of f voxels")):
        for row in range(CELLS):
            for column in range(CELLS):
                strided = row % REGION == 1 and column % REGION == 2
                near = row < REGION <= column
                chosen = strided if left == 10 else near
                canvas.box(
                    left + CELL * column, top + 18 + CELL * row, CELL, CELL, "", "attention" if chosen else "image"
                )
        canvas.text(left, top + 18 + CELL * CELLS + 14, name, size=8, align="left")
    lines = (
        "XCA of one group of T voxels, for each head of c = C / h channels:",
        "q, k, v (c x T each) = conv3(LN(feature)), zero where a region is not filled",
        "A = softmax(temperature * q k', both of length 1 along the T voxels): c x c",
        "out = Linear(A v); channels attend to channels, so the cost is linear in T",
    )
    for index, line in enumerate(lines):
        canvas.text(400, top + 35 + 24 * index, line, align="left")
