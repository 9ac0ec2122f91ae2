"""LSE-D, LSE-C and the offset from SyncNet embeddings: the arithmetic alone.

For each window of five frames, the Euclidean distance to the speech 15 windows before to 15 windows after it; averaged
over the windows, that is a curve of 31 distances, one for each offset. LSE-D is its minimum, LSE-C its median less its
minimum (Chung and Zisserman 2016; the names LSE-D and LSE-C are Prajwal et al.'s, "A lip sync expert", 2020).

Two faults of the definition are kept in ``padding="zero"``, which is the published one, and shown beside it. At its
edges a clip is compared with vectors of zeros, so that the score depends on the clip's length; ``padding="valid"``
averages each offset over the windows that have a partner there. And both numbers are read at the best offset: a clip
that is constantly late scores like a synchronised one. So the offset and the distance at offset 0 stand beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

VSHIFT = 15
#: Added to every component of a difference before its norm, as ``torch.nn.functional.pairwise_distance`` does.
EPS = 1e-6
_CHUNK = 128  # windows compared at once: 128 x 31 x 1024 floats are 16 MB


@dataclass(frozen=True)
class SyncScore:
    """What SyncNet says about one stretch of video and its sound.

    ``offset`` counts frames: the best match of a video window is the speech ``offset`` windows EARLIER, so a positive
    offset means that the sound comes early (the picture lags behind it) and a negative one that the sound comes late.
    ``curve[k]`` is the mean distance to speech ``k - vshift`` windows later; ``offset = vshift - argmin(curve)``.
    """

    lse_c: float
    lse_d: float
    offset: int
    distance_at_zero: float
    n_windows: int
    curve: tuple[float, ...]


def lse(video: Tensor, speech: Tensor, vshift: int = VSHIFT, padding: str = "zero") -> SyncScore:
    """Embeddings of N video windows (N, 1024) and M speech windows (M, 1024), window i of both at the same time.

    ``padding`` is "zero" (the published definition: missing speech is a vector of zeros) or "valid" (each offset's mean
    over the windows that have speech there). Distances are in the units of the embeddings, 0 and up; LSE-C is 0 and up.

    Raises:
        ValueError: for embeddings of other shapes, no windows, an unknown padding, or, with "valid", an offset at which
            no window has a partner.
    """
    curve = offset_curve(video, speech, vshift, padding)
    best = int(torch.argmin(curve))
    lowest = float(curve[best])
    return SyncScore(
        lse_c=float(torch.median(curve)) - lowest,
        lse_d=lowest,
        offset=vshift - best,
        distance_at_zero=float(curve[vshift]),
        n_windows=len(video),
        curve=tuple(curve.tolist()),
    )


def offset_curve(video: Tensor, speech: Tensor, vshift: int = VSHIFT, padding: str = "zero") -> Tensor:
    """The mean distance at each offset, (2 vshift + 1,) float64; arguments and errors as in ``lse``."""
    if padding not in ("zero", "valid"):
        raise ValueError(f"padding is 'zero' or 'valid', not '{padding}'")
    distances = offset_distances(video, speech, vshift).double()
    if padding == "zero":
        return distances.mean(dim=0)
    partner = torch.arange(len(video))[:, None] + torch.arange(-vshift, vshift + 1)[None, :]
    exists = (partner >= 0) & (partner < len(speech))
    count = exists.sum(dim=0)
    if int(count.min()) == 0:
        raise ValueError(
            f"too short: {len(video)} windows leave none with a partner at some offset of up to {vshift} frames"
        )
    return torch.where(exists, distances, 0.0).sum(dim=0) / count


def offset_distances(video: Tensor, speech: Tensor, vshift: int = VSHIFT) -> Tensor:
    """All distances (N, 2 vshift + 1), float32: entry (i, k) is from video i to speech i + k - vshift, or to zeros."""
    if video.dim() != 2 or speech.dim() != 2 or video.shape[1] != speech.shape[1]:
        raise ValueError(f"embeddings have shapes (N, D) and (M, D), not {tuple(video.shape)}, {tuple(speech.shape)}")
    if not len(video):
        raise ValueError("too short: no window to score")
    n = len(video)
    out = torch.empty(n, 2 * vshift + 1, dtype=video.dtype, device=video.device)
    for first in range(0, n, _CHUNK):
        last = min(first + _CHUNK, n)
        # Speech windows first - vshift .. last + vshift - 1, zeros where there are none.
        near = speech[max(first - vshift, 0) : last + vshift]
        before = max(vshift - first, 0)
        padded = torch.nn.functional.pad(near, (0, 0, before, last - first + 2 * vshift - before - len(near)))
        around = padded.unfold(0, 2 * vshift + 1, 1).transpose(1, 2)  # (n, 31, D), a view
        out[first:last] = torch.linalg.vector_norm(video[first:last, None] - around + EPS, dim=-1)
    return out
