"""Which data a stage is fed with: the command line's ``--data`` made into the loop's batches of named tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from torch import Tensor

from fctfg.data.clips import DataError
from fctfg.recipes import Recipe
from fctfg.train.data import Source, batches
from fctfg.train.distributed import World
from fctfg.train.framing import Framed
from fctfg.train.kept_puppets import KeptPuppets
from fctfg.train.puppet_data import PuppetData

#: what of its samples a stage reads (``fctfg.train.data.KINDS``)
KINDS = {"stylegan2": "frames", "inversion": "frames", "sync-expert": "sync", "fctfg": "windows"}
#: batches of held-out samples that are looked at in an evaluation, and clips that puppets' are drawn from
HELD_OUT, HELD_OUT_CLIPS = 4, 32

Batch = dict[str, Tensor]


class Feed:
    """The batches of one stage: ``pictures`` (b, 3, S, S) for single frames, else the fields of ``data.Windows`` or
    ``data.SyncWindows`` by name. ``held_out`` is read the same way from ``held``.
    """

    def __init__(self, source: Source, held: Source, kind: str, batch: int, world: World, first_held: int = 0) -> None:
        self.source, self.held, self.kind, self.batch, self.world = source, held, kind, batch, world
        self.first_held = first_held

    def batches(self, start: int) -> Iterator[Batch]:
        return map(_named, self._read(self.source, start))

    def held_out(self) -> Sequence[Batch]:
        return self._held_out

    @cached_property
    def _held_out(self) -> list[Batch]:
        return list(map(_named, self._read(self.held, self.first_held, self.first_held + HELD_OUT)))

    def describe(self) -> dict[str, object]:
        """As the source says it, its place aside: data may move between two runs."""
        return {k: v for k, v in self.source.describe().items() if k not in ("data", "split")} | {"kind": self.kind}

    def _read(self, source: Source, start: int, stop: int | None = None) -> Iterator:
        return batches(source, self.kind, self.batch, start, stop, self.world.rank, self.world.size)


def open_data(
    stage: str, recipe: Recipe, data: str, world: World, seed: int = 0, clips: int | None = None, workers: int = 0
) -> Feed:
    """The feed of ``stage``.

    ``data``: "puppets" or a folder of clips: VoxCeleb2's tree, or any crops (``fctfg.train.clip_index.find``).
    ``clips``: only so many, which are then the held-out ones too: what is measured is how well they are known by heart.
    ``workers``: processes or threads that prepare clips; 0: as many as there are cores. DataError (one line) where the
    folder is not as it should be.
    """
    size, batch = recipe.generator.size, getattr(recipe, stage.replace("-", "_")).batch
    if stage in ("inversion", "fctfg"):
        size = max(size, recipe.encoder.size)
    common = {
        "seed": seed,
        "window": recipe.latent.window,
        "source": recipe.fctfg.source,
        "rule": recipe.audio.window_rule,
        "workers": workers,
    }
    if data == "puppets":
        common |= {"detail": recipe.detail, "other_lips": recipe.other_lips, "known": stage == "fctfg" and told(recipe)}
        drawn = recipe.drawn_size or size
        if clips:
            source = held = PuppetData(drawn, world.device, clips=clips, cast=True, **common)
        else:
            source = PuppetData(drawn, world.device, clips=recipe.pool, lively=recipe.lively, **common)
            held = PuppetData(drawn, world.device, split="held-out", clips=HELD_OUT_CLIPS, **common)
        if recipe.kept:
            source = KeptPuppets(source, recipe.kept, frames=recipe.kept_frames)
        if drawn != size or recipe.nearest > 1:
            source, held = (Framed(s, size, recipe.nearest) for s in (source, held))
    else:
        if recipe.other_lips and stage == "fctfg":
            raise DataError("other_lips is for drawn puppets: use --data puppets or --set other_lips=false")
        if recipe.lively:
            raise DataError("lively is for drawn puppets: use --data puppets or --set lively=0")
        if told(recipe) and stage == "fctfg":
            raise DataError(
                "losses.parts_gain and losses.labels need drawn puppets, which know what they show: use --data "
                "puppets, or --set losses.parts_gain=1 --set losses.labels=0"
            )
        from fctfg.train.clip_data import ClipData

        layout = "voxceleb2" if any((Path(data) / p).is_dir() for p in ("dev/mp4", "test/mp4", "mp4")) else "prepared"
        if clips:
            source = held = ClipData(data, layout, size, world.device, split=None, clips=clips, **common)
        else:
            source = ClipData(data, layout, size, world.device, split="train", **common)
            held = ClipData(data, layout, size, world.device, split="held-out", **common)
    return Feed(source, held, KINDS[stage], batch, world, first_held=10**6 if clips else 0)


def told(recipe: Recipe) -> bool:
    """Whether the last stage's losses ask for what only puppets know."""
    return recipe.losses.parts_gain != 1.0 or recipe.losses.labels > 0


def _named(batch) -> Batch:
    if isinstance(batch, Tensor):
        return {"pictures": batch}
    return batch.named()
