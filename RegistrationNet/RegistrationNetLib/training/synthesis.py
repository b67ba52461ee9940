"""Made-up scans: shapes and contrasts that nobody's images are needed for, and deformations that are known.

After Hoffmann et al., SynthMorph: learning contrast-invariant registration without acquired images, IEEE Transactions
on Medical Imaging 41(3), 2022: what never shows the same contrast twice cannot learn contrasts, only shapes.

Volumes are (1, C, D, H, W) on the device that computes; what is random comes from the generator that is given, which
is on the CPU, so that every device gets the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from RegistrationNetLib.core import spatial
from RegistrationNetLib.core.filters import smooth

_SHAPES = 26  # labels of a made-up anatomy
_BLOBS = 0.14, 0.3  # size of its shapes, of the volume
_DARK_AIR = 0.5  # how often label 0 is black, as around a head
_NOISE, _BLUR, _BIAS, _GAMMA = 0.06, 1.0, 0.4, 0.4
_THICK = 3.0  # times coarser at most along one axis
_CUT, _DEEPEST_CUT = 0.25, 0.25  # how often a field of view ends early at one side, and by how much of it at most
_LOW, _HIGH = 0.002, 0.998  # of the values, that become 0 and 1: as preparation does with real scans


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def waves(shape: Sequence[int], size: float, channels: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """Smooth noise of about unit variance whose blobs are `size` voxels wide, (1, channels, *shape)."""
    coarse = [max(2, math.ceil(n / size) + 1) for n in shape]
    noise = torch.randn((1, channels, *coarse), generator=generator).to(device)
    while noise.shape[2:] != torch.Size(shape):  # by twos, which leaves no edges
        noise = spatial.resize(noise, [min(2 * old, n) for old, n in zip(noise.shape[2:], shape, strict=True)])
    return noise


def shapes(shape: Sequence[int], generator: torch.Generator, device: torch.device) -> Tensor:
    """A label map (1, 1, D, H, W) of blobs: at each voxel the largest of as many smooth noises as labels."""
    size = uniform(generator, *_BLOBS) * max(shape)
    best = waves(shape, size, 1, generator, device)
    labels = torch.zeros_like(best, dtype=torch.long)
    for label in range(1, _SHAPES):
        other = waves(shape, size, 1, generator, device)
        labels.masked_fill_(other > best, label)
        best = torch.maximum(best, other)
    return labels


def deformation(shape: Sequence[int], peak: float, generator: torch.Generator, device: torch.device) -> Tensor:
    """A diffeomorphic displacement (1, 3, D, H, W) in voxels, of up to about `peak`: waves of several sizes, made
    at half resolution and integrated.
    """
    half = [max(2, n // 2) for n in shape]
    velocity = torch.zeros((1, 3, *half), device=device)
    for part in (0.5, 0.25, 0.125):  # of the volume; finer waves are lower
        wave = waves(half, part * max(half), 3, generator, device)
        velocity += wave * (part / 0.5) * uniform(generator, 0, 1)
    largest = velocity.norm(dim=1).amax().clamp(min=1e-6)
    velocity *= uniform(generator, 0, 1) * peak / 2 / largest
    return spatial.resize_field(spatial.integrate(velocity, 5), shape)


def pose(shape: Sequence[int], degrees: float, scale: float, shift: float, generator: torch.Generator) -> Tensor:
    """A random affine about the volume's middle, (3, 4): voxels to voxels."""
    angles = [math.radians(uniform(generator, -degrees, degrees)) for _ in range(3)]
    matrix = torch.eye(3)
    for axis, angle in enumerate(angles):
        one, two = (k for k in range(3) if k != axis)
        turn = torch.eye(3)
        turn[one, one] = turn[two, two] = math.cos(angle)
        turn[one, two], turn[two, one] = -math.sin(angle), math.sin(angle)
        matrix = turn @ matrix
    matrix = matrix @ torch.diag(torch.tensor([1 + uniform(generator, -scale, scale) for _ in range(3)]))
    middle = (torch.tensor(shape) - 1) / 2
    moved = torch.tensor([uniform(generator, -shift, shift) for _ in range(3)])
    return torch.cat([matrix, (middle + moved - matrix @ middle)[:, None]], dim=1)


def positions(shape: Sequence[int], pose: Tensor, displacement: Tensor | None = None) -> Tensor:
    """Where each voxel x looks: A(x + u(x)), (1, 3, D, H, W) voxels. pose: A, (3, 4) or (4, 4)."""
    at = spatial.lattice(shape, pose)
    if displacement is not None:
        at = at + displacement
    linear, shift = pose[:3, :3], pose[:3, 3]
    return torch.einsum("ij,njdhw->nidhw", linear, at) + shift.view(1, 3, 1, 1, 1)


def painted(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """A scan of a label map (1, 1, D, H, W) of `count` labels in a contrast of its own, in [0, 1]."""
    device, shape = labels.device, labels.shape[2:]
    means = torch.rand(count, generator=generator)
    spreads = torch.rand(count, generator=generator) * _NOISE
    if uniform(generator, 0, 1) < _DARK_AIR:
        means[0], spreads[0] = 0.0, 0.01
    noise = torch.randn(tuple(shape), generator=generator).to(device)[None, None]
    image = means.to(device)[labels] + spreads.to(device)[labels] * noise
    return weathered(smooth(image, uniform(generator, 0, _BLUR)), 1.0, generator)


def weathered(image: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """A scan as another machine might show it: bias field, contrast, thick slices, noise; in [0, 1].

    amount: 0 for none of it, 1 for as much as made-up scans have.
    """
    device, shape = image.device, image.shape[2:]
    bias = waves(shape, uniform(generator, 0.3, 1.0) * max(shape), 1, generator, device)
    image = scaled(image * (amount * _BIAS * uniform(generator, 0, 1) * bias).exp())
    image = image ** math.exp(amount * uniform(generator, -_GAMMA, _GAMMA))
    thickness = 1 + amount * uniform(generator, 0, 1) ** 2 * (_THICK - 1)
    axis = int(torch.randint(3, (), generator=generator))
    if thickness > 1.3:
        thick = [max(2, round(n / thickness)) if k == axis else n for k, n in enumerate(shape)]
        image = spatial.resize(spatial.onto(image, thick), shape)
    level = amount * _NOISE * uniform(generator, 0, 1)
    return scaled(image + level * torch.randn(tuple(shape), generator=generator).to(device)[None, None])


def cut(image: Tensor, generator: torch.Generator) -> Tensor:
    """A scan as it is, or at times with nothing shown at one side, as a field of view may end within the body."""
    if uniform(generator, 0, 1) > _CUT:
        return image
    axis, far = (int(torch.randint(n, (), generator=generator)) for n in (3, 2))
    size = image.shape[2 + axis]
    depth = round(size * uniform(generator, 0, _DEEPEST_CUT))
    shown = image.clone()
    shown.narrow(2 + axis, (size - depth) * far, depth).zero_()
    return shown


def scaled(image: Tensor) -> Tensor:
    """Clipped at its lowest and highest values, 0 to 1."""
    sample = image.flatten()[:: max(1, image.numel() // 50_000)]
    low, high = (sample.kthvalue(max(1, round(share * sample.numel()))).values for share in (_LOW, _HIGH))
    return ((image - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
