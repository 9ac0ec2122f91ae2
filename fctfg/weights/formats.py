"""The public checkpoints that can be imported: how each is recognised, what it holds, which network fits its shapes.

Sources of the formats: rosinality/stylegan2-pytorch (model.py, train.py, convert_weight.py), eladrich/pixel2style2pixel
(training/coach.py), yuval-alaluf/hyperstyle (training/coach_hyperstyle.py), Rudrabha/Wav2Lip (wav2lip_train.py),
TreB1eN/InsightFace_Pytorch (model_ir_se50.pth), torchvision (models/vgg.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

State = Mapping[str, "Tensor"]
Args = dict[str, Any]


class Mismatch(ValueError):
    """The tensors do not have the form that their kind needs: one line without the file's name."""


@dataclass(frozen=True)
class Part:
    """One network in a checkpoint.

    ``name``: what it is called in the imported file; ``prefix``: what its keys begin with in the source, after the
    checkpoint is flattened (`importing.flat`); ``optional``: may be absent; ``dropped``: pattern of keys that are
    known and not needed; ``read``: the network's arguments from its tensors; ``build``: the network from them.
    """

    name: str
    prefix: str
    read: Callable[[State], Args]
    build: Callable[[Args], nn.Module]
    optional: bool = False
    dropped: str | None = None


@dataclass(frozen=True)
class Kind:
    """A sort of checkpoint.

    ``signs``: keys that all its files have, any one of each tuple; ``not_signs``: keys that none has; ``ignored``:
    pattern of the keys outside its parts that are known and not wanted.
    """

    name: str
    file: str
    signs: tuple[tuple[str, ...], ...]
    parts: tuple[Part, ...]
    not_signs: tuple[str, ...] = ()
    ignored: str = "latent_avg"

    def fits(self, keys: Sequence[str]) -> bool:
        return all(any(sign in keys for sign in some) for some in self.signs) and not set(self.not_signs) & set(keys)


def shape(state: State, key: str, ndim: int) -> tuple[int, ...]:
    """The shape of one tensor; Mismatch if it is not there or has another number of dimensions."""
    if key not in state:
        raise Mismatch(f"{key} is missing")
    if state[key].ndim != ndim:
        raise Mismatch(f"{key} has the shape {tuple(state[key].shape)}, not {ndim} dimensions")
    return tuple(state[key].shape)


def count(state: State, pattern: str) -> int:
    """How many keys match ``pattern`` whole."""
    return sum(re.fullmatch(pattern, key) is not None for key in state)


# ------------------------------------------------------------------------------------------------- sizes from shapes


def _multiplier(widest: int, top: int, size: int) -> float:
    """The channel multiplier where the largest maps have ``top`` channels and the smallest ``widest``."""
    least = top * size / 16384
    return max(least, 2.0) if top == widest else least


def generator_args(state: State) -> Args:
    style_dim = shape(state, "style.1.weight", 2)[1]
    blocks = count(state, r"to_rgbs\.\d+\.bias")
    top = shape(state, f"to_rgbs.{max(0, blocks - 1)}.conv.weight", 5)[2]
    widest = shape(state, "conv1.conv.weight", 5)[1]
    return {
        "size": 4 * 2**blocks,
        "style_dim": style_dim,
        "mapping_layers": count(state, r"style\.\d+\.weight"),
        "channel_multiplier": _multiplier(widest, top, 4 * 2**blocks),
        "channel_max": widest,
    }


def discriminator_args(state: State) -> Args:
    size = 4 * 2 ** count(state, r"convs\.\d+\.conv1\.0\.weight")
    top, colours = shape(state, "convs.0.0.weight", 4)[:2]
    widest = shape(state, "final_conv.0.weight", 4)[0]
    return {
        "size": size,
        "channel_multiplier": _multiplier(widest, top, size),
        "channel_max": widest,
        "in_frames": max(1, colours // 3),
    }


def _stages(widths: Sequence[int]) -> tuple[list[int], list[int]]:
    """Units and widths of four stages from each unit's width; a stage begins where the width changes."""
    starts = [i for i, width in enumerate(widths) if i == 0 or width != widths[i - 1]]
    if len(starts) != 4:
        raise Mismatch(f"its {len(widths)} units do not form four stages of growing width")
    units = [b - a for a, b in zip(starts, [*starts[1:], len(widths)], strict=True)]
    return units, [widths[i] for i in starts]


def _ir_se(state: State) -> Args:
    units = count(state, r"body\.\d+\.res_layer\.1\.weight")
    lengths, widths = _stages([shape(state, f"body.{i}.res_layer.1.weight", 4)[0] for i in range(units)])
    return {"units": lengths, "widths": widths, "stem": shape(state, "input_layer.0.weight", 4)[0]}


def encoder_args(state: State) -> Args:
    style_dim, head = shape(state, "styles.0.linear.weight", 2)
    return {
        "size": 16 * 2 ** count(state, r"styles\.0\.convs\.\d+\.weight"),
        "n_styles": count(state, r"styles\.\d+\.linear\.weight"),
        "style_dim": style_dim,
        **_ir_se(state),
        "feature_width": shape(state, "latlayer1.weight", 4)[0],
        "head_width": head,
    }


def hypernet_args(state: State) -> Args:
    blocks = count(state, r"body\.\d+\.conv1\.weight")
    units, widths = _stages([shape(state, f"body.{i}.conv1.weight", 4)[0] for i in range(blocks)])
    tuned = {int(k.split(".")[1]) for k in state if re.fullmatch(r"refinement_blocks\.\d+\.convs\.0\.weight", k)}
    whole = {int(k.split(".")[1]) for k in state if re.fullmatch(r"refinement_blocks\.\d+\.linear\.weight", k)}
    if not tuned or 0 not in whole:
        raise Mismatch("the predictor of the first convolution (refinement_blocks.0) is missing")
    inner = [shape(state, f"refinement_blocks.{min(whole)}.convs.0.weight", 4)[0]]
    inner += [shape(state, f"refinement_blocks.{min(tuned - whole, default=0)}.convs.0.weight", 4)[0]]
    halvings = count(state, r"refinement_blocks\.0\.convs\.\d+\.weight") - 1
    return {
        "picture": 16 * 2**halvings,
        "units": units,
        "widths": widths,
        "stem": shape(state, "conv1.weight", 4)[0],
        "inner": inner,
        "code": shape(state, "shared_weight_hypernet.w1", 2)[0],
    }


def arcface_args(state: State) -> Args:
    dim, inputs = shape(state, "output_layer.3.weight", 2)
    args = _ir_se(state)
    return {"size": 16 * round((inputs / args["widths"][-1]) ** 0.5), "dim": dim, **args}


def audio_args(state: State) -> Args:
    return {"width": shape(state, "0.conv_block.0.weight", 4)[0] / 32, "blocks": "generator"}


def sync_args(state: State) -> Args:
    return {"width": shape(state, "face_encoder.0.conv_block.0.weight", 4)[0] / 32}


# ------------------------------------------------------------------------------------------------------- the networks


def _generator(args: Args) -> nn.Module:
    from fctfg.nets.generator import Generator

    return Generator(**args)


def _discriminator(args: Args) -> nn.Module:
    from fctfg.nets.discriminator import Discriminator

    return Discriminator(**args)


def _encoder(args: Args) -> nn.Module:
    from fctfg.nets.psp import PSPEncoder

    return PSPEncoder(**args)


def _hypernet(args: Args) -> nn.Module:
    from fctfg.nets.hyperstyle import HyperNetwork

    args = dict(args)
    return HyperNetwork(_generator(args.pop("generator")), **args)


def _arcface(args: Args) -> nn.Module:
    from fctfg.nets.ir_se import ArcFace

    return ArcFace(**args)


def _audio(args: Args) -> nn.Module:
    from fctfg.nets.audio import AudioEncoder

    return AudioEncoder(**args)


def _sync(args: Args) -> nn.Module:
    from fctfg.nets.sync_expert import SyncExpert

    return SyncExpert(**args)


def _vgg19(args: Args) -> nn.Module:
    from fctfg.nets.vgg import VGG19Features

    return VGG19Features(**args)


_DECODER = Part("decoder", "decoder.", generator_args, _generator)
_COPIES = r"refinement_blocks\.\d+\.hypernet\.(w1|b1|w2|b2)"

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "stylegan2",
            "rosinality's StyleGAN2: g_ema, g, d",
            (("g_ema.conv1.conv.weight", "g.conv1.conv.weight", "d.convs.0.0.weight"),),
            (
                Part("g_ema", "g_ema.", generator_args, _generator, optional=True),
                Part("g", "g.", generator_args, _generator, optional=True),
                Part("d", "d.", discriminator_args, _discriminator, optional=True),
            ),
        ),
        Kind(
            "psp",
            "pSp: encoder and decoder",
            (("encoder.styles.0.linear.weight",), ("encoder.input_layer.0.weight",)),
            (Part("encoder", "encoder.", encoder_args, _encoder), _DECODER),
        ),
        Kind(
            "hyperstyle",
            "HyperStyle: hypernetwork and decoder",
            (("hypernet.shared_weight_hypernet.w1",),),
            (_DECODER, Part("hypernet", "hypernet.", hypernet_args, _hypernet, dropped=_COPIES)),
            ignored=r"latent_avg|w_encoder\..*",
        ),
        Kind(
            "wav2lip-audio",
            "wav2lip.pth or wav2lip_gan.pth: the audio encoder",
            (("face_decoder_blocks.0.0.conv_block.0.weight",), ("audio_encoder.0.conv_block.0.weight",)),
            (Part("audio_encoder", "audio_encoder.", audio_args, _audio),),
            ignored=r"(face_encoder_blocks|face_decoder_blocks|output_block)\..*",
        ),
        Kind(
            "sync-expert",
            "lipsync_expert.pth: Wav2Lip's sync expert",
            (("face_encoder.0.conv_block.0.weight",), ("audio_encoder.0.conv_block.0.weight",)),
            (Part("sync_expert", "", sync_args, _sync),),
        ),
        Kind(
            "arcface",
            "model_ir_se50.pth: IR-SE50 identity network",
            (("input_layer.0.weight",), ("output_layer.3.weight",)),
            (Part("arcface", "", arcface_args, _arcface),),
        ),
        Kind(
            "vgg19",
            "torchvision's vgg19-dcbb9e9d.pth: the feature layers",
            (("features.0.weight",), ("features.34.weight",)),
            (Part("vgg19", "", lambda state: {}, _vgg19, dropped=r"classifier\.\d+\.(weight|bias)"),),
            ("features.37.weight", "features.1.weight"),  # with batch norm
        ),
    )
}
