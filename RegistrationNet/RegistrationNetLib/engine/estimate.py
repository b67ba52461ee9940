"""What a network would need for images of a size, without computing it at that size.

Memory and operations are counted: the network's own forward runs on tensors that have a shape, a type and a device but
no values, and every storage that it holds at a time is added up. Time is measured on small images of about the same
proportions and grows with the counted operations.

At 160 x 192 x 224 on one CPU core, the ten networks took between 3 % less and 30 % more than the counted memory, and
between 0.8 and 1.5 times the estimated seconds.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from RegistrationNetLib.engine import devices
from RegistrationNetLib.engine.predict import arithmetic
from RegistrationNetLib.networks import registry

SMALL = {"cpu": 40**3}
"""Voxels of the images on which time is measured; other devices are busy only with more."""
SMALL_ELSEWHERE = 128**3
PARTS = 16  # their axes are multiples, as filling up to one would weigh more than at full size
PAIRS = 2  # at a time, because for one small pair PyTorch takes convolutions that it does not take for a large one
LONG = 0.5  # second
SLOWER = {"cpu": 1.3}
"""How much longer an operation takes where images do not fit into caches (measured: 1 to 1.9 times)."""


@dataclass(frozen=True)
class Estimate:
    """Of one prediction from a pair of images, without gradients.

    flops: multiplications and additions of convolutions and matrix products, two to a multiply-add.
    peak_bytes: weights, images, and all that is held at a time; PyTorch itself, about 0.4 GiB, comes on top.
    seconds: after the first prediction, which may take longer.
    """

    parameters: int
    flops: int
    peak_bytes: int
    seconds: float


def estimate(name: str, shape: Sequence[int], device: str = "auto") -> Estimate:
    """The cost of the network `name` (as for `registry.create`) for images of `shape` (D, H, W) voxels on a device.

    A network that is made for one size of image is taken as made for this one. Raises SettingsError for an unknown
    network, MissingPackage for one whose library is not installed, DeviceError for a device that is not there.
    """
    target = devices.choose(device)
    network, parameters = made_for(name, shape)
    counted = count(network, shape, target)
    return Estimate(parameters, counted.flops, counted.peak_bytes, _seconds(name, shape, target, counted.flops))


def made_for(name: str, shape: Sequence[int]) -> tuple[nn.Module, int]:
    """The untrained network for images of this shape, and how many parameters it has."""
    fixes_its_size = "shape" in vars(registry.configure(name))
    network = registry.create(name, **({"shape": tuple(shape)} if fixes_its_size else {})).eval()
    return network, sum(parameter.numel() for parameter in network.parameters())


def smaller(shape: Sequence[int], voxels: int) -> tuple[int, ...]:
    """A size of about this many voxels and the same proportions, no axis longer than in `shape`."""
    factor = (voxels / torch.Size(shape).numel()) ** (1 / 3)
    return tuple(min(size, max(1, round(size * factor / PARTS)) * PARTS) for size in shape)


def _seconds(name: str, shape: Sequence[int], device: torch.device, flops: int) -> float:
    small = smaller(shape, SMALL.get(device.type, SMALL_ELSEWHERE))
    network, _ = made_for(name, small)
    if small == tuple(shape):
        return _measured(network, 1, shape, device)
    ratio = SLOWER.get(device.type, 1.0) * flops / max(count(network, small, device).flops, 1)
    return _measured(network, PAIRS, small, device) / PAIRS * ratio


def _measured(network: nn.Module, pairs: int, shape: Sequence[int], device: torch.device) -> float:
    """Seconds of a prediction; of a second one where the first was so short that warming up weighs."""
    network = network.to(device)
    images = torch.rand(2, pairs, 1, *shape, device=device)

    def once() -> float:
        started = time.perf_counter()
        with torch.inference_mode(), arithmetic(device):
            network(*images)[-1].sum().item()  # waits until a GPU is done
        return time.perf_counter() - started

    with devices.free_threads(), devices.flushed_denormals():
        seconds = once()
        return seconds if seconds > LONG else min(seconds, once())


def count(network: nn.Module, shape: Sequence[int], device: torch.device, precision: str = "auto") -> Tally:
    """Memory and operations of a prediction of images of `shape`, nothing of which is computed."""
    tally = Tally(device)
    pair = tuple(tally.ghost(torch.empty(1, 1, *shape, device="meta")) for _ in range(2))
    weights = {key: tally.ghost(parameter) for key, parameter in network.named_parameters()}
    buffers = {key: tally.ghost(buffer) for key, buffer in network.named_buffers()}
    with torch.no_grad(), arithmetic(device, precision), tally:
        parameters = {key: nn.Parameter(ghost, requires_grad=False) for key, ghost in weights.items()}
        functional_call(network, {**parameters, **buffers}, pair)
    return tally


class Ghost(torch.Tensor):
    """A tensor without values that says it is on a device; what it is made of is on PyTorch's meta device."""

    shadow: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, shadow: Tensor, device: torch.device) -> Ghost:
        ghost = torch.Tensor._make_wrapper_subclass(
            cls,
            shadow.shape,
            strides=shadow.stride(),
            storage_offset=shadow.storage_offset(),
            dtype=shadow.dtype,
            device=device,
        )
        ghost.shadow = shadow
        return ghost

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise RuntimeError(f"{function} met a tensor without values outside of its Tally.")


class Tally(TorchDispatchMode):
    """Carries each operation out on ghosts and adds up their storages while they live, the operations, and the bytes
    that each of them reads and writes."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.peak_bytes = self.moved_bytes = self.flops = self._live = 0
        self._held: set[int] = set()

    def ghost(self, tensor: Tensor) -> Ghost:
        shadow = tensor.to("meta")
        self._hold(shadow.untyped_storage())
        return Ghost(shadow, self.device)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten._local_scalar_dense.default:
            return 1  # a question about values: masks are taken as needed

        def inside(value: Any) -> Any:
            if isinstance(value, Ghost):
                return value.shadow
            if isinstance(value, Tensor):
                return value.to("meta")
            return torch.device("meta") if isinstance(value, torch.device) else value

        def outside(value: Any) -> Any:
            return self.ghost(value) if isinstance(value, Tensor) else value

        args, kwargs = tree_map(inside, args), tree_map(inside, kwargs or {})
        result = function(*args, **kwargs)
        if not function.is_view:
            self.moved_bytes += sum(t.nbytes for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor))
        if function.overloadpacket in flop_registry:
            self.flops += flop_registry[function.overloadpacket](*args, **kwargs, out_val=result)
        return tree_map(outside, result)

    def _hold(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._held:
            self._held.add(key)
            self._live += size
            self.peak_bytes = max(self.peak_bytes, self._live)
            weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._held.discard(key)
        self._live -= size
