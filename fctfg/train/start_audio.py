"""What the audio encoder of the last stage starts from (A13)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from fctfg import weights
from fctfg.nets.audio import AudioEncoder, part_of_checkpoint
from fctfg.recipes import Recipe
from fctfg.train.checkpoint import CheckpointError, put

#: the block that the expert's audio encoder has and the generator's has not, the second residual one of 256 channels
SURPLUS = 11


def start_audio_encoder(encoder: AudioEncoder, recipe: Recipe, given: Path | None, find: Callable) -> str:
    """Load pre-trained weights into ``encoder``; returns in words whose they are.

    ``given``, a Wav2Lip checkpoint; else Wav2Lip's where the recipe has its width and this machine its file; else
    those of the run's own sync expert, of the same width. The generator's encoder has one residual block less than
    the expert's, which is then left out. CheckpointError: none of them is there.
    """
    if given is None and recipe.audio.width == 1.0 and recipe.audio.encoder == "generator":
        given = weights.find("wav2lip")
    if given is not None:
        try:
            state = part_of_checkpoint(weights.load_state_dict(given), "audio_encoder.")
        except ValueError as error:
            raise CheckpointError(f"{given}: {error}") from None
        put(encoder, state, given)
        return f"{given}"
    if recipe.audio.width != recipe.sync_expert.width:
        raise CheckpointError(
            f"nothing to start the audio encoder (width {recipe.audio.width}) from: the sync expert's is of width "
            f"{recipe.sync_expert.width}; name Wav2Lip's checkpoint with --audio-encoder, or make the widths equal"
        )
    expert = find("sync-expert", ())
    state = part_of_checkpoint(expert.state("expert"), "audio_encoder.")
    if recipe.audio.encoder == "generator":
        state = without_block(state, SURPLUS)
    put(encoder, state, f"{expert.place} (audio encoder)")
    return f"{expert.place}"


def without_block(state: dict[str, Tensor], number: int) -> dict[str, Tensor]:
    """The state dict of a stack of blocks without block ``number``; the later ones move up."""
    shifted = {}
    for name, value in state.items():
        block, _, rest = name.partition(".")
        if int(block) != number:
            shifted[f"{int(block) - (int(block) > number)}.{rest}"] = value
    return shifted
