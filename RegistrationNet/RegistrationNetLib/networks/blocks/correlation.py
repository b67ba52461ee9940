"""How alike two features are under small shifts."""

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor


def corr27(fixed: Tensor, moving: Tensor) -> Tensor:
    """Channel mean of fixed(x) * moving(x + o) for o in {-1, 0, 1}^3 in axis order, zero outside the volume;
    (N, C, D, H, W) twice -> (N, 27, D, H, W).
    """
    depth, height, width = fixed.shape[2:]
    padded = F.pad(moving, (1, 1, 1, 1, 1, 1))
    shifted = (padded[:, :, d : d + depth, h : h + height, w : w + width] for d, h, w in product(range(3), repeat=3))
    return torch.stack([(fixed * other).mean(dim=1) for other in shifted], dim=1)
