"""The command ``python -m protocols.ablations``."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from protocols import cli, puppets
from results.ablation import PLAN, TABLES

DESCRIPTION = """The ablations of the paper's Tables 3 and 4: train every variant, score it on unseen puppets, compare.

  python -m protocols.ablations table3                                  (the rows that come along, as a table at once)
  python -m protocols.ablations table3 --base runs/demo                 (temporal fusion x discriminator)
  python -m protocols.ablations table4 --base runs/demo --steps 20000   (orthogonality; the pose of canonical faces)
  python -m protocols.ablations table3 --report-only                    (the table again, from the rows on disk)

Every variant is trained from the same checkpoints of RUN (stages stylegan2, inversion and sync-expert) for the same
number of steps, under each seed. The model that both tables share is trained once. What is done is kept, step by step:
give the same command again after a kill, or with more --steps to train on. docs/ablations.md says more.
"""
EPILOG = """\
The default budget is small on purpose, and the table says so: it shows that the protocol runs, not who wins.

exit status: 0 everything trained and scored; 1 something is missing (the table says INCOMPLETE) unless --allow-missing;
2 the command cannot be carried out; 75 training was asked to stop, the same command goes on. Several machines with
one --out on a shared disk: --shard 0/3 ... 2/3 takes every third training run; then --report-only.
"""
STEPS, SEEDS, PEOPLE, CLIPS = 300, 2, 8, 1
STOPPED = 75


def parser() -> argparse.ArgumentParser:
    """The command's options; building it imports nothing heavy."""
    p = argparse.ArgumentParser(
        prog="python -m protocols.ablations",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("table", choices=tuple(TABLES), help="which of the paper's tables")
    p.add_argument(
        "--base",
        type=Path,
        metavar="RUN",
        help="training run with stylegan2, inversion and sync-expert (default: show our rows)",
    )
    p.add_argument(
        "--start-from",
        type=Path,
        metavar="RUN",
        help="a trained last stage that all variants train on (default: each begins it anew)",
    )
    p.add_argument(
        "--steps", type=cli.at_least_1, default=STEPS, help="training steps of each run (default %(default)s)"
    )
    p.add_argument(
        "--seeds", type=cli.at_least_1, default=SEEDS, metavar="N", help="runs of each variant (%(default)s)"
    )
    p.add_argument("--data", default="puppets", metavar="puppets|DIR", help="what is trained on; scored are puppets")
    p.add_argument(
        "--set", action="append", default=[], metavar="SECTION.FIELD=VALUE", help="change the recipe of all variants"
    )
    p.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto", help="of training")
    p.add_argument(
        "--out", type=Path, default=Path("results/runs/ablations"), help="folder for the runs (default: %(default)s)"
    )
    p.add_argument(
        "--reports", type=Path, default=Path("results/reports"), help="folder for the table (default: %(default)s)"
    )
    p.add_argument("--report-only", action="store_true", help="train and score nothing; the table from rows on disk")
    p.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ... (default: a GPU when there is one)")
    p.add_argument("--metrics", nargs="+", metavar="NAME", help="metric variants (default: Table 1's, on puppets)")
    p.add_argument("--identities", type=cli.at_least_1, default=PEOPLE, metavar="N", help="people scored (%(default)s)")
    p.add_argument("--clips", type=cli.at_least_1, default=CLIPS, metavar="N", help="clips of each (%(default)s)")
    p.add_argument("--puppets", type=Path, metavar="DIR", help="folder that keeps what was drawn")
    p.add_argument("--workers", type=int, default=0, help="clips in work at the same time (default: one per core)")
    p.add_argument("--shard", type=cli.shard, metavar="I/N", help="take training runs I, I+N, ... of the list")
    p.add_argument("--cache", type=Path, help="folder of measurements shared by all runs")
    p.add_argument("--no-strips", action="store_true", help="write no film strips")
    p.add_argument("--allow-missing", action="store_true", help="exit 0 although something is missing")
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    args = parser().parse_args(argv)
    args.command = shlex.join(["python", "-m", "protocols.ablations", *argv])
    from fctfg.model_file import ModelFileError
    from fctfg.settings import SettingsError
    from protocols.ablations.start import AblationError

    def guarded() -> int:
        from fctfg.train.checkpoint import CheckpointError

        try:
            return _main(args)
        except (AblationError, CheckpointError, SettingsError, ModelFileError) as error:
            print(f"error: {error}", file=sys.stderr)
            return cli.UNUSABLE

    return cli.guarded(guarded)


def _main(args: argparse.Namespace) -> int:
    from results import ablation

    status, folder = cli.OK, args.out
    if args.report_only:
        pass
    elif args.base is None:
        folder = ablation.SHIPPED
        print("no --base: this is the run that comes along; --base RUN trains and measures your own", file=sys.stderr)
    else:
        from protocols.ablations.steps import Stopped

        try:
            status = _run(args)
        except Stopped:
            print("stopped; what is done is kept, and the same command goes on from there", file=sys.stderr)
            return STOPPED
        if cli.shard_of(args)[1] > 1:  # others are still at work
            return status
    from results import ablation_page

    name = f"{args.table}-measured"
    written = ablation_page.write(args.table, folder, args.reports, name, args.command)
    print(written.markdown)
    for path in written.files:
        print(path)
    for line in written.missing:
        print(f"incomplete: {line}", file=sys.stderr)
    return max(status, cli.INCOMPLETE if written.missing and not args.allow_missing else cli.OK)


def _run(args: argparse.Namespace) -> int:
    """Every job's steps; the exit status."""
    from protocols.ablations import plan, start, steps

    begun = start.read(args.base, tuple(args.set), args.start_from)
    _check_start(args.out, begun)
    shard, shards = cli.shard_of(args)
    jobs = plan.jobs(args.table, args.seeds)[shard::shards]
    args = _as_protocol(args)
    bench = steps.Bench(args.out, begun, args.steps, args.data, *puppets.data("voxceleb2", args), args)
    for job in jobs:
        steps.check(job, bench)
    _write_plan(args, begun, bench)
    total, count, status = sum(len(job.steps) - 1 for job in jobs), 0, cli.OK
    for job in jobs:
        before = count

        def say(step: str, text: str, job=job, before=before) -> None:
            at = before + job.steps.index(step) + 1
            print(f"[{at} of {total}] {job.text}: {step}: {text}", file=sys.stderr, flush=True)

        status = max(status, steps.run(job, bench, say))
        count += len(job.steps) - 1
    return status


def _check_start(out: Path, begun) -> None:
    """AblationError where OUT was begun from other checkpoints: its runs would not be comparable."""
    from protocols.ablations.files import read_json
    from protocols.ablations.start import AblationError

    before = read_json(out / PLAN).get("start", {}).get("stages", {})
    if before and before.keys() != begun.stages.keys():
        was = "with" if len(before) > len(begun.stages) else "without"
        raise AblationError(f"{out / PLAN}: was begun {was} --start-from; give it so again, or choose another --out")
    for stage, now in begun.stages.items():
        if stage in before and before[stage]["sha256"] != now.sha256:
            raise AblationError(
                f"{out / PLAN}: was begun from another checkpoint of {stage} (step {before[stage]['step']}, now step "
                f"{now.step} at {now.place}); choose another --out"
            )


def _write_plan(args: argparse.Namespace, begun, bench) -> None:
    """What was asked for, table by table: the report compares it with what is there."""
    from protocols import environment
    from protocols.ablations.files import read_json, write_json

    before = read_json(args.out / PLAN)
    tables = before.get("tables", {}) | {args.table: {"seeds": args.seeds, "clips": len(bench.clips.clips)}}
    about = {
        "schema": 1,
        "steps": args.steps,
        "recipe_steps": begun.recipe.fctfg.steps,
        "batch": begun.recipe.fctfg.batch,
        "recipe": begun.recipe.name,
        "set": list(args.set),
        "data": args.data,
        "device": environment.device_name(cli.device_of(args)),
        "tables": tables,
        "start": begun.record(),
    }
    write_json(args.out / PLAN, about)


def _as_protocol(args: argparse.Namespace) -> argparse.Namespace:
    """The options with those that the puppets' protocol wants, at their defaults."""
    from metrics import registry

    fixed = {"limit": None, "reuse": "only-missing", "seed": puppets.SEED, "detail": 1.0, "crop": "released"}
    metrics = args.metrics or [n for n in registry.TABLE1_PUPPETS if not n.startswith("control_")]
    return argparse.Namespace(**{**vars(args), **fixed, "detector": "auto", "min_size": 256, "metrics": metrics})


if __name__ == "__main__":
    sys.exit(main())
