"""Networks to compare with, taken from MONAI as they are: their bodies between our padding and our head.

Attention U-Net: Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", arXiv:1804.03999, 2018.
Residual U-Net: Kerfoot et al., "Left-Ventricle Quantification Using Residual U-Net", STACOM 2018.
UNETR: Hatamizadeh et al., "UNETR: Transformers for 3D Medical Image Segmentation", WACV 2022.
Swin UNETR: Hatamizadeh et al., "Swin UNETR: Swin Transformers for Semantic Segmentation of Brain Tumors in MRI
Images", arXiv:2201.01266, 2022.

All were made for segmentation. Ours: moving beside fixed as two input channels, a FlowHead in place of the last layer,
and instance norms where the library has others, because a batch is one pair here. The norms are our own, which also
take the single voxel that a small image becomes at the coarsest level. MONAI is imported when one is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from RegistrationNetLib.core.anysize import crop_to, pad_to_multiple
from RegistrationNetLib.core.errors import InputError, MissingPackage, SettingsError
from RegistrationNetLib.core.objective import Objective
from RegistrationNetLib.networks.blocks.flow import FlowHead
from RegistrationNetLib.networks.blocks.layers import InstanceNorm

LEVELS = 5  # of both U-Nets: full resolution to 1/16, each twice as wide as the one before
PATCH = 16  # voxels an axis of one token of UNETR
HEADS = 12  # of UNETR
PART = 64  # windows of Swin UNETR attended at a time at inference


def library(name: str) -> Any:
    """MONAI's networks. Raises MissingPackage with the cure."""
    try:
        import_module("einops")  # which its Transformers need and MONAI leaves optional
        return import_module("monai.networks.nets")
    except ImportError as error:
        raise MissingPackage(
            f'{name} is MONAI\'s, and {error.name} is not installed: pip install "registrationnet[comparison]".'
        ) from error


class AffineNorm(InstanceNorm):
    """Instance norm with a weight and a bias per channel, as the batch norm has whose place it takes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, feature: Tensor) -> Tensor:
        weight, bias = (p[:, None, None, None].to(feature.dtype) for p in (self.weight, self.bias))
        return torch.addcmul(bias, super().forward(feature), weight)


def with_own_norms(body: nn.Module) -> nn.Module:
    """The body with its normalisations replaced, and without the biases that one right behind them takes away."""
    before: nn.Module = body
    for path, module in list(body.named_modules()):
        if isinstance(module, nn.BatchNorm3d | nn.InstanceNorm3d):
            own = AffineNorm(module.num_features) if isinstance(module, nn.BatchNorm3d) else InstanceNorm()
            parent, _, key = path.rpartition(".")
            setattr(body.get_submodule(parent), key, own)
            if isinstance(before, nn.Conv3d | nn.ConvTranspose3d):
                before.register_parameter("bias", None)
        if not list(module.children()):
            before = module
    return body


class Wrapped(nn.Module):
    """A body from two channels to a field, at any size; what the four networks have in common."""

    objective = Objective()
    STRIDE = 2 ** (LEVELS - 1)

    def __init__(self, config: Any, body: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.body = with_own_norms(body)

    def forward(self, fixed: Tensor, moving: Tensor) -> list[Tensor]:
        """(N, 1, D, H, W) each, in [0, 1] -> one total field (N, 3, D, H, W), voxels."""
        return [crop_to(self.body(self.fill(torch.cat([moving, fixed], dim=1))), fixed.shape[2:])]

    def fill(self, pair: Tensor) -> Tensor:
        """The pair at the next size that the body takes; (N, 2, D, H, W) -> (N, 2, D+, H+, W+)."""
        return pad_to_multiple(pair, self.STRIDE)


@dataclass(frozen=True)
class AttentionUNetConfig:
    """width: channels at full resolution; doubled at each of the four levels below."""

    width: Literal[4, 8, 16, 32] = 16


class AttentionUNet(Wrapped):
    """MONAI's AttentionUnet: gates in the skips, driven by the level below."""

    def __init__(self, config: AttentionUNetConfig = AttentionUNetConfig()) -> None:
        widths = [config.width * 2**level for level in range(LEVELS)]
        body = library("attention-unet").AttentionUnet(3, 2, 3, channels=widths, strides=[2] * (LEVELS - 1))
        body.model[-1] = FlowHead(config.width)
        super().__init__(config, body)


@dataclass(frozen=True)
class ResidualUNetConfig:
    """width: channels at half resolution, MONAI's first level, and before the head; doubled at each level below."""

    width: Literal[4, 8, 16, 32] = 16


class ResidualUNet(Wrapped):
    """MONAI's UNet with two residual units a level."""

    def __init__(self, config: ResidualUNetConfig = ResidualUNetConfig()) -> None:
        widths = [config.width * 2**level for level in range(LEVELS)]
        unet = library("residual-unet").UNet(3, 2, config.width, widths, [2] * (LEVELS - 1), num_res_units=2)
        super().__init__(config, nn.Sequential(unet, FlowHead(config.width)))


@dataclass(frozen=True)
class UNETRConfig:
    """shape: voxels (D, H, W) it is made for, which its position embedding fixes: smaller images are filled up to it,
    larger ones refused. width: channels at full resolution. hidden: of a token; 768 is the paper's."""

    shape: tuple[int, int, int] = (160, 192, 224)
    width: Literal[4, 8, 16, 32] = 16
    hidden: Literal[48, 192, 384, 768] = 768

    def __post_init__(self) -> None:
        sizes = self.shape if isinstance(self.shape, Sequence) else ()
        if len(sizes) != 3 or any(type(size) is not int or size < 1 for size in sizes):
            raise SettingsError(f"unetr cannot take shape={self.shape!r}; give three numbers of voxels (D, H, W).")
        object.__setattr__(self, "shape", tuple(sizes))  # a list when it comes from a weights file's card


class UNETR(Wrapped):
    """MONAI's UNETR: a Transformer over patches of 16^3 voxels as the encoder of a U-Net."""

    STRIDE = PATCH

    def __init__(self, config: UNETRConfig = UNETRConfig()) -> None:
        full = [-(-size // PATCH) * PATCH for size in config.shape]
        sizes = {"feature_size": config.width, "hidden_size": config.hidden, "mlp_dim": 4 * config.hidden}
        body = library("unetr").UNETR(2, 3, full, num_heads=HEADS, **sizes)
        body.out = FlowHead(config.width)
        for block in body.vit.blocks:
            for unused in {"cross_attn", "norm_cross_attn"} & dict(block.named_children()).keys():
                delattr(block, unused)  # the library makes them and leaves them out of the sum
        super().__init__(config, body)

    def fill(self, pair: Tensor) -> Tensor:
        missing = [size - have for size, have in zip(self.config.shape, pair.shape[2:], strict=True)]
        if min(missing) < 0:
            made, has = ("x".join(map(str, shape)) for shape in (self.config.shape, pair.shape[2:]))
            raise InputError(
                f"This UNETR is made for images of up to {made} voxels, and this one has {has}. Resample or crop the "
                f"image, make one with shape={tuple(pair.shape[2:])} and train it, or choose another network."
            )
        depth, height, width = missing
        return super().fill(F.pad(pair, (0, width, 0, height, 0, depth), mode="replicate"))


@dataclass(frozen=True)
class SwinUNETRConfig:
    """width: channels at full and half resolution; doubled at each of the four levels below."""

    width: Literal[12, 24, 48] = 24


class SwinUNETR(Wrapped):
    """MONAI's SwinUNETR: attention in shifted windows as the encoder of a U-Net."""

    STRIDE = 32

    def __init__(self, config: SwinUNETRConfig = SwinUNETRConfig()) -> None:
        body = library("swin-unetr").SwinUNETR(in_channels=2, out_channels=3, feature_size=config.width)
        body.out = FlowHead(config.width)
        for block in [module for module in body.swinViT.modules() if hasattr(module, "attn")]:
            block.attn = InParts(block.attn)
        super().__init__(config, body)


class InParts(nn.Module):
    """The library's attention, some windows at a time while no gradient is recorded: together their matrices would
    fill 3.5 GB several times over at 160 x 192 x 224."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """windows: (N * G, T, C), all of an image in a row; mask: (G, T, T) or None -> as windows."""
        if torch.is_grad_enabled():
            return self.attention(windows, mask)
        each = len(windows) if mask is None else len(mask)
        parts = []
        for image in windows.split(each):
            for start in range(0, each, PART):
                some = slice(start, start + PART)
                parts.append(self.attention(image[some], None if mask is None else mask[some]))
        return torch.cat(parts)
