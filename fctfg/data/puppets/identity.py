"""Who a puppet is: named continuous factors, each between -1 and 1, and how a population is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

#: shape factors first, then colour, hair, eyes, light, background, dress and extras; all in [-1, 1], 0 is the middle
FACTORS = (
    # head
    "head_width", "face_length", "cranium", "forehead", "cheekbones", "cheeks", "jaw_width", "jaw_square",
    "chin_length", "chin_width", "chin_forward",
    # eyes and brows
    "eye_spacing", "eye_size", "eye_opening", "eye_tilt", "eye_depth", "eye_height", "lid_fold",
    "lashes", "brow_height", "brow_arch", "brow_thickness", "brow_tilt", "brow_gap", "brow_length", "brow_tone",
    "brow_ridge",
    # nose
    "nose_length", "nose_width", "nose_root", "nose_forward", "nose_bridge", "nose_hump", "nose_tip",
    # mouth, ears, neck
    "mouth_width", "mouth_height", "lip_upper", "lip_lower", "mouth_curve", "mouth_forward", "ear_size", "ear_flare",
    "neck_width", "shoulders",
    # skin
    "skin_tone", "skin_warmth", "blush", "freckles", "lip_colour", "age",
    # hair
    "hair_tone", "hair_warmth", "hair_grey", "hair_length", "hair_volume", "hairline", "fringe", "parting", "waves",
    # eyes' colour
    "iris_hue", "iris_light",
    # light
    "light_side", "light_height", "light_softness", "light_warmth", "rim_light",
    # background and dress
    "back_hue", "back_colour", "back_light", "back_blur", "cloth_hue", "cloth_colour", "cloth_light", "neckline",
    # extras: worn above 0.45, fading in; the sign decides nothing else
    "glasses", "glasses_shape", "glasses_tone", "beard", "moustache",
)  # fmt: skip
N_FACTORS = len(FACTORS)
_INDEX = {name: i for i, name in enumerate(FACTORS)}
_TELLING = (
    "head_width", "forehead", "cheekbones", "cheeks", "jaw_square", "eye_spacing", "eye_size",
    "brow_thickness", "brow_gap", "brow_ridge", "nose_width", "nose_root", "nose_bridge", "mouth_height",
    "skin_tone", "hair_tone", "hair_length", "beard", "moustache",
)  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """A batch of identities: ``values`` is ``(B, N_FACTORS)`` float32 in [-1, 1], columns named by ``FACTORS``."""

    values: torch.Tensor

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != N_FACTORS:
            raise ValueError(f"identity values must be (B, {N_FACTORS}), not {tuple(self.values.shape)}")

    def __len__(self) -> int:
        return self.values.shape[0]

    def __getitem__(self, name: str) -> torch.Tensor:
        """One factor as ``(B, 1, 1)``, ready to meet ``(B, rows, columns)`` grids; KeyError for an unknown name."""
        if name not in _INDEX:
            raise KeyError(f"no identity factor {name!r}; the factors are {', '.join(FACTORS)}")
        return self.values[:, _INDEX[name], None, None]

    def pick(self, rows: torch.Tensor | Sequence[int] | slice) -> Identity:
        """The identities at ``rows`` (indices, repeats allowed, or a slice)."""
        return Identity(self.values[rows])

    def replace(self, **factors: float | torch.Tensor) -> Identity:
        """The same identities with some factors set to a number or a ``(B,)`` tensor."""
        values = self.values.clone()
        for name, value in factors.items():
            if name not in _INDEX:
                raise KeyError(f"no identity factor {name!r}; the factors are {', '.join(FACTORS)}")
            values[:, _INDEX[name]] = value
        return Identity(values)

    def to(self, device: torch.device | str) -> Identity:
        return Identity(self.values.to(device))


def sample_identity(generator: torch.Generator | int, batch: int, device: torch.device | str | None = None) -> Identity:
    """Draw ``batch`` identities; the same generator state (or seed) gives the same people on any device.

    Factors are uniform, but those that tell faces apart lie more often near their ends, and some proportions go
    together. Glasses are worn by one in four; beards and very long hair rarely meet, so that the population looks
    like one.
    """
    if isinstance(generator, int):
        generator = torch.Generator().manual_seed(generator)
    values = torch.rand(batch, N_FACTORS, generator=generator, device=generator.device) * 2 - 1
    at = {name: values[:, i] for name, i in _INDEX.items()}
    # Strangers differ: the factors that tell faces apart are drawn towards their ends.
    for name in _TELLING:
        values[:, _INDEX[name]] = torch.sign(at[name]) * at[name].abs().sqrt()
    # Proportions go together, as far as stock networks take one alone for a head that looks up or down, or eyes that
    # do: long noses with strong jaws, long chins and wide-set eyes, high foreheads with wide jaws, low mouths with long
    # noses, full fringes with wide-set eyes.
    values[:, _INDEX["nose_length"]] = (
        0.60 * at["nose_length"]
        + 0.50 * at["jaw_width"]
        + 0.30 * at["jaw_square"]
        + 0.35 * at["chin_length"]
        + 0.25 * at["eye_spacing"]
    )
    values[:, _INDEX["mouth_height"]] = 0.88 * at["mouth_height"] + 0.28 * at["nose_length"]
    values[:, _INDEX["fringe"]] = 0.85 * at["fringe"] + 0.30 * at["eye_spacing"]
    values[:, _INDEX["forehead"]] = 0.85 * at["forehead"] + 0.30 * at["jaw_width"]
    # Grey hair goes with age; a beard goes with short hair, a squarer jaw and thicker brows.
    values[:, _INDEX["hair_grey"]] = torch.where(at["age"] > 0.3, at["hair_grey"], at["hair_grey"] * 0.5 - 0.5)
    values[:, _INDEX["beard"]] = torch.where(at["hair_length"] > -0.1, -at["beard"].abs(), at["beard"])
    values[:, _INDEX["moustache"]] = torch.where(at["hair_length"] > -0.1, -at["moustache"].abs(), at["moustache"])
    bearded = (values[:, _INDEX["beard"]].clamp(min=0))[:, None]
    for name in ("jaw_width", "brow_thickness", "neck_width"):
        column = values[:, _INDEX[name], None]
        values[:, _INDEX[name], None] = column + bearded * 0.5 * (1 - column)
    values[:, _INDEX["glasses"]] = at["glasses"] - 0.05
    return Identity(values.clamp(-1, 1).to(device if device is not None else values.device))
