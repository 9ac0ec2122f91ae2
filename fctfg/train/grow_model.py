"""A trained small FC-TFG becomes the start of a larger one: what belongs to a style layer goes where that layer is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from fctfg.model import FCTFG
from fctfg.nets.grow import grow_generator


def grow_model(state: Mapping[str, Tensor], small: FCTFG, large: FCTFG) -> dict[str, Tensor]:
    """The state dict that starts ``large`` from ``state``, the weights of a model like ``small``.

    The generator grows as `grow_generator` says. Of the encoder, the canonical and the motion encoder and the fusion,
    all that a style layer of the small model has is kept for that layer; the layers above are as ``large`` has them.
    Where the encoder is shown pictures of one size, the larger picture begins as the small one's, enlarged.
    ValueError: other choices than the size, or weight offsets.
    """
    if small.hypernetwork is not None or large.hypernetwork is not None:
        raise ValueError("a model with weight offsets does not grow; train it at its size")
    own = large.state_dict()
    grown = dict(own)
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = value
    generator = grow_generator(parts["generator"], small.generator.size, large.generator)
    grown |= {f"generator.{name}": value for name, value in generator.items()}
    for part in ("encoder", "audio_encoder"):
        for name, value in parts[part].items():
            if own.get(f"{part}.{name}", value).shape == value.shape:
                grown[f"{part}.{name}"] = value
    grown["average"] = _rows(own["average"], state["average"], range(small.n_styles), range(large.n_styles))
    on_all = small.recipe.latent.untouched == "canonical"
    canonical = [range(m.n_styles) if on_all else m.layers for m in (small, large)]
    hears = [[i for i in m.layers if i in m.audio_layers] for m in (small, large)]
    deaf = [[i for i in m.layers if i not in m.audio_layers] for m in (small, large)]
    layered = {"canonical.": canonical, "motion.visual.": deaf, "motion.audiovisual.": hears}
    for start, (before, after) in layered.items():
        for name in (n for n in state if n.startswith(start)):
            grown[name] = _rows(own[name], state[name], before, after)
    grown |= _fusion(state, own, small, large)
    return grown


def _rows(own: Tensor, kept: Tensor, before: Sequence[int], after: Sequence[int]) -> Tensor:
    """``own`` (rows of the layers ``after``, ...) with the rows of ``kept`` (of the layers ``before``) in place."""
    if own.shape[1:] != kept.shape[1:]:
        raise ValueError(
            f"{tuple(kept.shape[1:])}, not {tuple(own.shape[1:])}: grow with the same style_dim and widths"
        )
    made = own.clone()
    for row, layer in enumerate(before):
        if layer in after:
            made[list(after).index(layer)] = kept[row]
    return made


def _fusion(state: Mapping[str, Tensor], own: Mapping[str, Tensor], small: FCTFG, large: FCTFG) -> dict[str, Tensor]:
    """Temporal fusion: one for all layers, a group of channels for each, or a network for each."""
    if small.recipe.latent.fusion != large.recipe.latent.fusion or small.fusion.shared != large.fusion.shared:
        raise ValueError("grow with the same latent.fusion and latent.fusion_shared")
    names = [name for name in state if name.startswith("fusion.")]
    if small.fusion.shared:
        return {name: state[name] for name in names}
    made, dim = {}, small.recipe.generator.style_dim
    for name in names:
        if name.startswith("fusion.conv."):
            each = [t.reshape(-1, dim, *t.shape[1:]) for t in (own[name], state[name])]
            made[name] = _rows(*each, small.layers, large.layers).reshape(own[name].shape)
        else:  # fusion.lstm.<number>.weight..., fusion.out.<number>....
            kind, number, rest = name.removeprefix("fusion.").split(".", 2)
            layer = small.layers[int(number)]
            if layer in large.layers:
                made[f"fusion.{kind}.{large.layers.index(layer)}.{rest}"] = state[name]
    return {name: value.clone() for name, value in made.items()}
