"""The command ``python -m fctfg.train``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from fctfg import recipes

STAGES = {
    "stylegan2": "1. the generator and its discriminator, on single frames",
    "inversion": "2. the encoder into the frozen generator (and HyperStyle's hypernetwork where the recipe has it)",
    "sync-expert": "3. the expert of the sync loss; needs no other stage",
    "fctfg": "4. the whole model, from the three above",
}

#: the exit status of a run that was asked to stop before its last step (EX_TEMPFAIL: run it again)
STOPPED = 75

DESCRIPTION = """\
Train FC-TFG, one stage after the other. Each stage finds what it builds upon in the folder of --out.

  stylegan2     the generator and its discriminator, on single frames
  inversion     the encoder into the frozen generator (and HyperStyle's hypernetwork where the recipe has it)
  sync-expert   the expert of the sync loss; needs no other stage
  fctfg         the whole model, from the three above
  export        all that inference needs, as one file
"""

EXAMPLES = """\
examples
  the demo's recipe on drawn puppets, from nothing:
    python -m fctfg.train stylegan2   --recipe demo --data puppets --out runs/demo
    python -m fctfg.train inversion   --recipe demo --data puppets --out runs/demo
    python -m fctfg.train sync-expert --recipe demo --data puppets --out runs/demo
    python -m fctfg.train fctfg       --recipe demo --data puppets --out runs/demo
    python -m fctfg.train export      --out runs/demo --to demo.safetensors

  a run that was stopped or killed: the same command again goes on from its last checkpoint

  the paper's model on eight GPUs, on clips prepared in a folder:
    torchrun --nproc-per-node 8 -m fctfg.train stylegan2 --recipe paper256 --data /data/vox2 --out runs/paper

  another choice of the recipe, a shorter run:
    python -m fctfg.train fctfg --recipe demo --data puppets --out runs/lstm --set latent.fusion=lstm --steps 2000 \\
        --stylegan2 runs/demo --inversion runs/demo --sync-expert runs/demo

  128 x 128 from 64 x 64:
    python -m fctfg.train stylegan2 --recipe demo64 --data puppets --out runs/demo64
    python -m fctfg.train stylegan2 --recipe demo --data puppets --out runs/demo --grow-from runs/demo64

  does it learn at all: two clips, which the model must come to know by heart (--clips 2 at every stage; docs/train.md
  has the commands, an hour and a quarter of one processor core)

docs/train.md says what is in a run's folder and how to read it.
"""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m fctfg.train",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", metavar="STAGE", required=True)
    for name, what in STAGES.items():
        stage = commands.add_parser(name, help=what, description=what[3:])
        stage.add_argument("--recipe", choices=recipes.RECIPES, default="demo", help="every setting (default: demo)")
        stage.add_argument("--data", default="puppets", metavar="puppets|DIR", help="drawn, or a folder of clips")
        stage.add_argument("--out", type=Path, required=True, help="the run's folder; the stage has its own in it")
        stage.add_argument(
            "--set", action="append", default=[], metavar="SECTION.FIELD=VALUE", help="change the recipe; repeatable"
        )
        stage.add_argument("--steps", type=_at_least(1), help="steps in all (default: the recipe's)")
        stage.add_argument("--batch", type=_at_least(1), help="samples a step, all processes together (the recipe's)")
        stage.add_argument("--clips", type=_at_least(1), metavar="N", help="train and evaluate on N clips only")
        stage.add_argument("--seed", type=int, default=0)
        stage.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: auto)")
        stage.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto", help="auto: bf16 on a GPU")
        stage.add_argument("--compile", action="store_true", help="torch.compile: slow to start, then faster")
        stage.add_argument(
            "--apart", type=_at_least(0), default=0, metavar="N", help="processes meet every N steps only (0: in each)"
        )
        stage.add_argument("--workers", type=_at_least(0), default=0, help="how many prepare clips (one a core)")
        for what, default in (("report", 50), ("sample", 1000), ("evaluate", 1000), ("checkpoint", 1000)):
            stage.add_argument(
                f"--{what}-every", type=_at_least(0), default=default, metavar="N", help=f"({default}; 0: at the end)"
            )
        if name != "sync-expert":
            stage.add_argument("--grow-from", type=Path, metavar="RUN", help="start from this run of half the size")
        if name in ("inversion", "fctfg"):
            stage.add_argument("--stylegan2", type=Path, metavar="FILE|RUN", help="the generator (default: --out's)")
        if name == "inversion":
            stage.add_argument("--encoder", type=Path, metavar="FILE", help="to start from: model_ir_se50.pth or pSp's")
        if name == "fctfg":
            for other, net in (("inversion", "encoder"), ("sync-expert", "sync expert")):
                stage.add_argument(f"--{other}", type=Path, metavar="FILE|RUN", help=f"the {net} (default: --out's)")
            stage.add_argument("--audio-encoder", type=Path, metavar="FILE", help="wav2lip.pth, to start from")
            stage.add_argument(
                "--start-from",
                type=Path,
                metavar="FILE|RUN",
                help="a trained last stage to go on with, or an exported model, of no more channels than this one's; "
                "earlier stages are then not needed",
            )
    export = commands.add_parser("export", help="all that inference needs, as one safetensors file")
    export.add_argument("--out", type=Path, required=True, help="the run's folder")
    export.add_argument("--to", type=Path, required=True, metavar="FILE", help="the file to write")
    export.add_argument("--float32", action="store_true", help="full precision (default: float16, half as large)")
    return top


def _at_least(least: int) -> Callable[[str], int]:
    """An argument's type: a whole number that is no less."""

    def whole_number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text}: give at least {least}")
        return value

    return whole_number


def recipe_of(args: argparse.Namespace) -> recipes.Recipe:
    """The recipe of the command line: --set first, then --steps and --batch of the stage. SettingsError: see there."""
    section = args.command.replace("-", "_")
    short = [(name, getattr(args, name)) for name in ("steps", "batch") if getattr(args, name) is not None]
    return recipes.override(recipes.get(args.recipe), *args.set, *(f"{section}.{n}={v}" for n, v in short))


def run(args: argparse.Namespace) -> int:
    from fctfg.train import distributed
    from fctfg.train.feeding import open_data
    from fctfg.train.launch import Options, launch
    from fctfg.train.loop import Every

    every = Every(args.report_every, args.sample_every, args.evaluate_every, args.checkpoint_every)
    named = {name: getattr(args, name.replace("-", "_"), None) for name in STAGES}
    options = Options(
        out=args.out,
        seed=args.seed,
        precision=args.precision,
        compiled=args.compile,
        apart=args.apart,
        every=every,
        grow_from=getattr(args, "grow_from", None),
        trained={name: place for name, place in named.items() if place is not None},
        audio_encoder=getattr(args, "audio_encoder", None),
        encoder=getattr(args, "encoder", None),
        start_from=getattr(args, "start_from", None),
    )
    recipe = recipe_of(args)
    world = distributed.start(args.device)
    try:
        data = open_data(args.command, recipe, args.data, world, args.seed, args.clips, args.workers)
        return 0 if launch(args.command, recipe, data, world, options) else STOPPED
    finally:
        distributed.stop()


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        if args.command == "export":
            from fctfg.train.export import export

            print(export(args.out, args.to, float32=args.float32))
            return 0
        return run(args)
    except (ValueError, OSError) as error:
        print(f"python -m fctfg.train: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if type(error).__name__ != "NotFinite":
            raise
        print(f"python -m fctfg.train: {error}", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())
