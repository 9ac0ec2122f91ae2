"""Official checkpoints made ours: read without running them, checked tensor by tensor, written as safetensors.

python -m fctfg.weights import psp psp_ffhq_encode.pt --out psp.safetensors

imported = read("psp.safetensors")
encoder = imported.build("encoder")
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fctfg.weights.catalogue import WeightsError
from fctfg.weights.formats import KINDS, Kind, Mismatch, Part
from fctfg.weights.load import load_state_dict
from fctfg.weights.lookup import sha256

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT = "fctfg-import-1"
AVERAGE = "latent_avg"
_SHOWN = 3


@dataclass(frozen=True)
class Imported:
    """An imported file.

    ``args``: part -> the arguments of its network; ``tensors``: part -> its state dict; ``latent_avg``: the average
    latent (D,) or (L, D), where the source had one; ``source``, ``source_sha256``: the file it was made from.
    """

    kind: str
    args: dict[str, dict[str, Any]]
    tensors: dict[str, dict[str, Tensor]]
    latent_avg: Tensor | None
    source: str
    source_sha256: str

    def build(self, part: str) -> nn.Module:
        """The network called ``part`` with its weights, in eval mode. WeightsError for a part that is not in it."""
        if part not in self.tensors:
            raise WeightsError(f"{self.source} had no '{part}'; it had {', '.join(self.tensors)}")
        network = _part(KINDS[self.kind], part).build(self.args[part])
        network.load_state_dict(self.tensors[part])
        return network.eval()


def convert(kind: str, source: str | os.PathLike, out: str | os.PathLike | None = None) -> Path:
    """Import the official checkpoint ``source`` of the sort ``kind`` and return the file written.

    ``out``: where to, else beside ``source`` with the ending .safetensors. WeightsError, one line: an unknown kind, a
    file of another kind (says which), damaged, refused, or with keys, shapes or constants other than the network's.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    if kind not in KINDS:
        raise WeightsError(f"no kind of checkpoint is called '{kind}'; known are {', '.join(KINDS)}")
    source = Path(source)
    target = Path(out) if out else source.with_suffix(".safetensors")
    if target.suffix != ".safetensors":
        raise WeightsError(f"{target}: the name must end in .safetensors")
    if target.resolve() == source.resolve():
        raise WeightsError(f"{source}: would be overwritten; give another name with --out")
    args, tensors = examine(KINDS[kind], source)
    about = {
        "format": FORMAT, "kind": kind, "source": source.name, "source_sha256": sha256(source), "args": json.dumps(args)
    }  # fmt: skip
    part = target.with_name(f"{target.name}.part{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        own = {key: value.clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}  # no sharing
        save_file(own, part, metadata=about)
        os.replace(part, target)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{target}: cannot be written ({error}); give another place with --out") from None
    finally:
        if part.is_file():
            part.unlink()
    return target


def read(path: str | os.PathLike) -> Imported:
    """An imported file again. WeightsError if it is missing, damaged, or was not made by `convert`."""
    from safetensors import safe_open

    flat_tensors = load_state_dict(path)
    about = {}
    if Path(path).suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
    if about.get("format") != FORMAT or about.get("kind") not in KINDS:
        raise WeightsError(f"{path}: was not made by python -m fctfg.weights import; import the official file")
    args = json.loads(about["args"])
    tensors: dict[str, dict[str, Tensor]] = {part: {} for part in args}
    for key, value in flat_tensors.items():
        if key != AVERAGE:
            part, _, name = key.partition(".")
            tensors[part][name] = value
    average = flat_tensors.get(AVERAGE)
    return Imported(about["kind"], args, tensors, average, about["source"], about["source_sha256"])


def examine(kind: Kind, source: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Tensor]]:
    """What `convert` writes: the arguments of each part, and "part.key" -> tensor, all checked; WeightsError."""
    import torch

    with torch.serialization.safe_globals([argparse.Namespace]):  # a trainer's options, plain values; not kept
        state = flat(load_state_dict(source))
    if not kind.fits(list(state)):
        raise WeightsError(f"{source}: {_other_kind(kind, state)}")
    args: dict[str, dict[str, Any]] = {}
    kept: dict[str, Tensor] = {}
    prefixes = tuple(part.prefix for part in kind.parts)
    stray = [key for key in state if not key.startswith(prefixes) and not re.fullmatch(kind.ignored, key)]
    try:
        if stray:
            raise Mismatch(_named("unexpected", stray))
        for part in kind.parts:
            tensors = {key.removeprefix(part.prefix): v for key, v in state.items() if key.startswith(part.prefix)}
            if part.optional and not tensors:
                continue
            args[part.name] = part.read(tensors)
            if part.name == "hypernet":
                args[part.name]["generator"] = args["decoder"]
                _same_copies(tensors)
            fitted = fit(part, args[part.name], tensors)
            kept |= {f"{part.name}.{key}": value for key, value in fitted.items()}
        if AVERAGE in state:
            kept[AVERAGE] = _average(state[AVERAGE], next(iter(args.values())))
    except (Mismatch, ValueError) as error:
        raise WeightsError(f"{source}: does not fit '{kind.name}': {error}") from None
    return args, kept


def flat(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a checkpoint under one level of names, without what training adds to them.

    {"state_dict": {...}, "latent_avg": v} and {"g_ema": {...}, ...} become one mapping; "module." of a parallel
    training goes; optimisers, options and counters go.
    """
    import torch

    found: dict[str, Tensor] = {}
    for name, value in checkpoint.items():
        if isinstance(value, torch.Tensor):
            found[str(name).removeprefix("module.")] = value
        elif isinstance(value, Mapping) and name in ("state_dict", "g_ema", "g", "d"):
            prefix = "" if name == "state_dict" else f"{name}."
            inner = ((str(key).removeprefix("module."), v) for key, v in value.items())
            found |= {prefix + key: v for key, v in inner if isinstance(v, torch.Tensor)}
    return found


def fit(part: Part, args: dict[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``tensors`` as the network of ``part`` wants them: checked, constants and known surplus dropped.

    Mismatch names the first few missing, unexpected and wrongly shaped keys, and constants of another value. A batch
    norm's counter may be missing, as old files lack it: it becomes zero, and serves no purpose in inference.
    """
    import torch

    with torch.device("meta"):
        network = part.build(args)
        wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    constants = _constants(part, args)
    surplus = [k for k in tensors if k not in wanted and k not in constants]
    unexpected = [k for k in surplus if not (part.dropped and re.fullmatch(part.dropped, k))]
    missing = [k for k in wanted if k not in tensors and not k.endswith("num_batches_tracked")]
    misshapen = [k for k in wanted if k in tensors and tuple(tensors[k].shape) != wanted[k]]
    changed = [
        k for k, v in constants.items()
        if k in tensors and not (v.shape == tensors[k].shape and torch.allclose(v, tensors[k].float(), atol=1e-6))
    ]  # fmt: skip
    shapes = [f"{k} {tuple(tensors[k].shape)} for {wanted[k]}" for k in misshapen]
    found = {"missing": missing, "unexpected": unexpected, "of another shape": shapes, "with other values": changed}
    faults = [_named(what, [part.prefix + key for key in keys]) for what, keys in found.items() if keys]
    if faults:
        raise Mismatch("; ".join(faults))
    zero = torch.zeros((), dtype=torch.long)
    return {k: (v.float() if (v := tensors.get(k, zero)).is_floating_point() else v) for k in wanted}


def _named(what: str, keys: Sequence[str]) -> str:
    """How many keys are ``what``, and the first few."""
    return f"{len(keys)} {what} ({', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''})"


def _constants(part: Part, args: dict[str, Any]) -> dict[str, Tensor]:
    """The filters that a public file of a StyleGAN2 network holds and ours does not."""
    if part.name not in ("g_ema", "g", "d", "decoder"):
        return {}
    from fctfg.nets.generator import constants

    small = args | {"channel_max": 1}  # the same filters for a network of few channels
    return constants(part.build(small))


def _same_copies(tensors: Mapping[str, Tensor]) -> None:
    """HyperStyle's file repeats the shared predictor in each block that uses it; they must agree."""
    import torch

    for key, value in tensors.items():
        if found := re.fullmatch(r"refinement_blocks\.\d+\.hypernet\.(\w+)", key):
            shared = tensors.get(f"shared_weight_hypernet.{found[1]}")
            if shared is None or not torch.equal(shared, value):
                raise Mismatch(f"hypernet.{key} differs from hypernet.shared_weight_hypernet.{found[1]}")


def _average(value: Tensor, args: dict[str, Any]) -> Tensor:
    """The average latent as (D,), or (L, D) where its rows differ; Mismatch for other shapes."""
    rows = value.float().reshape(-1, value.shape[-1]) if value.ndim in (1, 2) else value
    if rows.ndim != 2 or rows.shape[-1] != args.get("style_dim"):
        raise Mismatch(f"{AVERAGE} of shape {tuple(value.shape)} for codes of length {args.get('style_dim')}")
    return rows[0].clone() if bool((rows == rows[0]).all()) else rows.clone()


def _other_kind(kind: Kind, state: Mapping[str, Tensor]) -> str:
    likely = next((other for other in KINDS.values() if other.fits(list(state))), None)
    if likely is not None:
        return f"looks like '{likely.name}' ({likely.file}), not '{kind.name}'; import it as {likely.name}"
    names = ", ".join(list(state)[:_SHOWN]) or "no tensors"
    lacking = [" or ".join(some) for some in kind.signs if not any(sign in state for sign in some)]
    if not lacking:
        return f"is not '{kind.name}' ({kind.file}): it has {next(sign for sign in kind.not_signs if sign in state)}"
    return f"is not '{kind.name}' ({kind.file}): {lacking[0]} is missing; it begins with {names}"


def _part(kind: Kind, name: str) -> Part:
    return next(part for part in kind.parts if part.name == name)
