"""Animate a face: one picture takes on the motion of a driving video, its lips the speech of a sound.

    animator = animate.load()                                  # the bundled model, on a GPU when there is one
    for frames in animator.animate(source, driving, audio):    # (t, S, S, 3) uint8, t frames at a time
        ...
    face = animator.canonical(source)                          # the same person without any motion (Fig. 5)

``source`` is one picture and ``driving`` 25 frames a second, uint8 RGB, square, cut to the face as training clips are;
``audio`` is mono at 16 kHz. ``fctfg.pictures`` and ``fctfg.media`` read them from files.

The numbers are those of ``FCTFG.forward`` on windows of T frames that follow each other without overlap, to 1e-4, at
any batch size. What does not change is not computed again: the source goes through the encoder once, driving frames
only through the style heads of the manipulated layers, normalisation is folded into the convolutions, and the
generator's constant layers, and all that lies before the first moving one, are worked out once for each source.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from fctfg import media, model_file
from fctfg.checkpoints import checkpoint_path
from fctfg.data.clips import SAMPLES_PER_FRAME
from fctfg.model import FCTFG, shown
from fctfg.nets.psp import folded
from fctfg.nets.synthesis import Synthesis
from fctfg.recipes import Recipe
from fctfg.refine import refined
from fctfg.streaming import SoundWindows, ahead, limited, rechunked, to_and_fro

Length = Literal["driving", "audio", "shortest"]
LENGTHS = ("driving", "audio", "shortest")
PRECISIONS = ("auto", "fp32", "bf16")

#: frames in one pass unless asked otherwise; rounded up to whole windows
BATCH = {"cuda": 40, "cpu": 10}


def load(
    checkpoint: str | os.PathLike | None = None,
    device: str = "auto",
    precision: str = "auto",
    batch: int | None = None,
    compiled: bool = False,
    refine: int = 0,
) -> Animator:
    """The model of a checkpoint file, ready to animate; see `Animator` for the rest.

    ``checkpoint`` None: the file that FCTFG_CHECKPOINT names, else the bundled one. Raises ModelFileError or
    MissingCheckpoint, one line each: no such file, not a model, damaged, of another version.
    """
    model = model_file.load_model(checkpoint_path(checkpoint))
    return Animator(model, device, precision, batch, compiled, refine=refine)


class DeviceError(ValueError):
    """A device or precision that cannot be had; one line."""


def choose_device(name: str) -> torch.device:
    """The device ``name``; "auto" is a GPU when there is one. DeviceError: unknown to torch, or not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise DeviceError(f"device '{name}' cannot be had here; use cpu, cuda or cuda:N, or auto") from None
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """The precision ``name``; "auto" is bf16 on GPUs that compute in it, else fp32."""
    if name not in PRECISIONS:
        raise DeviceError(f"precision '{name}': choose from {', '.join(PRECISIONS)}")
    if name != "auto":
        return name
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


@dataclass(frozen=True)
class Source:
    """All that the frames of one source share: the generator with its styles folded in, and z_{s->c} (1, M, D)."""

    synthesis: Synthesis
    canonical: Tensor
    paint: Callable[[Tensor], Tensor]


class Animator:
    """A model ready for inference. It is moved to ``device`` and frozen. May be used from several threads.

    ``precision``: "fp32", "bf16" (the encoder of driving frames and the generator's maps; the source's codes, motion,
    fusion and the picture itself stay float32), or "auto": bf16 on GPUs that have it. ``batch``: driving frames in one
    pass, rounded up to whole windows; a single window has the least delay and, on a GPU, runs as CUDA ``graphs``.
    ``compiled``: through torch.compile, which takes a minute or more to get ready and pays on a GPU over many clips or
    a long one. ``refine``: steps of descent on each source's codes (`fctfg.refine`), 0 for the paper's method.
    """

    def __init__(
        self,
        model: FCTFG,
        device: str | torch.device = "auto",
        precision: str = "auto",
        batch: int | None = None,
        compiled: bool = False,
        graphs: bool = True,
        refine: int = 0,
    ) -> None:
        self.device = device if isinstance(device, torch.device) else choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.model = model.eval().requires_grad_(False).to(self.device)
        self.recipe: Recipe = model.recipe
        self.size, self.window = self.recipe.generator.size, self.recipe.latent.window
        #: pixels per side of what comes in: an encoder may be shown more than the generator draws
        self.seen = max(self.size, self.recipe.encoder.size)
        asked = BATCH.get(self.device.type, BATCH["cpu"]) if batch is None else batch
        if asked < 1:
            raise ValueError(f"batch {asked}: give at least one frame")
        self.batch = -(-asked // self.window) * self.window
        if refine < 0:
            raise ValueError(f"refine {refine}: give a number of steps, or 0")
        self.refine = refine
        self.compiled = compiled
        self.dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        self._graphs = graphs and self.device.type == "cuda" and not compiled and self.batch == self.window
        self._encoder = folded(self.model.encoder).to(self.dtype)
        self._average = self.model.average[list(model.layers)]
        self._look = torch.compile(self._encoder, dynamic=False) if compiled else self._encoder

    def animate(
        self,
        source: np.ndarray,
        driving: np.ndarray | Iterable[np.ndarray],
        audio: np.ndarray | None = None,
        length: Length = "driving",
    ) -> Iterator[np.ndarray]:
        """``source`` with the motion of ``driving`` and the lips of ``audio``, in chunks (t, S, S, 3) uint8 RGB.

        ``source``: (H, W, 3) uint8, square. ``driving``: (n, H, W, 3) uint8 at 25 fps, or an iterable of such chunks,
        of which only what is in work is held. ``audio``: (N,) float in [-1, 1] at 16 kHz, sample 0 when driving frame 0
        is shown; None: silence. Any square size is resized.

        ``length`` "driving": as many frames as it has, silence where the sound is shorter. "audio": until the sound
        ends, the driving frames forwards and backwards as long as needed. "shortest": until either ends. Raises
        ValueError for arrays of another kind.
        """
        if length not in LENGTHS:
            raise ValueError(f"length '{length}': choose from {', '.join(LENGTHS)}")
        if audio is not None and (audio.ndim != 1 or audio.dtype.kind != "f"):
            raise ValueError(f"audio must be (N,) float at 16 kHz, not {audio.shape} {audio.dtype}")
        source = self._sized(source[None] if source.ndim == 3 else source)
        if len(source) != 1:
            raise ValueError(f"source must be one picture (H, W, 3), not {len(source)}")
        total = None if length == "driving" else frames_of(audio)
        return self._animate(source, driving, SoundWindows(audio, self.recipe.audio.window_rule), length, total)

    def canonical(self, source: np.ndarray) -> np.ndarray:
        """The canonical face of a picture (H, W, 3) uint8, square: (S, S, 3) uint8 (paper, Fig. 5)."""
        face = self.bind(self._sized(source[None]))
        with torch.no_grad():
            return to_bytes(face.paint(self.model.fusion(face.canonical[:, None])[:, 0]))[0]

    def _animate(self, source, driving, sound, length, total) -> Iterator[np.ndarray]:
        face = self.bind(source)
        look = self._recorded(self.codes)
        frames = rechunked((self._sized(c) for c in _chunks(driving, self.batch)), self.batch, np.concatenate)
        codes = (look(self._padded(torch.from_numpy(part).to(self.device)))[: len(part)] for part in ahead(frames))
        if length == "shortest":
            codes = limited(codes, total)
        elif length == "audio":
            codes = rechunked(to_and_fro(codes, total), self.batch, torch.cat)
        done = 0
        for rows in codes:
            yield self._render(face, rows, sound(done, len(rows), self.device))
            done += len(rows)

    def _sized(self, frames: np.ndarray) -> np.ndarray:
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
            raise ValueError(f"frames must be (t, H, W, 3) uint8 RGB, not {frames.shape} {frames.dtype}")
        if frames.shape[1] != frames.shape[2]:
            raise ValueError(
                f"frames are {frames.shape[2]}x{frames.shape[1]}; cut them to a square about the face first"
            )
        return np.ascontiguousarray(media.resize(frames, (self.seen, self.seen)))

    @torch.no_grad()
    def codes(self, frames: Tensor) -> Tensor:
        """Driving frames (t, S, S, 3) uint8 -> the manipulated rows of z_d (t, M, D)."""
        seen = shown(to_floats(frames), self._encoder.size).to(self.dtype)
        return self._look(seen, self.model.layers).float() + self._average

    @torch.no_grad()
    def bind(self, source: np.ndarray) -> Source:
        """All that the frames of ``source`` (1, S, S, 3) uint8 share."""
        model = self.model
        picture = to_floats(torch.from_numpy(source).to(self.device))
        z_s = model.encode(picture)
        canonical = model.canonical_code(z_s)
        offsets = model.offsets(picture, z_s)
        if self.refine:
            silence = SoundWindows(None, self.recipe.audio.window_rule)(0, 1, self.device)
            z_s, canonical = refined(model, picture, z_s, canonical, silence, self.refine)
        on_all = self.recipe.latent.untouched == "canonical"
        constant = sorted(set(range(model.n_styles)) - set(model.layers))
        synthesis = Synthesis(model.generator, constant, self.dtype)
        synthesis.bind((canonical if on_all else z_s)[0], offsets)
        # The manipulated rows come in the recipe's order, Synthesis takes them in that of the generator.
        order = torch.tensor([model.layers.index(row) for row in synthesis.varying], device=self.device)

        def paint(rows: Tensor) -> Tensor:
            return synthesis(rows[:, order])

        return Source(
            synthesis,
            canonical[:, list(model.layers)] if on_all else canonical,
            torch.compile(paint, dynamic=False) if self.compiled else self._recorded(paint),
        )

    @torch.no_grad()
    def listen(self, mels: Tensor) -> Tensor:
        """E_a: mel windows (t, 1, 80, 16) -> z_a (t, A)."""
        return self.model.audio_encoder(mels)

    @torch.no_grad()
    def fuse(self, canonical: Tensor, rows: Tensor, heard: Tensor) -> Tensor:
        """Eq. 1, Eq. 2 and fusion, window by window: z_{s->c} (1, M, D), z_d (t, M, D), z_a (t, A) -> (t, M, D)."""
        summed = canonical + self.model.motion_code(rows, heard)
        whole = len(summed) - len(summed) % self.window
        parts = []
        if whole:
            parts.append(self.model.fusion(summed[:whole].unflatten(0, (-1, self.window))).flatten(0, 1))
        if whole < len(summed):
            parts.append(self.model.fusion(summed[None, whole:])[0])
        return torch.cat(parts)

    @torch.no_grad()
    def _render(self, face: Source, rows: Tensor, mels: Tensor) -> np.ndarray:
        styles = self.fuse(face.canonical, rows, self.listen(mels))
        return to_bytes(face.paint(self._padded(styles))[: len(rows)])

    def _padded(self, rows: Tensor) -> Tensor:
        """The last batch filled up with copies where a fixed shape is compiled or recorded."""
        lacking = self.batch - len(rows) if self.compiled or self._graphs else 0
        return torch.cat([rows, rows[-1:].expand(lacking, *rows.shape[1:])]) if lacking > 0 else rows

    def _recorded(self, step: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return Recorded(step) if self._graphs else step


class Recorded:
    """``step`` of one tensor as a CUDA graph: hundreds of small kernels started as one, for batches of one window.

    Recorded at the first call, on whose device and with whose shape it stays.
    """

    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        self.step = step
        self.graph: torch.cuda.CUDAGraph | None = None

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        if self.graph is None:
            self.given = x.clone()
            now, aside = torch.cuda.current_stream(x.device), torch.cuda.Stream(x.device)
            aside.wait_stream(now)
            with torch.cuda.stream(aside):  # libraries choose and set up their kernels outside the recording
                for _ in range(3):
                    self.step(self.given)
            now.wait_stream(aside)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):  # other threads may use the GPU
                self.made = self.step(self.given)
        self.given.copy_(x)
        self.graph.replay()
        return self.made.clone()


def frames_of(audio: np.ndarray | None) -> int:
    """Video frames during which ``audio`` sounds, at 25 fps, the last one begun."""
    return 0 if audio is None else -(-len(audio) // SAMPLES_PER_FRAME)


def to_floats(frames: Tensor) -> Tensor:
    """(t, S, S, 3) uint8 -> (t, 3, S, S) float32 in [-1, 1]; in memory the channels stay last."""
    return frames.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def to_bytes(pictures: Tensor) -> np.ndarray:
    """(t, 3, S, S) in about [-1, 1] -> (t, S, S, 3) uint8, rounded."""
    levels = pictures.float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _chunks(driving: np.ndarray | Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    if not isinstance(driving, np.ndarray):
        yield from driving
        return
    for start in range(0, len(driving), size):
        yield driving[start : start + size]
