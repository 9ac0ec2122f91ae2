"""The losses of FC-TFG (Eq. 3 to 9), of StyleGAN2 and of the sync expert: pure functions of tensors.

Pictures are float in [-1, 1]. Every function returns one number, the mean over the batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

#: first and last landmark of brows, eyes and lips, and what is added round them, as a fraction of the picture
PARTS, PART_MARGIN = ((17, 21), (22, 26), (36, 41), (42, 47), (48, 67)), 0.015

#: how many sizes, and pixels per side of the squares, that ``texture`` looks at
TEXTURE_SIZES, TEXTURE_SQUARE = 3, 8


def orthogonality(
    canonical: Tensor, motion: Tensor, form: str = "l_ortho", absolute: bool = True, channels: str = "mean"
) -> Tensor:
    """L_ortho (Eq. 3, A8) between ``canonical`` (B, layers, D) and ``motion`` (B, T, layers, D).

    "l_ortho": the product, channel by channel; its absolute value (else Eq. 3 as printed, which has no lower bound);
    mean or sum over a layer's channels; mean over layers, frames and batch. Zero where no channel carries both.
    "cosine": the absolute cosine of the two codes, Table 4's second row. "none": zero.
    """
    if form == "none":
        return canonical.new_zeros(())
    canonical = canonical[:, None].expand_as(motion)
    if form == "cosine":
        return F.cosine_similarity(canonical, motion, dim=-1).abs().mean()
    if form != "l_ortho":
        raise ValueError(f"orthogonality is l_ortho, cosine or none, not {form!r}")
    product = canonical * motion
    if absolute:
        product = product.abs()
    per_layer = product.mean(-1) if channels == "mean" else product.sum(-1)
    return per_layer.mean()


def steepness(pictures: Tensor) -> Tensor:
    """How steep the edges of ``pictures`` (B, C, H, W) are: the mean squared difference of neighbouring pixels."""
    across, down = pictures.diff(dim=3), pictures.diff(dim=2)
    return across.square().mean() + down.square().mean()


def texture(generated: Tensor, driving: Tensor) -> Tensor:
    """Mean absolute difference of how much pictures (B, C, H, W) change from pixel to pixel, about each place.

    The root mean square of differences along each axis over overlapping squares of 8 x 8, at three sizes, each half the
    one before (fewer where one would have less than 16 pixels a side). Edges must be as steep as they should be, though
    not to a pixel where they should be: a mean of pixel errors hardly asks for that. Noise cannot stand in for an edge,
    for it is not there at half the size. After the sub-band statistics of Portilla and Simoncelli (2000).
    """
    terms = []
    for level in range(TEXTURE_SIZES):
        if level:
            generated, driving = F.avg_pool2d(generated, 2), F.avg_pool2d(driving, 2)
            if min(generated.shape[2:]) < 2 * TEXTURE_SQUARE:
                break
        for axis in (2, 3):
            terms.append(F.l1_loss(_local_change(generated, axis), _local_change(driving.detach(), axis)))
    return torch.stack(terms).mean()


def _local_change(pictures: Tensor, axis: int) -> Tensor:
    squared = F.avg_pool2d(pictures.diff(dim=axis).square(), TEXTURE_SQUARE, TEXTURE_SQUARE // 2)
    return (squared + 1e-6).sqrt()  # the small constant keeps the root's slope finite where nothing changes


def synchronisation(video: Tensor, audio: Tensor) -> Tensor:
    """L_sync (Eq. 4): one less the cosine of the expert's two embeddings (B, D)."""
    return 1 - F.cosine_similarity(video, audio).mean()


def identity(generated: Tensor, driving: Tensor) -> Tensor:
    """L_id (Eq. 5): one less the cosine of face embeddings (B, D); the driving side is no target of training."""
    return 1 - F.cosine_similarity(generated, driving.detach()).mean()


def reconstruction(generated: Tensor, driving: Tensor, weight: Tensor | None = None) -> Tensor:
    """L_rec (Eq. 6): mean absolute difference. ``weight``, of mean 1: (H, W), or (B, 1, H, W) for each."""
    if weight is None:
        return F.l1_loss(generated, driving)
    return ((generated - driving).abs() * weight).mean()


def inside_box(
    box: tuple[float, float, float, float], gain: float, size: int, device: torch.device | None = None
) -> Tensor:
    """Weights (size, size) of mean 1; pixels within ``box`` (left, top, right, bottom as fractions) have ``gain`` times
    that of the others.
    """
    weight = torch.ones(size, size, device=device)
    left, top, right, bottom = (round(edge * size) for edge in box)
    weight[top:bottom, left:right] = gain
    return weight / weight.mean()


def around_parts(landmarks: Tensor, gain: float, size: int) -> Tensor:
    """Weights (B, 1, size, size), each of mean 1: brows, eyes and lips count ``gain`` times as much as the rest.

    ``landmarks`` (B, 68, 2): iBUG's, in fractions of the picture. A part is its points' box and ``PART_MARGIN``.
    """
    centre = (torch.arange(size, device=landmarks.device) + 0.5) / size
    within = landmarks.new_zeros(len(landmarks), size, size)
    for first, last in PARTS:
        points = landmarks[:, first : last + 1]
        low, high = points.amin(1) - PART_MARGIN, points.amax(1) + PART_MARGIN  # (B, 2)
        edge = torch.minimum(centre - low[..., None], high[..., None] - centre)  # (B, 2, size)
        x, y = (edge * size + 0.5).clamp(0, 1).unbind(1)  # how much of a pixel lies within
        within = torch.maximum(within, y[:, :, None] * x[:, None])
    weight = 1 + (gain - 1) * within[:, None]
    return weight / weight.mean((1, 2, 3), keepdim=True)


def perceptual(generated: Sequence[Tensor], driving: Sequence[Tensor], norm: str = "rms") -> Tensor:
    """L_LPIPS (Eq. 7, A9): mean over feature maps (B, C, H, W) of the norm of their difference.

    "rms": the 2-norm over the root of the number of elements, so that large maps do not outweigh small ones;
    "square": its square; "absolute": the mean absolute difference.
    """
    terms = []
    for a, b in zip(generated, driving, strict=True):
        difference = (a - b.detach()).flatten(1)
        if norm == "rms":  # the small constant keeps the root's slope finite where the maps agree
            terms.append((difference.square().mean(1) + 1e-8).sqrt().mean())
        elif norm == "square":
            terms.append(difference.square().mean())
        elif norm == "absolute":
            terms.append(difference.abs().mean())
        else:
            raise ValueError(f"the perceptual norm is rms, square or absolute, not {norm!r}")
    return torch.stack(terms).mean()


def adversarial_generator(fake: Tensor, form: str = "non-saturating") -> Tensor:
    """L_GAN's generator side (Eq. 8, A10) from the discriminator's raw scores of generated pictures."""
    if form == "minimax":  # Eq. 8 as printed: log(1 - D)
        return -F.softplus(fake).mean()
    return F.softplus(-fake).mean()


def adversarial_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """L_GAN's discriminator side: the logistic loss of raw scores."""
    return F.softplus(fake).mean() + F.softplus(-real).mean()


def r1(scores: Tensor, pictures: Tensor) -> Tensor:
    """Mean squared norm of the scores' gradient at real ``pictures``, which must require gradients (Mescheder 2018)."""
    (gradient,) = torch.autograd.grad(scores.sum(), pictures, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def path_lengths(pictures: Tensor, styles: Tensor, noise: Tensor) -> Tensor:
    """|J^T y| of each sample, (B,): how far a picture moves with its styles (path length, Karras 2020, 3.2).

    ``styles`` (B, L, D) gave ``pictures`` (B, 3, S, S); ``noise``: y, standard normal of the pictures' shape. Over the
    rows of W+ the squares are averaged.
    """
    noise = noise / math.sqrt(pictures.shape[2] * pictures.shape[3])
    (gradient,) = torch.autograd.grad((pictures * noise).sum(), styles, create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt()


def sync_expert(video: Tensor, audio: Tensor, matched: Tensor) -> Tensor:
    """Binary cross entropy on the cosine of the expert's embeddings (Wav2Lip); ``matched`` (B,) is 1 where they belong
    together. The embeddings are non-negative, so that the cosine lies in [0, 1].
    """
    # rounding can lift a cosine above 1; binary cross entropy of half-precision numbers is refused by PyTorch
    cosine = F.cosine_similarity(video.float(), audio.float()).clamp(0, 1)
    return F.binary_cross_entropy(cosine, matched.float())


def total(parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """L_total (Eq. 9): the weighted sum of the parts that are there. KeyError where a part has no weight."""
    return torch.stack([weights[name] * value.float() for name, value in parts.items()]).sum()
