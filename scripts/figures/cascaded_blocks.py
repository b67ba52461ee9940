"""Cascaded block registration: the whole volume, then blocks, then one field; and a level of its U-Nets."""

from scripts.figures.canvas import Canvas


def draw() -> Canvas:
    canvas = Canvas(960, 560)
    stages(canvas)
    level(canvas, 330)
    return canvas


def stages(canvas: Canvas) -> None:
    """From left to right: A, B, C, restoring; above each arrow what is handed on."""
    pair = canvas.box(10, 95, 80, 50, "moving,\nfixed", "image")
    a = canvas.box(125, 85, 130, 70, "A  whole volume\nU-Net of 4 levels\nat 1/2")
    warp = canvas.box(300, 85, 110, 70, "warp moving\nby the total\nfield so far", "warp")
    b = canvas.box(455, 85, 150, 70, "B  block by block\na U-Net alike\nat 1, on 64\u00b3 voxels")
    c = canvas.box(650, 85, 120, 70, "C  fuse\nraised-cosine\nweights", "fusion")
    restore = canvas.box(815, 85, 130, 70, "restore\nconv3 16, 16,\nhead", "fusion")
    for left, right in ((pair, a), (a, warp), (warp, b), (b, c), (c, restore)):
        canvas.arrow(left.right, right.left)
    canvas.text(190, 70, "widths 16, 32, 64, 128", size=8)
    canvas.text(530, 70, "sees fixed, warped, coordinates; shared by all blocks", size=8)
    for box, text in ((a, "after A: u\u2080"), (c, "after pass p: u\u209a"), (restore, "restored: u")):
        field = canvas.box(box.x, 200, box.width, 34, text, "field")
        canvas.arrow(box.bottom, field.top)
    canvas.arrow((650, 217), (355, 157), bend=-0.25, dashed=True)
    canvas.text(480, 238, "next pass (1 to 3, same weights)", size=8)
    blocks(canvas, 620, 20)
    rule = "every new field is composed with the total before it: total(x) = new(x) + before(x + new(x))"
    canvas.text(10, 278, rule, align="left")


def blocks(canvas: Canvas, x: float, y: float) -> None:
    """Three overlapping blocks along an axis, the last one shifted inward to end with it."""
    canvas.text(x - 10, y, "blocks of 64 voxels an axis, overlap 16, the last shifted inward", size=8, align="left")
    for place, (start, shift) in enumerate(((0, 0), (48, 0), (76, 0))):
        canvas.box(x + 10 + start * 1.6, y + 12 + 8 * place + shift, 64 * 1.6, 7, "", "conv")


def level(canvas: Canvas, y: float) -> None:
    """Multi-spatial extraction."""
    canvas.text(10, y - 8, "one level of an encoder; attention at the two coarsest levels only", align="left")
    x = canvas.box(10, y + 55, 120, 60, "conv3\n(stride 2 below\nthe first level)")
    local = canvas.box(190, y + 15, 130, 40, "conv3\nlocal")
    window = canvas.box(190, y + 85, 130, 34, "4\u00b3 tokens around", "attention")
    summary = canvas.box(190, y + 130, 130, 34, "64 averages of\nthe whole level", "attention")
    attention = canvas.box(390, y + 100, 130, 50, "attention\nto both, MLP", "attention")
    gate = canvas.box(590, y + 43, 130, 60, "gate s\n1x1x1 of both,\nsigmoid", "fusion")
    out = canvas.box(790, y + 48, 155, 50, "s local\n+ (1 - s) attended", "fusion")
    canvas.arrow(x.right, local.left)
    canvas.arrow(x.right, window.left)
    canvas.arrow(x.right, summary.left)
    canvas.arrow(window.right, attention.left)
    canvas.arrow(summary.right, attention.left)
    canvas.arrow(local.right, gate.left)
    canvas.arrow(attention.right, gate.left)
    canvas.arrow(gate.right, out.left)
    canvas.arrow(local.right, (868, y + 48), bend=-0.2)
    canvas.arrow(attention.right, (868, y + 98), bend=0.2)
    canvas.text(600, y - 25, "times s", size=8)
    canvas.text(700, y + 160, "times 1 - s", size=8)
    rule = "behind each conv3 InstanceNorm, LeakyReLU 0.2; up: 1x1x1, trilinear doubling, the skip beside it, two conv3"
    canvas.text(10, y + 205, rule, align="left")
