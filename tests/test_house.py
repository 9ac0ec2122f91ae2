"""The house rules that a test can hold: arrows go down, listings stay light, files stay small."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
#: what each package may import of ours; an arrow goes down only
MAY_IMPORT = {
    "protocols": {"protocols", "baselines", "metrics", "fctfg", "results"},
    "baselines": {"baselines", "fctfg"},
    "metrics": {"metrics", "fctfg", "results"},
    "fctfg": {"fctfg"},
    "results": {"results"},
}
FILES = sorted(p for package in MAY_IMPORT for p in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_go_down(path):
    package = path.relative_to(ROOT).parts[0]
    upward = (imported(path) & MAY_IMPORT.keys()) - MAY_IMPORT[package]
    assert not upward, f"{package} must not import {sorted(upward)}"


def test_every_package_is_looked_at():
    assert {p.relative_to(ROOT).parts[0] for p in FILES} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_read_in_one_sitting(path):
    assert len(path.read_text().split("\n")) <= 450


@pytest.mark.parametrize(
    "module",
    ["fctfg.train", "fctfg.generate", "fctfg.bench", "protocols.voxceleb2", "protocols.mead", "protocols.puppets",
     "protocols.table1", "protocols.prepare", "protocols.user_study", "protocols.ablations", "protocols.figures",
     "protocols.regression", "protocols.methods", "results.report", "fctfg.weights", "metrics", "metrics.regression"],
)  # fmt: skip
def test_help_teaches_and_imports_nothing_heavy(module):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['x', '--help']\n"
        "try:\n"
        f"    runpy.run_module({module!r}, run_name='__main__')\n"
        "except SystemExit as e:\n"
        "    assert e.code == 0, e.code\n"
        "heavy = {'torch', 'pandas', 'matplotlib', 'scipy', 'cv2', 'dlib', 'skimage'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split("\n")) > 10, "help should teach"
