"""Control, measured: what a method's faces do against the truth that only puppets have, and a verdict by a stated rule.

Rows hold ``control_<factor>_r`` and ``control_<factor>_mae`` (correlation and mean absolute difference between a
factor read in the generated frames and its truth) and ``control_identity`` (a cosine). The network that reads has
errors of its own; its floor is what it scores on the driving video itself, the run of the method ``truth`` on the same
block.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from results.runs import Block, Run
from results.statistics import Difference, Estimate, paired_difference
from results.summary import CONTROL_PREFIX, MetricInfo, Summary

FLOOR = "truth"  # the method whose score is the measuring network's own
NOTHING = "still"  # the method that moves nothing
THRESHOLD = 0.5
CONTROLLED, NOT, OPEN = "controlled", "not", "undecided"
MARKS = {CONTROLLED: "✓", NOT: "✗", OPEN: "?"}
RULE = (
    f"✓ controlled: the 95 % interval of r lies above {THRESHOLD} (a quarter of the truth's variance is followed), and "
    f"the paired 95 % interval over the same clips says that the error is smaller than that of {NOTHING}, which moves "
    f"nothing. ✗ not controlled: the interval of r lies below {THRESHOLD}, or the paired interval says that the error "
    f"is larger than that of {NOTHING}; and {FLOOR}'s own interval of r lies above {THRESHOLD}, so that the network "
    f"can see the factor on these clips. ? undecided: neither can be said."
)
IDENTITY_RULE = (
    f"Identity, a cosine with the source picture: ✓ kept, the 95 % interval of it minus the 95th percentile of "
    f"strangers' cosines with that picture lies above 0; ✗ lost, it lies below 0, and {FLOOR}'s above."
)
_NAME = re.compile(rf"{CONTROL_PREFIX}(?P<factor>\w+)_(?P<number>mae|r)")
_IDENTITY = f"{CONTROL_PREFIX}identity"


@dataclass(frozen=True)
class Factor:
    """``motion``: what a method declares when it controls this, "" where methods declare nothing of the kind."""

    key: str
    label: str
    motion: str = ""

    @property
    def is_identity(self) -> bool:
        return self.key == "identity"

    @property
    def score(self) -> str:
        """The metric of the correlation, of identity the cosine."""
        return _IDENTITY if self.is_identity else f"{CONTROL_PREFIX}{self.key}_r"

    @property
    def error(self) -> str:
        """The metric of the error; identity has none."""
        return f"{CONTROL_PREFIX}{self.key}_mae"


FACTORS = (
    Factor("lips", "lips", "lip"),
    Factor("pose", "pose", "pose"),
    Factor("yaw", "yaw", "pose"),
    Factor("pitch", "pitch", "pose"),
    Factor("roll", "roll", "pose"),
    Factor("brow", "brows"),
    Factor("blink", "blink", "blink"),
    Factor("gaze_x", "gaze x", "gaze"),
    Factor("gaze_y", "gaze y", "gaze"),
    Factor("identity", "identity"),
)


@dataclass(frozen=True)
class Measured:
    """One method on one factor.

    ``score``: r, of identity the cosine. ``error`` is None for identity. ``gain``: the error minus that of ``still``,
    of identity the cosine minus the strangers' 95th percentile (against nobody: ``verdict`` says whether it is above
    0); None where there is nothing to compare with. ``n_undefined``: clips on which r is not defined, which is no
    failure. ``declared`` is None for a factor that methods do not declare. ``why`` says what decided, in words.
    """

    run: Run
    factor: Factor
    score: Estimate
    error: Estimate | None
    gain: Difference | None
    n_undefined: int
    declared: bool | None
    verdict: str = OPEN
    why: str = ""


@dataclass(frozen=True)
class Control:
    """All that is measured on ``block``. ``cells`` is keyed (method label, factor key), methods in table order."""

    block: Block
    factors: tuple[Factor, ...]
    cells: dict[tuple[str, str], Measured]
    units: dict[str, str]

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(method for method, _ in self.cells))

    def named(self, name: str) -> Run | None:
        """The run of the method called ``name``."""
        return next((cell.run for cell in self.cells.values() if cell.run.name == name), None)

    def floor(self, factor: Factor) -> Measured | None:
        """What the measuring network scores on the driving video itself; None where that has not been run."""
        run = self.named(FLOOR)
        return self.cells.get((run.label, factor.key)) if run else None


def measure(summary: Summary) -> list[Control]:
    """The control of every block on which a run has it."""
    return [found for block in summary.blocks if (found := _measure(summary, block)) is not None]


def absent(summary: Summary, blocks: Sequence[Block]) -> list[str]:
    """One line for each of ``blocks`` whose runs asked for control and could not measure any of it."""
    said = []
    for block in blocks:
        reasons = {r for run in summary.runs_of(block) for name, r in run.unavailable.items() if _is_control(name)}
        if reasons and not _measurable(summary, block):
            said.append(f"{block.text}: control is not measured: {'; '.join(sorted(reasons))}.")
    return said


def judge(score: Estimate, gain: Difference | None, visible: bool | None) -> tuple[str, str]:
    """The verdict on r and the error minus ``still``'s, and why: see ``RULE``.

    ``visible``: whether r of ``truth`` is above the threshold; None where ``truth`` has not been run.
    """
    if score.lo is None or score.hi is None:
        return OPEN, f"r has no interval: {score.reason}"
    follows = score.lo > THRESHOLD
    if follows and gain is not None and gain.verdict == "better":
        return CONTROLLED, ""
    if score.hi < THRESHOLD or (gain is not None and gain.verdict == "worse"):
        why = f"r stays below {THRESHOLD}" if score.hi < THRESHOLD else f"the error is larger than that of {NOTHING}"
        return (NOT, why) if visible else (OPEN, _invisible(visible))
    if not follows:
        return OPEN, f"the interval of r includes {THRESHOLD}"
    if gain is None:
        return OPEN, f"r is above {THRESHOLD}; no error of {NOTHING} to compare the error with"
    return OPEN, f"r is above {THRESHOLD}; that the error is smaller than that of {NOTHING} cannot be said"


def judge_identity(excess: Difference | None, visible: bool | None) -> tuple[str, str]:
    """The verdict on the cosine minus the strangers' 95th percentile, and why. ``visible``: as of :func:`judge`."""
    if excess is None:
        return OPEN, "the rows do not say how near strangers are"
    if excess.estimate.lo is None:
        return OPEN, f"no interval: {excess.estimate.reason}"
    if excess.verdict == "better":
        return CONTROLLED, ""
    if excess.verdict == "worse":
        return (NOT, "no nearer to the source than strangers are") if visible else (OPEN, _invisible(visible))
    return OPEN, "the interval of the cosine includes the strangers' 95th percentile"


def _measure(summary: Summary, block: Block) -> Control | None:
    there = _measurable(summary, block)
    if not there:
        return None
    known = {factor.key for factor in FACTORS}
    new = sorted({m["factor"] for name in there if (m := _NAME.fullmatch(name)) and m["factor"] not in known})
    factors = (*FACTORS[:-1], *(Factor(key, key.replace("_", " ")) for key in new), FACTORS[-1])
    factors = tuple(factor for factor in factors if {factor.score, factor.error} & there.keys())
    still = next((run for run in summary.runs_of(block) if run.name == NOTHING), None)
    truth = next((run for run in summary.runs_of(block) if run.name == FLOOR), None)
    runs = [run for run in summary.runs_of(block) if any(_is_control(name) for name in run.available)]
    cells = {}
    for factor in factors:
        visible = _is_visible(summary, truth, factor)
        for run in runs:
            cells[run.label, factor.key] = _cell(summary, run, factor, still, visible)
    order = {method: i for i, method in enumerate(summary.methods)}
    cells = dict(sorted(cells.items(), key=lambda item: order[item[0][0]]))
    return Control(block, factors, cells, {f.key: there[f.error].unit for f in factors if f.error in there})


def _cell(summary: Summary, run: Run, factor: Factor, still: Run | None, visible: bool | None) -> Measured:
    score = summary.estimates.get((run.label, run.block, factor.score), _nothing())
    if factor.is_identity:
        error, gain = None, _excess(summary, run)
        verdict, why = judge_identity(gain, visible)
    else:
        error = summary.estimates.get((run.label, run.block, factor.error), _nothing())
        gain = _against(summary, run, still, factor)
        verdict, why = judge(score, gain, visible)
    undefined = sum(
        row["metrics"].get(factor.score) is None and not {"*", factor.score} & run.failures.get(clip, {}).keys()
        for clip, row in run.rows.items()
    )
    declared = factor.motion in run.controls if factor.motion else None
    return Measured(run, factor, score, error, gain, undefined, declared, verdict, why)


def _against(summary: Summary, run: Run, still: Run | None, factor: Factor) -> Difference | None:
    if still is None or not still.values(factor.error):
        return None
    options = {"draws": summary.draws, "seed": summary.seed}
    own, other = run.values(factor.error), still.values(factor.error)
    return paired_difference(own, other, run.identity_of, "lower", **options)


def _excess(summary: Summary, run: Run) -> Difference | None:
    """The cosine minus the 95th percentile of strangers' cosines with the same source picture, clip by clip."""
    strangers = {clip: row["details"].get(_IDENTITY, {}).get("strangers_95") for clip, row in run.rows.items()}
    strangers = {clip: float(value) for clip, value in strangers.items() if value is not None}
    if not strangers:
        return None
    options = {"draws": summary.draws, "seed": summary.seed}
    return paired_difference(run.values(_IDENTITY), strangers, run.identity_of, "higher", **options)


def _is_visible(summary: Summary, truth: Run | None, factor: Factor) -> bool | None:
    """Whether the network sees the factor in the driving video itself."""
    if truth is None:
        return None
    if factor.is_identity:
        excess = _excess(summary, truth)
        return excess is not None and excess.verdict == "better"
    own = summary.estimates.get((truth.label, truth.block, factor.score), _nothing())
    return own.lo is not None and own.lo > THRESHOLD


def _invisible(visible: bool | None) -> str:
    if visible is None:
        return f"the floor is unknown: without a run of {FLOOR} it may be the network that does not see the factor"
    return f"even in {FLOOR} the network does not see the factor on these clips"


def _measurable(summary: Summary, block: Block) -> dict[str, MetricInfo]:
    """The control metrics that at least one run of the block could compute."""
    there = {name for run in summary.runs_of(block) for name in run.available if _is_control(name)}
    return {metric.name: metric for metric in summary.metrics if metric.name in there}


def _is_control(name: str) -> bool:
    return name == _IDENTITY or _NAME.fullmatch(name) is not None


def _nothing() -> Estimate:
    return Estimate(None, None, None, 0, 0, 0, "not measured")
