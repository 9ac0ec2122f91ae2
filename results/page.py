"""The HTML page: one file that explains itself, with its pictures beside it and no request to anywhere else."""

from __future__ import annotations

from dataclasses import dataclass

from results import drawing
from results.filling import fill
from results.runs import Block, Run
from results.strips import ClipStrips
from results.summary import Summary
from results.table import Table

_ABOUT = {
    "intervals": "Mean of every method with its 95 % interval, bootstrapped over speakers. Grey squares are controls.",
    "differences": "Paired differences to the baseline on the same clips. A filled point means that the interval "
    "excludes 0, a hollow one that nothing can be said.",
    "scatter": "Every clip: its value under the baseline against its value under each method. The shaded half holds "
    "the clips for which the method is better.",
    "control-r": "What each face does against the truth: r for every factor, of identity the cosine with the source "
    "picture. Filled: controlled, by the rule under the table; hollow: not, or undecided. Green line and band: the "
    "floor, which the measuring network scores on the driving video itself. Dotted: the rule's 0.5.",
    "control-error": "The error against the truth. Filled: controlled. Green line and band: the floor. Dotted: still, "
    "which moves nothing.",
}


@dataclass(frozen=True)
class Picture:
    """A plot: ``kind`` is "intervals", "differences", "scatter", "control-r" or "control-error"; ``file`` is relative
    to the page, ``width`` in CSS pixels.
    """

    kind: str
    block: Block
    file: str
    width: int

    @property
    def alt(self) -> str:
        return f"{self.block.text}. {_ABOUT[self.kind]}"


@dataclass(frozen=True)
class Content:
    """All that the page shows. ``controls``: the control table of each block that has one. ``files``: the other files
    of the report, relative to the page.
    """

    title: str
    summary: Summary
    tables: tuple[Table, ...]
    controls: tuple[tuple[Block, Table], ...]
    paired: Table | None
    published: Table
    pictures: tuple[Picture, ...]
    clips: tuple[ClipStrips, ...]
    files: tuple[str, ...]
    command: str


def render(content: Content) -> str:
    """The page as text. Everything from runs is escaped."""
    summary = content.summary
    return fill(
        "report.html",
        content=content,
        summary=summary,
        ledes=[_lede(summary, block) for block in summary.blocks],
        n_methods=len(summary.methods) - len(summary.controls),
        n_controls=len(summary.controls),
        colours={method: drawing.colour(summary, method) for method in summary.methods},
        about=_ABOUT,
        pictures=lambda *kinds: [picture for picture in content.pictures if picture.kind in kinds],
        failures=[(run, _grouped(run)) for run in summary.incomplete],
        facts=_facts,
        data={block.data for block in summary.blocks},
    )


def _lede(summary: Summary, block: Block) -> dict:
    runs = summary.runs_of(block)
    speakers = {speaker for run in runs for speaker in run.identity_of.values()}
    about = runs[0].info["list"]
    return {
        "block": block,
        "n_clips": max(run.n_expected for run in runs),
        "n_speakers": len(speakers),
        "list": f"{about.get('name', 'list')} version {about.get('version', '?')}",
    }


def _grouped(run: Run) -> list[tuple[str, str, list[str]]]:
    """(metric or "*", reason, clips) in order of appearance."""
    found: dict[tuple[str, str], list[str]] = {}
    for clip, reasons in run.failures.items():
        for metric, reason in reasons.items():
            found.setdefault((metric, reason), []).append(clip)
    return [(metric, reason, clips) for (metric, reason), clips in found.items()]


def _facts(run: Run) -> list[tuple[str, str]]:
    """What was run, as (name, value) pairs; values that run.json lacks are left out."""
    info, method, clips = run.info, run.info["method"], run.info["list"]
    weights = method.get("weights") or {}
    facts = [
        ("method", method.get("description") or method["name"]),
        ("specification", method.get("spec")),
        ("kind", method.get("kind")),
        ("method sha256", run.method_sha256),
        *((f"weights {name}", f"sha256 {digest}") for name, digest in weights.items()),
        ("protocol", f"{info['protocol']}, version {info.get('protocol_version', '?')}"),
        ("list", f"{clips.get('name', '')} version {clips.get('version', '?')}, {run.n_expected} clips"),
        ("list rule", clips.get("rule")),
        ("list seed", clips.get("seed")),
        ("list sha256", run.list_sha256),
        ("versions", ", ".join(f"{name} {version}" for name, version in (info.get("versions") or {}).items())),
        ("git commit", info.get("git_commit")),
        ("device", info.get("device")),
        ("seed", info.get("seed")),
        ("settings", ", ".join(f"{name} = {value}" for name, value in (info.get("settings") or {}).items())),
        ("folder", run.path),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]
