"""Recipes: every setting of FC-TFG spelled out, with a named field for each choice that the paper leaves open.

    recipe = paper256()                          # the paper's model
    recipe = override(recipe, "latent.fusion=lstm")

The paper ("That's What I Said: Fully-Controllable Talking Face Generation", MM'23, arXiv 2304.03275) is silent or
ambiguous in 26 places. They are numbered A1 to A26 here and in docs/model.md; each is a field whose default is the
reading that we find most defensible, with the alternatives that can be chosen beside it.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Literal

from fctfg import settings


@dataclass(frozen=True)
class Generator:
    """StyleGAN2's generator and, by the same channels, its discriminator."""

    size: int = 256  # A24: 14 layers of modulation mean 256 x 256
    style_dim: int = 512
    mapping_layers: int = 8
    channel_multiplier: float = 2.0
    channel_max: int = 512

    @property
    def n_styles(self) -> int:
        """L, the number of style layers of W+: 14 at 256."""
        return 2 * (self.size.bit_length() - 1) - 2


@dataclass(frozen=True)
class Encoder:
    """E_inv: pSp's encoder, and HyperStyle's hypernetwork on top where it is wanted."""

    units: tuple[int, ...] = (3, 4, 14, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem: int = 64
    feature_width: int = 512
    head_width: int = 0  # channels within a style head; 0: feature_width, as in pSp
    # pixels per side of what the encoder is shown, whatever the generator draws (pSp: 256 for faces of 1024); 0: the
    # generator's. Larger pictures are averaged down to it.
    size: int = 0
    # so many of its pixels each way come in as channels of one: a picture of 128 at the cost of one of 32
    tile: int = 1
    # A3: HyperStyle's weight offsets appear in no equation. False: its encoder alone is used. True: offsets are
    # computed once, from the source, and held for every frame (offsets of the driver would leak its looks).
    weight_offsets: bool = False
    offset_iterations: int = 5


@dataclass(frozen=True)
class Latent:
    """The canonical space, the motion space and what joins them (Eq. 1, Eq. 2)."""

    # A1: "layers 1, 2, 3, 4, 7, 8, 9, 10" and audio into "7 and 8". Counted from 0 they are the two styles of whole
    # resolutions (8, 16, 64, 128; audio at 64). 1: counted from one, so that 0-3 and 6-9 are meant.
    layers: tuple[int, ...] = (1, 2, 3, 4, 7, 8, 9, 10)
    audio_layers: tuple[int, ...] = (7, 8)
    count_from: int = 0
    # A2: what the canonical and the motion encoder see: the code itself, or the code less the average latent.
    center: bool = False
    # A4: the rows that are not manipulated: z_s as it is, or z_{s->c} (the canonical encoder then has all L layers).
    untouched: Literal["source", "canonical"] = "source"
    # A5: widths and activation of the MLPs (2 and 3 linear layers with independent weights for each style layer).
    hidden: int = 512
    slope: float = 0.2
    # A5: the canonical encoder's last bias starts at the average latent, so that training starts from a face.
    start_at_average: bool = True
    # A7: temporal fusion: kind, frames a window (windows never overlap), kernel, one for each layer or one for all.
    fusion: Literal["conv", "lstm", "none"] = "conv"
    window: int = 5
    fusion_kernel: int = 3
    fusion_shared: bool = False
    # A7: fusion that starts as the identity hands the codes through before it has learned anything (an LSTM by a skip).
    fusion_start: Literal["identity", "default"] = "identity"

    def manipulated(self, n_styles: int) -> tuple[int, ...]:
        """The zero-based manipulated W+ layers of a network that has ``n_styles``."""
        return tuple(i - self.count_from for i in self.layers if i - self.count_from < n_styles)

    def with_audio(self, n_styles: int) -> tuple[int, ...]:
        """The zero-based W+ layers that hear the sound."""
        return tuple(i - self.count_from for i in self.audio_layers if i - self.count_from < n_styles)


@dataclass(frozen=True)
class Audio:
    """The sound's way in: Wav2Lip's mel spectrogram and its audio encoder."""

    # A23: beyond window 800, hop 200 and 80 bands (fctfg.nets.mel), Wav2Lip's settings; and where the window of a
    # frame begins: one frame before it, as Wav2Lip trains its generator, or with it, as its inference does.
    window_rule: Literal["training", "inference"] = "training"
    # A13: the audio encoder of Wav2Lip's generator (13 blocks) or of its expert (14 blocks).
    encoder: Literal["generator", "expert"] = "generator"
    width: float = 1.0


@dataclass(frozen=True)
class Losses:
    """Eq. 3 to 9."""

    ortho: float = 1.0
    sync: float = 0.1
    identity: float = 0.5
    reconstruction: float = 1.0
    perceptual: float = 1.0
    gan: float = 0.1
    # A8: the form (Table 4), the absolute value that keeps Eq. 3 from falling without bound (L2M-GAN, reference 58),
    # and how a layer's channels are reduced. A sum is style_dim times as strong as a mean.
    ortho_form: Literal["l_ortho", "cosine", "none"] = "l_ortho"
    ortho_absolute: bool = True
    ortho_channels: Literal["mean", "sum"] = "mean"
    # A8: the product's first factor: the canonical code whole, as printed, or less the average latent. The average has
    # something in every channel, so that whole codes can only be orthogonal to motion where that vanishes.
    ortho_center: bool = False
    # Eq. 6 counts all pixels alike. Eyes and lips are few: those within the box (left, top, right, bottom as fractions
    # of the picture) can count so many times as much as the others.
    reconstruction_box: tuple[float, float, float, float] = (0.20, 0.25, 0.80, 0.88)
    reconstruction_gain: float = 1.0
    # Not the paper's either, and for drawn puppets alone, which know what their pictures show: brows, eyes and lips
    # count so many times as much, wherever in the frame they are; and two linear maps must be able to read the motion
    # from the motion code, and the person from what the generator is given without it.
    parts_gain: float = 1.0
    labels: float = 0.0
    # The same reading once more, of the motion code of what was drawn: an iris that lies half a pixel too low costs a
    # pixel loss next to nothing.
    labels_drawn: float = 0.0
    # Nor this: pixels change as much from one to the next, place by place, as in the truth. It sharpens what a pixel
    # loss leaves soft, where no discriminator has learned to.
    texture: float = 0.0
    # A9: "LPIPS" with VGG-19 does not exist: VGG-19's relu1_1 to relu5_1, a root mean square (the 2-norm over the
    # root of its number of elements), its square, or the mean absolute difference. Where no VGG-19 is to be had, the
    # pre-trained discriminator's features stand in.
    perceptual_network: Literal["vgg19", "discriminator"] = "vgg19"
    perceptual_norm: Literal["rms", "square", "absolute"] = "rms"
    # A10: non-saturating (the text), not Eq. 8's minimax; R1 as in StyleGAN2; the discriminator that stage one trained.
    gan_form: Literal["non-saturating", "minimax"] = "non-saturating"
    r1: float = 10.0
    r1_every: int = 16
    discriminator: Literal["image", "video"] = "image"
    discriminator_start: Literal["stylegan2", "fresh"] = "stylegan2"
    # so many times the generator's channels: a fresh one may be narrower, where its price decides
    discriminator_width: float = 1.0
    # A11: StyleTalker's SyncNet was never released: Wav2Lip's expert stands in, on this part of the frame
    # (left, top, right, bottom as fractions), of which it sees the lower half. The default is the median face box
    # of VoxCeleb2's released crops; fctfg.nets.sync_expert has those of other framings.
    sync_box: tuple[float, float, float, float] = (0.20, 0.00, 0.80, 0.73)
    # A12: the part of the frame that the identity network sees, as fractions; pSp's own crop presumes FFHQ's framing.
    identity_network: Literal["arcface", "none"] = "arcface"
    identity_box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class StyleGAN2Stage:
    """Stage one: the generator, on single frames. A6, A10: rosinality's defaults."""

    batch: int = 32
    steps: int = 400_000
    rate: float = 2e-3
    betas: tuple[float, float] = (0.0, 0.99)
    r1: float = 10.0
    r1_every: int = 16
    path: float = 2.0
    path_every: int = 4
    path_shrink: int = 2
    path_decay: float = 0.01
    mixing: float = 0.9
    ema: float = 0.99778  # half is forgotten in 10,000 frames


@dataclass(frozen=True)
class InversionStage:
    """Stage two: the encoder into the frozen generator. pSp's weights; A6."""

    batch: int = 8
    steps: int = 300_000
    rate: float = 1e-4
    betas: tuple[float, float] = (0.95, 0.999)
    l2: float = 1.0
    perceptual: float = 0.8
    identity: float = 0.1
    ema: float = 0.999
    # The generator stays as stage one left it (pSp, the paper), or learns with the encoder, at so many times its rate
    # (see FCTFGStage.generator_rate_ratio): for budgets in which adversarial training has not come to draw faces.
    train_generator: bool = False
    generator_rate_ratio: float = 1.0


@dataclass(frozen=True)
class SyncExpertStage:
    """The expert of the sync loss. Wav2Lip's settings."""

    batch: int = 64
    steps: int = 200_000
    rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    width: float = 1.0
    ema: float = 0.999


@dataclass(frozen=True)
class FCTFGStage:
    """The last stage: everything, end to end."""

    # A6: the learning rate is the paper's, the rest is not stated: windows a step, steps, Adam's betas (its own).
    batch: int = 8
    steps: int = 300_000
    rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    ema: float = 0.999
    # The generator's equalised weights are of size one where a plain layer's are of size 1 / sqrt(inputs): at the same
    # rate it moves that much more slowly. How many times its rate is the others'; 1: as a public pre-trained one wants.
    generator_rate_ratio: float = 1.0
    discriminator_rate_ratio: float = 1.0  # the discriminator's, likewise
    # A21: "the aforementioned pre-trained models are fine-tuned": these are; the networks of the losses never are.
    fine_tuned: tuple[str, ...] = ("encoder", "audio_encoder", "generator")
    # Statistics of batch normalisation stay those of the pre-trained encoders.
    freeze_batchnorm: bool = True
    # A22: the source frame, from the same clip as the driving window.
    source: Literal["random", "first"] = "random"
    # the adversarial and the orthogonality term join after so many steps; the paper has both from the start, where
    # encoder and generator know faces already. Codes that say nothing yet are most cheaply orthogonal by vanishing.
    gan_from: int = 0
    ortho_from: int = 0


@dataclass(frozen=True)
class Evaluation:
    """What the paper's tables leave open. The protocols hold these; they are named here so that no choice is hidden."""

    fps: float = 25.0  # A25: VoxCeleb2's and SyncNet's; MEAD's 30 are resampled
    mead_clips: int = 200  # A14: 5 speakers x 8 emotions x 5 videos (the other reading is 40 in all)
    voxceleb2_frames: Literal["official-224", "original"] = "official-224"  # A15: the originals can no longer be had
    ssim: str = "ssim_wang_rgb"  # A16: whole 256 frame, RGB, Gaussian window 11, sigma 1.5
    lmd: str = "lmd_mouth_dlib"  # A17, A19: mouth points less their mean, pixels at 256, mean over points and frames
    lse: str = "lse_c_official"  # A18: through the official pipeline's crop
    baseline_input: Literal["first-frame", "full-video"] = "first-frame"  # A20
    drivers: Literal["same-clip", "separate"] = "same-clip"  # A26: one clip gives pose, expression and sound


@dataclass(frozen=True)
class Recipe:
    """All of it. ``to_json`` goes into every checkpoint; ``differences`` says where two recipes part."""

    name: str = "paper256"
    data: Literal["clips", "puppets"] = "clips"
    detail: float = 1.0  # of drawn puppets
    pool: int = 2000  # clips of four seconds whose motion and sound drawn puppets take; the people are always new
    # pixels per side that puppets are drawn at before they are brought to the generator's size; 0: that size
    drawn_size: int = 0
    # drawn samples kept on disk and shown again and again, for machines that draw slowly; 0: nobody is seen twice
    kept: int = 0
    kept_frames: int = 5  # of each; fewer will do where latent.window is smaller, but not for the sync expert
    # so many of the drawn samples (0 to 1) wear random looks over their whole range; held-out ones never do
    lively: float = 0.0
    # half of the drawn samples are framed nearer, up to so many times, as FOMM's crops show faces; 1: none
    nearest: float = 1.0
    # The driver's lips are those of another moment, so that the sound alone can say what they should do. The paper has
    # no such thing: where the driver's lips are right, nothing asks a model to listen. Needs drawn puppets.
    other_lips: bool = False
    generator: Generator = field(default_factory=Generator)
    encoder: Encoder = field(default_factory=Encoder)
    latent: Latent = field(default_factory=Latent)
    audio: Audio = field(default_factory=Audio)
    losses: Losses = field(default_factory=Losses)
    stylegan2: StyleGAN2Stage = field(default_factory=StyleGAN2Stage)
    inversion: InversionStage = field(default_factory=InversionStage)
    sync_expert: SyncExpertStage = field(default_factory=SyncExpertStage)
    fctfg: FCTFGStage = field(default_factory=FCTFGStage)
    evaluation: Evaluation = field(default_factory=Evaluation)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """The recipe in a checkpoint. SettingsError where it has fields that this version does not know."""
        return settings.rebuild(cls, json.loads(text))


#: what must agree for weights to fit: the sections that shape the networks
SHAPING = ("generator", "encoder", "latent", "audio")


def paper256() -> Recipe:
    """The paper's model: 256 x 256, VoxCeleb2, eight GPUs."""
    return Recipe()


def demo() -> Recipe:
    """The same topology and layer numbers at 128 x 128 with few channels, on drawn puppets; the bundled checkpoint's.

    Where networks would be downloads, what is at hand stands in: the discriminator's features for VGG-19's, no identity
    network, and the audio encoder of its own sync expert for Wav2Lip's.
    """
    return Recipe(
        name="demo",
        data="puppets",
        drawn_size=128,
        nearest=1.5,
        other_lips=True,
        generator=Generator(size=128, style_dim=192, mapping_layers=4, channel_multiplier=0.125, channel_max=128),
        encoder=Encoder(
            units=(1, 2, 2, 2),
            widths=(96, 192, 192, 192),
            stem=64,
            feature_width=192,
            head_width=128,
            size=128,
            tile=4,
        ),
        latent=Latent(hidden=192),
        audio=Audio(encoder="expert", width=0.5),
        losses=Losses(
            ortho_center=True,
            perceptual_network="discriminator",
            identity_network="none",
            r1=1.0,
            sync_box=(0.22, 0.10, 0.78, 0.92),
        ),
        stylegan2=StyleGAN2Stage(batch=32, steps=60_000, r1=1.0, path=0.5, mixing=0.5, ema=0.998),
        inversion=InversionStage(batch=16, steps=40_000, rate=4e-4, betas=(0.9, 0.99), identity=0.0),
        sync_expert=SyncExpertStage(batch=64, steps=20_000, rate=4e-4, width=0.5),
        fctfg=FCTFGStage(batch=8, steps=60_000, rate=2e-4, gan_from=10_000),
    )


def demo64() -> Recipe:
    """``demo`` at 64 x 64 (layers 0 to 9), to be grown to 128: the cheap first half of its training."""
    whole = demo()
    return dataclasses.replace(whole, name="demo64", generator=dataclasses.replace(whole.generator, size=64))


RECIPES = {"paper256": paper256, "demo": demo, "demo64": demo64}


def get(name: str) -> Recipe:
    """The recipe called ``name``. SettingsError lists the known ones."""
    if name not in RECIPES:
        raise settings.SettingsError(f"unknown recipe '{name}'; known are {', '.join(RECIPES)}")
    return RECIPES[name]()


def override(recipe: Recipe, *assignments: str) -> Recipe:
    """``recipe`` with each ``section.field=value`` set. SettingsError for a field or a value that does not exist."""
    return settings.assign(recipe, *assignments)


def differences(one: Recipe, other: Recipe, sections: tuple[str, ...] = SHAPING) -> list[str]:
    """Where two recipes part, as "section.field: a, not b"; by default in what shapes the networks."""
    return [
        f"{section}.{line}"
        for section in sections
        for line in settings.differences(getattr(one, section), getattr(other, section))
    ]
