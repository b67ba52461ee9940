"""Training without keeping what can be computed again."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """function(*arguments, **options); what it builds is thrown away and, in training, built again for the gradient.

    function draws no random numbers.
    """
    if not torch.is_grad_enabled():
        return function(*arguments, **options)
    return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False, **options)
