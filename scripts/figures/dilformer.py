"""MSR-Dilformer-SRF: two streams through one pyramid, fields composed from coarse to fine; and its three blocks."""

from itertools import pairwise

from scripts.figures.canvas import Box, Canvas

LEVELS = (("1", 8), ("1/2", 16), ("1/4", 32), ("1/8", 64), ("1/16", 128))
GLOBAL = ("1/8", "1/16")
ROW = 90
HEIGHT = 42


def draw() -> Canvas:
    canvas = Canvas(900, 910)
    encoder(canvas)
    decoder(canvas)
    msr(canvas, 560)
    dilformer(canvas, 680)
    srf(canvas, 840)
    return canvas


def top(row: int) -> float:
    return 62 + ROW * row


def encoder(canvas: Canvas) -> None:
    for column, name in enumerate(("fixed", "moving")):
        x = 20 + 125 * column
        boxes = [canvas.box(x, 12, 105, 28, name, "image")]
        boxes += [canvas.box(x, top(row), 105, HEIGHT, f"MSR\n{c} at {scale}") for row, (scale, c) in enumerate(LEVELS)]
        for above, below in pairwise(boxes):
            canvas.arrow(above.bottom, below.top)
    canvas.text(
        20, 496, "one set of weights for both streams; conv3 of stride 2 from level to level", size=8, align="left"
    )


def decoder(canvas: Canvas) -> None:
    coarser: tuple[Box, Box] | None = None
    for row, (scale, _) in reversed(list(enumerate(LEVELS))):
        y = top(row)
        match = canvas.box(300, y, 130, HEIGHT, "warp, corr27;\n1x1x1 of all", "warp")
        fuse = canvas.box(630, y, 80, HEIGHT, "SRF\ntwice", "fusion")
        field = canvas.box(775, y, 110, HEIGHT, f"head, compose:\nfield at {scale}", "field")
        canvas.arrow((250, y + HEIGHT / 2), match.left, "both")
        if scale in GLOBAL:
            attend = canvas.box(480, y, 95, HEIGHT, "Dilformer\ntwice", "attention")
            canvas.arrow(match.right, attend.left)
            canvas.arrow(attend.right, fuse.left)
        else:
            canvas.arrow(match.right, fuse.left)
        canvas.arrow(fuse.right, field.left, "z")
        if coarser:
            z, old = coarser
            canvas.arrow(z.top, match.bottom)
            canvas.text(470, old.y - 14, "z, doubled", size=8)
            canvas.arrow(old.top, field.bottom, "old", dashed=True)
            canvas.arrow((795, old.y), (425, match.y + HEIGHT), "old", dashed=True)
        coarser = fuse, field
    canvas.text(885, 496, "the loss judges all five fields", size=8, align="right")
    words = (
        "old: the field so far, its grid and values doubled; it warps the moving feature, and the head's is composed"
    )
    canvas.text(20, 516, f"{words} with it", size=8, align="left")


def msr(canvas: Canvas, y: float) -> None:
    canvas.text(20, y, "MSR, C channels; each layer of a branch is followed by LeakyReLU", align="left")
    x = canvas.box(20, y + 40, 50, 30, "x", "image")
    mix = canvas.box(415, y + 40, 145, 30, "concat, 1x1x1, IN")
    plus = canvas.box(600, y + 40, 110, 30, "+ x, LeakyReLU", "fusion")
    for i, text in enumerate(("1x1x1", "3x3x3", "3x3x3, 3x3x3")):
        branch = canvas.box(150, y + 10 + 32 * i, 200, 26, f"{text}; C/2")
        canvas.arrow(x.right, branch.left)
        canvas.arrow(branch.right, mix.left)
    canvas.arrow(mix.right, plus.left)


def dilformer(canvas: Canvas, y: float) -> None:
    canvas.text(20, y + 10, "Dilformer", align="left")
    z = canvas.box(20, y + 60, 50, 30, "z", "image")
    norm = canvas.box(95, y + 60, 40, 30, "LN")
    dilated = canvas.box(170, y + 26, 250, 42, "a quarter of the channels each:\n3x3x3 of dilation 1, 2, 3, 5; 1x1x1")
    attend = canvas.box(
        170, y + 84, 250, 42, "cross-covariance attention:\nchannels x channels, all voxels", "attention"
    )
    gate = canvas.box(450, y + 60, 175, 30, "sigmoid(t) g + t; 1x1x1", "fusion")
    plus = canvas.box(650, y + 60, 40, 30, "+ z", "fusion")
    mlp = canvas.box(
        720, y + 34, 165, 82, "LN, 1x1x1 to 2C,\ndepth-wise 3x3x3,\nGELU, 1x1x1 to C;\n+ its input", "fusion"
    )
    canvas.arrow(z.right, norm.left)
    canvas.arrow(norm.right, dilated.left)
    canvas.arrow(norm.right, attend.left)
    canvas.arrow(dilated.right, gate.left, "t")
    canvas.arrow(attend.right, gate.left)
    canvas.text(440, y + 98, "g", size=8)
    canvas.arrow(gate.right, plus.left)
    canvas.arrow(plus.right, mlp.left)


def srf(canvas: Canvas, y: float) -> None:
    canvas.text(20, y, "SRF", align="left")
    boxes = [canvas.box(20, y + 25, 50, 30, "z", "image")]
    boxes += [canvas.box(110 + 105 * i, y + 25, 75, 30, text) for i, text in enumerate(("3x1x1", "1x3x1", "1x1x3"))]
    boxes.append(canvas.box(425, y + 25, 150, 30, "IN, LeakyReLU, 1x1x1"))
    boxes.append(canvas.box(615, y + 25, 50, 30, "+ z", "fusion"))
    for before, after in pairwise(boxes):
        canvas.arrow(before.right, after.left)
