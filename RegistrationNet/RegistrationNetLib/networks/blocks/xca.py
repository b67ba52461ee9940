"""Cross-covariance attention: channels attend to channels, so the cost grows linearly with the voxels.

El-Nouby et al.: "XCiT: Cross-Covariance Image Transformers", NeurIPS 2021.

The attention needs of its tokens only their sums of products. So it can be had in two ways: at once, from q and k
(`covariance_attention`), or from `products` of parts of the tokens, added up (`attention_of`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SHORTEST = 1e-2
"""A channel shorter than this is divided by this instead of its length. Among one or few tokens, as in a small image at
a coarse level, a channel's direction is little more than its sign, which rounding would decide."""


def covariance_attention(q: Tensor, k: Tensor, temperature: Tensor) -> Tensor:
    """softmax over k's channels of temperature * q k^T, both of unit length along the tokens.

    q, k: (..., heads, channels, tokens); temperature: (heads, 1, 1) -> (..., heads, channels, channels).
    """
    q, k = F.normalize(q, dim=-1, eps=SHORTEST), F.normalize(k, dim=-1, eps=SHORTEST)
    return (temperature * (q @ k.transpose(-2, -1))).softmax(dim=-1)


def cross_covariance(q: Tensor, k: Tensor, v: Tensor, temperature: Tensor) -> Tensor:
    """The attended values: covariance_attention(q, k) v; all (..., heads, channels, tokens)."""
    return covariance_attention(q, k, temperature) @ v


def products(qk: Tensor) -> Tensor:
    """Sums over the tokens of all products of two channels of q beside k; of two sets of tokens it is the sum.

    (..., heads, tokens, 2 channels) -> (..., heads, 2 channels, 2 channels), at least float32: the upper right quarter
    is q k^T, the diagonal holds the squared lengths.
    """
    with torch.autocast(qk.device.type, enabled=False):  # a sum over millions of voxels leaves half precision's range
        qk = qk.to(torch.promote_types(qk.dtype, torch.float32))
        return qk.mT @ qk


def attention_of(sums: Tensor, temperature: Tensor) -> Tensor:
    """`covariance_attention` of the tokens whose `products` are `sums`;
    (..., heads, 2 channels, 2 channels) and (heads, 1, 1) -> (..., heads, channels, channels).
    """
    channels = sums.shape[-1] // 2
    scale = sums.diagonal(dim1=-2, dim2=-1).clamp(min=SHORTEST**2).rsqrt()
    cosines = sums[..., :channels, channels:] * scale[..., :channels, None] * scale[..., None, channels:]
    return (temperature * cosines).softmax(dim=-1)
