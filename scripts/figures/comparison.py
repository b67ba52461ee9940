"""The comparison networks: what is MONAI's and what is ours around it."""

from scripts.figures.canvas import Canvas

BODIES = (
    ("attention-unet", "AttentionUnet: gates in the skips,\ndriven by the level below"),
    ("residual-unet", "UNet: two residual units a level,\nbegins at half resolution"),
    ("unetr", "UNETR: Transformer over patches of 16 x 16 x 16\nas encoder, U-Net as decoder"),
    ("swin-unetr", "SwinUNETR: attention in shifted windows\nof 7 x 7 x 7 as encoder, U-Net as decoder"),
)


def draw() -> Canvas:
    canvas = Canvas(960, 290)
    pair = canvas.box(10, 115, 100, 40, "moving, fixed\n2 channels", "image")
    fill = canvas.box(145, 105, 130, 60, "far edges repeated\nto a size that\nthe body takes", "image")
    head = canvas.box(720, 115, 90, 40, "head\nconv3", "field")
    field = canvas.box(850, 105, 100, 60, "cropped:\nfield u,\n3 x D x H x W", "field")
    canvas.arrow(pair.right, fill.left)
    canvas.arrow(head.right, field.left)
    for row, (name, text) in enumerate(BODIES):
        one = canvas.box(330, 10 + 65 * row, 330, 50, f"{name}\n{text}", "conv")
        canvas.arrow(fill.right, one.left)
        canvas.arrow(one.right, head.left)
    canvas.text(10, 278, "the four bodies are MONAI's, without their last layer; the rest is ours", align="left")
    return canvas
