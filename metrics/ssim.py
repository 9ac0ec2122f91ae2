"""Structural similarity (SSIM, MS-SSIM) of batches of planes, and their squared error on the way.

Definitions: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural
similarity", IEEE TIP 2004 (Gaussian window 11, sigma 1.5, K = .01, .03, mean over the windows wholly inside the
picture); Wang, Simoncelli, Bovik, "Multiscale structural similarity", Asilomar 2003, with the five weights and the 2x2
mean between scales of github.com/VainF/pytorch-msssim.

How it is made fast. With s = x + y and d = x - y, and with means and variances over a window,

    luminance factor           = 1 - 2 v,     v = mean(d)^2 / (mean(s)^2 + mean(d)^2 + 2 C1)
    contrast-structure factor  = 1 - 2 u,     u = var(d) / (var(s) + var(d) + 2 C2)

So four maps are filtered (s, d, s^2, d^2) where the textbook has five; where the pictures agree, u and v are small and
float32's rounding of the large terms drops out; and d^2 gives the PSNR. Maps lie in memory as (H, W, L), L planes side
by side, so that the two one-dimensional filters, the halving and all arithmetic run over contiguous lanes. Lanes never
mix: a plane's result does not depend on the planes computed beside it, not even in its last bit. Arithmetic is cheap
here (35 MFLOP in the filters of a 256x256 RGB frame); what takes the time is carrying the maps between the caches and
the core.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

C1 = (0.01 * 255) ** 2
C2 = (0.03 * 255) ** 2
#: exponents of the five scales, finest first (Wang, Simoncelli, Bovik 2003)
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
#: planes hold levels minus this, which halves the largest square that float32 has to carry
CENTRE = 128.0
# Planes computed together, and rows worked on between two trips to memory, on a CPU. Eight lanes fill a vector
# register; four maps of eight 256x256 planes are 8 MiB, which caches hold and the allocator keeps for the next group.
_CPU_LANES, _CPU_ROWS = 8, 64


@dataclass(frozen=True)
class Window:
    """A separable window: ``taps`` along one axis (they sum to 1), and what its (co)variances are multiplied by."""

    taps: tuple[float, ...]
    covariance: float = 1.0

    @classmethod
    def gaussian(cls, size: int = 11, sigma: float = 1.5) -> Window:
        x = torch.arange(size, dtype=torch.float64) - size // 2
        g = torch.exp(-(x**2) / (2 * sigma**2))
        return cls(tuple((g / g.sum()).tolist()))

    @classmethod
    def uniform(cls, size: int = 7) -> Window:
        """scikit-image's default: equal weights and the sample covariance n / (n - 1)."""
        return cls((1 / size,) * size, size**2 / (size**2 - 1))


@dataclass(frozen=True)
class Similarity:
    """What one pass over P pairs of planes gives; all float64 on the planes' device.

    ``ssim``: (P,) mean SSIM at the first scale. ``ms_ssim``: (P,) or None. ``squared_error``: (P,) mean of (x - y)^2.
    """

    ssim: Tensor
    ms_ssim: Tensor | None
    squared_error: Tensor


@torch.no_grad()
def similarity(x: Tensor, y: Tensor, window: Window, multiscale: bool = False) -> Similarity:
    """Compare the planes ``x`` with ``y``: (P, H, W), int8 or float32, levels 0..255 minus 128.

    ``multiscale`` adds MS-SSIM over five scales; then both sides must exceed 16 (n - 1) pixels, n the number of taps
    (160 for the 11-tap window). Both sides must reach n in any case. The caller checks both.
    """
    on_cpu = x.device.type == "cpu"
    lanes, rows = (_CPU_LANES, _CPU_ROWS) if on_cpu else (len(x), x.shape[1])
    groups = []
    with _true_float32(x.device):
        for a in range(0, len(x), lanes):
            pair = (_fill(planes[a : a + lanes], lanes) for planes in (x, y))
            groups.append(_compare(*pair, window, rows, len(SCALE_WEIGHTS) if multiscale else 1))
    factors, ssim, error = (torch.cat(parts, dim=-1)[..., : len(x)] for parts in zip(*groups, strict=True))
    if not multiscale:
        return Similarity(ssim, None, error)
    exponents = torch.tensor(SCALE_WEIGHTS, dtype=torch.float64, device=x.device)[:, None]
    return Similarity(ssim, (factors.relu() ** exponents).prod(0), error)


def _compare(x: Tensor, y: Tensor, window: Window, rows: int, scales: int) -> tuple[Tensor, Tensor, Tensor]:
    """(L, H, W) planes -> what MS-SSIM multiplies (scales, L), SSIM at the first scale (L,), squared error (L,)."""
    maps, shift, error = _first_maps(x, y, rows)
    structure, first = _scale(maps, shift, window, rows, luminance=True)
    factors = [structure]
    for scale in range(1, scales):
        maps = _lower_maps(_halve(maps[:2], shift))
        last = scale == scales - 1
        structure, ssim = _scale(maps, shift, window, rows, luminance=last, double=last)
        factors.append(ssim if last else structure)
    return torch.stack(factors), first, error


def _fill(planes: Tensor, lanes: int) -> Tensor:
    """(P, H, W) -> (lanes, H, W), black planes added: sums then run in one order whatever P is.

    It costs next to nothing, for a group of few lanes takes about as long as a full one.
    """
    missing = lanes - len(planes)
    return torch.cat([planes, planes.new_full((missing, *planes.shape[1:]), -CENTRE)]) if missing else planes


def _first_maps(x: Tensor, y: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """(L, H, W) planes -> the maps s, d - shift, s^2 + 2 C2, (d - shift)^2 as (4, H, W, L), the (L,) shift, and the
    (L,) squared error.

    The shift takes a brightness difference of the whole plane out of d: variances do not feel it, and the squares
    whose difference they are stay small. It is zero unless the planes' means lie more than 8 levels apart.
    """
    lanes, height, width = x.shape
    maps = torch.empty(4, height, width, lanes, device=x.device)
    two_c2 = torch.tensor(2 * C2, device=x.device)
    error = torch.zeros(lanes, dtype=torch.float64, device=x.device)
    shift = _rough_mean(x).sub_(_rough_mean(y)).div_(16).round_().mul_(16)
    shifted = bool(shift.any())
    for a in range(0, height, rows):
        s, d, ss, dd = maps[:, a : a + rows]
        ss.view(-1, lanes).copy_(x[:, a : a + rows].reshape(lanes, -1).t())
        dd.view(-1, lanes).copy_(y[:, a : a + rows].reshape(lanes, -1).t())
        torch.add(ss, dd, out=s)
        torch.sub(ss, dd, out=d)
        torch.addcmul(two_c2, s, s, out=ss)
        torch.mul(d, d, out=dd)
        error += _sum(dd)
        if shifted:
            torch.mul(d.sub_(shift), d, out=dd)
    return maps, shift, error / (height * width)


def _rough_mean(planes: Tensor) -> Tensor:
    """(L, H, W) -> (L,) float32: the mean of one pixel in 64."""
    return planes[:, ::8, ::8].float().mean((1, 2))


def _lower_maps(half: Tensor) -> Tensor:
    """(2, H, W, L) s and d -> the same four maps."""
    s, d = half
    two_c2 = torch.tensor(2 * C2, device=half.device)
    return torch.stack([s, d, torch.addcmul(two_c2, s, s), d * d])


def _scale(
    maps: Tensor, shift: Tensor, window: Window, rows: int, *, luminance: bool, double: bool = False
) -> tuple[Tensor, Tensor | None]:
    """(4, H, W, L) maps -> the planes' mean contrast-structure (L,) and, with ``luminance``, mean SSIM (L,).

    ``double``: float64 after the filter. MS-SSIM takes its last factor to the power .13, which magnifies the rounding
    of one near zero.
    """
    # A window's covariance factor f multiplies both variances; dividing C2 by f instead leaves u as it is. The maps
    # carry 2 C2, so that only the difference (zero for the Gaussian window) is added here.
    shifted = bool(shift.any())
    rest = 2 * C2 / window.covariance - 2 * C2
    filtered = _filter(maps, window).to(torch.float64 if double else torch.float32)
    _, height, width, _ = filtered.shape
    sum_u = sum_v = 0.0
    for a in range(0, height, rows):
        s, d, ss, dd = filtered[:, a : a + rows]
        ss.addcmul_(s, s, value=-1)  # var(s) + 2 C2
        dd.addcmul_(d, d, value=-1)  # var(d)
        ss.add_(dd)
        if rest:
            ss.add_(rest)
        u = dd.div_(ss)
        sum_u = sum_u + _sum(u)
        if luminance:
            s.add_(2 * CENTRE)
            if shifted:
                d.add_(shift)
            d.mul_(d)
            v = d.div_(torch.addcmul(d, s, s, out=s).add_(2 * C1))
            sum_v = sum_v + _sum(v.addcmul_(u, v, value=-2))  # (1 - 2u)(1 - 2v) = 1 - 2 (u + v - 2uv)
    n = height * width
    return 1 - 2 * sum_u / n, 1 - 2 * (sum_u + sum_v) / n if luminance else None


def _filter(maps: Tensor, window: Window) -> Tensor:
    """(4, H, W, L) -> (4, H - n + 1, W - n + 1, L): the window's weighted mean at every place it fits."""
    lanes, n = maps.shape[-1], len(window.taps)
    taps = torch.tensor(window.taps, dtype=torch.float32)
    taps[n // 2] += 1 - taps.double().sum()  # else flat regions would seem to vary by the rounding of 1/n
    taps = taps.to(maps.device)
    down = taps.view(1, 1, n, 1).expand(lanes, 1, n, 1)
    across = taps.view(1, 1, 1, n).expand(lanes, 1, 1, n)
    columns = F.conv2d(maps.permute(0, 3, 1, 2), down, groups=lanes)
    return F.conv2d(columns, across, groups=lanes).permute(0, 2, 3, 1).contiguous()


def _halve(sums: Tensor, shift: Tensor) -> Tensor:
    """(2, H, W, L) s and d - shift -> (2, ceil(H / 2), ceil(W / 2), L): means of 2x2.

    An odd side first gets a row or column of black (level 0) in front, as VainF's padded pooling gives it.
    """
    _, height, width, lanes = sums.shape
    if height % 2 or width % 2:
        padded = sums.new_empty(2, height + height % 2, width + width % 2, lanes)
        padded[0] = -2 * CENTRE
        padded[1] = -shift
        padded[:, height % 2 :, width % 2 :] = sums
        sums = padded
    quarter = sums.new_full((lanes, 1, 2, 2), 0.25)
    return F.conv2d(sums.permute(0, 3, 1, 2), quarter, stride=2, groups=lanes).permute(0, 2, 3, 1).contiguous()


def _sum(map_: Tensor) -> Tensor:
    """(h, W, L) -> (L,) float64 sums. Columns first: float32 sums of 8-bit squares are exact up to 258 rows."""
    h, width, lanes = map_.shape
    return map_.reshape(h, -1).sum(0).view(width, lanes).double().sum(0)


def _true_float32(device: torch.device):
    """Keep cuDNN from rounding the filters' inputs to TF32's ten bits, which would cost the third decimal."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
