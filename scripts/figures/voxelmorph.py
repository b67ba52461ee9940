"""VoxelMorph: a U-Net from the pair to an integrated velocity."""

from scripts.figures.canvas import Canvas

LEVELS = (("1", "16"), ("1/2", "32"), ("1/4", "32"), ("1/8", "32"))


def draw() -> Canvas:
    canvas = Canvas(860, 330)
    pair = canvas.box(10, 20, 100, 40, "moving, fixed\n2 channels", "image")
    encoder = []
    for depth, (scale, width) in enumerate(LEVELS):
        encoder.append(canvas.box(140 + 35 * depth, 20 + 55 * depth, 90, 40, f"conv3\n{width} at {scale}"))
    bottom = canvas.box(330, 250, 110, 40, "conv3\n32 at 1/16")
    decoder = []
    for depth, (scale, _) in enumerate(LEVELS):
        decoder.append(canvas.box(520 - 35 * depth, 20 + 55 * depth, 90, 40, f"conv3\n32 at {scale}"))
    canvas.arrow(pair.right, encoder[0].left)
    for upper, lower in zip(encoder, [*encoder[1:], bottom], strict=True):
        canvas.arrow(upper.bottom, lower.top if lower is not bottom else bottom.left)
    for lower, upper in zip([bottom, *reversed(decoder)], reversed(decoder), strict=False):
        canvas.arrow(lower.top if lower is not bottom else bottom.right, upper.bottom)
    for skip, level in zip(encoder, decoder, strict=True):
        canvas.arrow(skip.right, level.left, "skip")
    full = canvas.box(650, 20, 90, 40, "2 x conv3\n16 at 1")
    head = canvas.box(770, 20, 80, 40, "head\nvelocity v", "field")
    field = canvas.box(770, 110, 80, 50, "u = exp(v)\nat 1/2,\nresized", "field")
    canvas.arrow(decoder[0].right, full.left)
    canvas.arrow(full.right, head.left)
    canvas.arrow(head.bottom, field.top)
    rule = "down: 2 x max-pool; up: nearest-upsampled and concatenated; conv3 is followed by LeakyReLU 0.2"
    canvas.text(10, 310, rule, align="left")
    return canvas
