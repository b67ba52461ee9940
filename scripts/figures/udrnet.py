"""UDRNet: a U-Net whose skips pass through scHAF, and scHAF itself."""

from scripts.figures.canvas import Canvas

LEVELS = (("1", "16", "32, 16, 16"), ("1/2", "32", "32, 32"), ("1/4", "32", "32, 32"), ("1/8", "32", "32, 32"))


def draw() -> Canvas:
    canvas = Canvas(930, 620)
    body(canvas)
    schaf(canvas, 370)
    return canvas


def body(canvas: Canvas) -> None:
    pair = canvas.box(10, 20, 100, 40, "moving, fixed\n2 channels", "image")
    encoder, gates, decoder = [], [], []
    for depth, (scale, width, widths) in enumerate(LEVELS):
        y = 20 + 62 * depth
        encoder.append(canvas.box(140 + 30 * depth, y, 105, 40, f"2 x conv3\n{width} at {scale}"))
        gates.append(canvas.box(405, y, 70, 40, "scHAF", "attention"))
        decoder.append(canvas.box(640 - 30 * depth, y, 125, 40, f"conv3 {widths}\nat {scale}"))
    bottom = canvas.box(385, 275, 110, 40, "2 x conv3\n32 at 1/16")
    canvas.arrow(pair.right, encoder[0].left)
    for upper, lower in zip(encoder, [*encoder[1:], bottom], strict=True):
        canvas.arrow(upper.bottom, lower.top if lower is not bottom else bottom.left)
    for lower, upper in zip([bottom, *reversed(decoder)], reversed(decoder), strict=False):
        canvas.arrow(lower.top if lower is not bottom else bottom.right, upper.bottom)
    for skip, gate, level in zip(encoder, gates, decoder, strict=True):
        canvas.arrow(skip.right, gate.left)
        canvas.arrow(gate.right, level.left)
    head = canvas.box(825, 20, 95, 40, "head\nfield u", "field")
    canvas.arrow(decoder[0].right, head.left)
    rule = "down: 2 x max-pool; up: transposed conv3, then beside the skip; every conv3 is followed by ReLU"
    canvas.text(10, 340, rule, align="left")


def schaf(canvas: Canvas, top: float) -> None:
    title = "scHAF, on the encoder's feature F with C channels; the gates have the names that the paper gives them"
    canvas.text(10, top, title, align="left")
    feature = canvas.box(10, top + 100, 90, 40, "F\nC x d x h x w", "image")
    one_map = '"channel attention": conv1,\nsigmoid: one map for all channels'
    first = canvas.box(150, top + 25, 240, 44, one_map, "attention")
    one_weight = '"spatial attention": max and\nmean over space, MLP, sigmoid:\none weight a channel'
    second = canvas.box(150, top + 170, 240, 58, one_weight, "attention")
    by_map = canvas.box(440, top + 29, 130, 36, "Fc = F x map", "fusion")
    by_weight = canvas.box(440, top + 181, 130, 36, "Fs = F x weights", "fusion")
    canvas.arrow(feature.top, first.left)
    canvas.arrow(feature.bottom, second.left)
    canvas.arrow(first.right, by_map.left)
    canvas.arrow(second.right, by_weight.left)
    canvas.arrow(feature.right, by_map.bottom)
    canvas.arrow(feature.right, by_weight.top)
    fused = canvas.box(620, top + 80, 130, 80, "concat, 3C:\nFc x Fs\nFc + Fs\nmax(Fc, Fs)", "fusion")
    canvas.arrow(by_map.right, fused.left)
    canvas.arrow(by_weight.right, fused.left)
    out = canvas.box(790, top + 100, 130, 40, "conv3\nto the decoder, C")
    canvas.arrow(fused.right, out.left)
