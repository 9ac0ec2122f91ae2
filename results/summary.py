"""From runs to numbers: every mean, interval, paired difference and winner, computed once for tables, plots and CSV."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from results import statistics
from results.runs import Block, Run, block_order
from results.statistics import Difference, Estimate

# Table 1's columns: variant, the paper's label, direction. Other variants are shown in tables of their own. On puppets
# LMD and LSE-C are measured by networks that know puppets; a block has one column for each label.
TABLE1 = (
    ("ssim_wang_rgb", "SSIM", "higher"),
    ("ms_ssim_wang_rgb", "MS-SSIM", "higher"),
    ("psnr_rgb", "PSNR", "higher"),
    ("lmd_mouth_dlib", "LMD", "lower"),
    ("lmd_mouth_puppet", "LMD", "lower"),
    ("lse_c_official", "LSE-C", "higher"),
    ("lse_c_puppet", "LSE-C", "higher"),
)
OWN_OF_PUPPETS = "_puppet"
CONTROL_PREFIX = "control_"
BASELINE = "still"


@dataclass(frozen=True)
class MetricInfo:
    """What run.json says of a metric. ``definition`` is "" when no run could compute it."""

    name: str
    column: str
    better: str
    unit: str = ""
    definition: str = ""
    version: str = ""
    of_set: bool = False  # one value of all clips, not a mean over them

    @property
    def arrow(self) -> str:
        return "↑" if self.better == "higher" else "↓"


@dataclass(frozen=True)
class Summary:
    """``estimates`` and ``differences`` are keyed (method label, block, metric name); ``best`` (block, metric name).

    ``methods`` are labels in table order, controls last; ``unofficial``: those whose weights are not known to be their
    authors'. ``differences`` are against ``baseline``, which is None when no run has it. ``undescribed``: unavailable
    metrics of which no run tells more than the reason. ``absent``: methods that could not be run at all, with the
    reason. ``draws`` and ``seed``: the bootstrap's, behind every interval.
    """

    runs: tuple[Run, ...]
    blocks: tuple[Block, ...]
    methods: tuple[str, ...]
    controls: frozenset[str]
    unofficial: frozenset[str]
    metrics: tuple[MetricInfo, ...]
    estimates: dict[tuple[str, Block, str], Estimate]
    baseline: str | None
    differences: dict[tuple[str, Block, str], Difference]
    best: dict[tuple[Block, str], str]
    undescribed: dict[str, str]
    mixed: tuple[str, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    draws: int = statistics.DRAWS
    seed: int = statistics.SEED

    def run(self, method: str, block: Block) -> Run | None:
        return next((run for run in self.runs if run.label == method and run.block == block), None)

    def runs_of(self, block: Block) -> list[Run]:
        return [run for run in self.runs if run.block == block]

    def metric(self, name: str) -> MetricInfo:
        return next(metric for metric in self.metrics if metric.name == name)

    def metrics_of(self, block: Block) -> list[MetricInfo]:
        """The metrics that a run of ``block`` has, or lists as unavailable."""
        there = {name for run in self.runs_of(block) for name in (*run.info["metrics"], *run.unavailable)}
        return [metric for metric in self.metrics if metric.name in there]

    def preferred(self, block: Block) -> dict[str, MetricInfo]:
        """For each column label of ``block`` the variant that it stands for: the puppets' own, otherwise the first."""
        found: dict[str, MetricInfo] = {}
        for metric in self.metrics_of(block):
            if metric.column not in found or metric.name.endswith(OWN_OF_PUPPETS):
                found[metric.column] = metric
        return found

    @property
    def incomplete(self) -> list[Run]:
        return [run for run in self.runs if run.n_scored < run.n_expected]


def summarise(
    runs: Sequence[Run],
    *,
    baseline: str | None = BASELINE,
    mixed: Sequence[str] = (),
    absent: Mapping[str, str] | None = None,
    draws: int = statistics.DRAWS,
    seed: int = statistics.SEED,
) -> Summary:
    """Everything that is shown of ``runs`` (as :func:`results.runs.load_all` orders them)."""
    options = {"draws": draws, "seed": seed}
    methods = tuple(dict.fromkeys(run.label for run in runs))
    blocks = tuple(sorted({run.block for run in runs}, key=block_order))
    metrics = metric_infos(runs)
    estimates, differences, best = {}, {}, {}
    baseline = baseline if baseline in methods else None
    for block in blocks:
        here = [run for run in runs if run.block == block]
        base = next((run for run in here if run.label == baseline), None)
        for metric in metrics:
            values = {run.label: run.values(metric.name) for run in here}
            for run in here:
                if metric.of_set:
                    estimates[run.label, block, metric.name] = _of_set(run, metric.name)
                    continue
                found = values[run.label]
                speakers = [run.identity_of[clip] for clip in found]
                estimates[run.label, block, metric.name] = statistics.mean_interval(
                    list(found.values()), speakers, **options
                )
                if base is not None and base is not run:
                    differences[run.label, block, metric.name] = statistics.paired_difference(
                        found, values[base.label], run.identity_of, metric.better, **options
                    )
            compete = [run for run in here if not run.is_control and not run.unofficial]
            winner = _winner(compete, values, metric, options)
            if winner is not None:
                best[block, metric.name] = winner
    return Summary(
        runs=tuple(runs),
        blocks=blocks,
        methods=methods,
        controls=frozenset(run.label for run in runs if run.is_control),
        unofficial=frozenset(run.label for run in runs if run.unofficial),
        metrics=metrics,
        estimates=estimates,
        baseline=baseline,
        differences=differences,
        best=best,
        undescribed={
            name: reason
            for run in runs
            for name, reason in sorted(run.unavailable.items())
            if name not in {metric.name for metric in metrics}
        },
        mixed=tuple(mixed),
        absent=dict(absent or {}),
        **options,
    )


def table1(summary: Summary) -> dict[Block, list[MetricInfo]]:
    """The metrics of Table 1 that each block has, one for each of the paper's columns."""
    names = {name for name, _, _ in TABLE1}
    return {
        block: [
            metric
            for metric in summary.metrics_of(block)
            if metric.name in names and summary.preferred(block)[metric.column] == metric
        ]
        for block in summary.blocks
    }


def further(summary: Summary) -> dict[Block, list[MetricInfo]]:
    """What each block has beyond :func:`table1`; control has tables of its own."""
    shown = table1(summary)
    return {
        block: [m for m in summary.metrics_of(block) if m not in shown[block] and not m.name.startswith(CONTROL_PREFIX)]
        for block in summary.blocks
    }


def metric_infos(runs: Sequence[Run]) -> tuple[MetricInfo, ...]:
    """The metrics of ``runs``: Table 1's first and in its order, then the others by column and name."""
    found: dict[str, MetricInfo] = {}
    known = {name: MetricInfo(name, column, better) for name, column, better in TABLE1}
    for run in runs:
        for name, about in run.info["metrics"].items():
            described = MetricInfo(
                name,
                known[name].column if name in known else str(about["column"]),
                about["better"],
                str(about.get("unit") or ""),
                str(about.get("definition") or ""),
                str(about.get("version", "")),
                any(name in other.set_metrics for other in runs),
            )
            found.setdefault(name, described)
    for run in runs:  # a metric that no run describes has no direction and is shown only where we know it
        for name in run.unavailable:
            if name in known:
                found.setdefault(name, known[name])
    first = [name for name, _, _ in TABLE1 if name in found]
    rest = sorted(found.keys() - set(first), key=lambda name: (found[name].column, name))
    return tuple(found[name] for name in [*first, *rest])


def _of_set(run: Run, name: str) -> Estimate:
    """A set's value as run.json has it, in the form of a mean: ``n`` clips, ``reason`` where there is none."""
    absent = {"value": None, "reason": "run.json does not have it; run the evaluation again"}
    record = run.set_metrics.get(name, absent)
    if name in run.unavailable or record["value"] is None:
        return Estimate(None, None, None, 0, 0, 0, str(run.unavailable.get(name) or record["reason"]))
    n, speakers = int(record.get("n_clips", 0)), int(record.get("n_speakers", 0))
    if record.get("lo") is None:
        return Estimate(float(record["value"]), None, None, n, 0, speakers, "fewer than two speakers")
    return Estimate(float(record["value"]), float(record["lo"]), float(record["hi"]), n, 0, speakers)


def _winner(runs: Sequence[Run], values: dict, metric: MetricInfo, options: dict) -> str | None:
    """The method with the best mean, if a paired interval says that it beats the one with the second best."""
    sign = 1 if metric.better == "higher" else -1
    ranked = []
    for run in runs:
        found = list(values[run.label].values())
        finite = [value for value in found if math.isfinite(value)]
        if found:  # a method whose clips are all infinite comes first, and no interval can say that it wins
            ranked.append((-sign * (math.fsum(finite) / len(finite) if finite else found[0]), run.label, run))
    if len(ranked) < 2:
        return None
    (_, _, first), (_, _, second) = sorted(ranked, key=lambda item: item[:2])[:2]
    found = statistics.paired_difference(
        values[first.label], values[second.label], first.identity_of, metric.better, **options
    )
    return first.label if found.verdict == "better" else None
