"""Cross-covariance attention: channels attend to channels, so the cost grows linearly with the voxels.

El-Nouby et al.: "XCiT: Cross-Covariance Image Transformers", NeurIPS 2021.
"""

import torch.nn.functional as F
from torch import Tensor


def covariance_attention(q: Tensor, k: Tensor, temperature: Tensor) -> Tensor:
    """softmax over k's channels of temperature * q k^T, both of unit length along the tokens.

    q, k: (..., heads, channels, tokens); temperature: (heads, 1, 1) -> (..., heads, channels, channels).
    """
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    return (temperature * (q @ k.transpose(-2, -1))).softmax(dim=-1)


def cross_covariance(q: Tensor, k: Tensor, v: Tensor, temperature: Tensor) -> Tensor:
    """The attended values: covariance_attention(q, k) v; all (..., heads, channels, tokens)."""
    return covariance_attention(q, k, temperature) @ v
