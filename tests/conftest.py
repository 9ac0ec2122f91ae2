"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("FCTFG_TEST_DATA", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real sample clips; the test is skipped where it is absent."""
    if not (SHARED / "real").is_dir():
        pytest.skip(f"no real sample clips at {SHARED / 'real'} (set FCTFG_TEST_DATA)")
    return SHARED / "real"


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """The folder of third-party weights used for testing; the test is skipped where it is absent."""
    if not (SHARED / "weights").is_dir():
        pytest.skip(f"no test weights at {SHARED / 'weights'} (set FCTFG_TEST_DATA)")
    return SHARED / "weights"


@pytest.fixture
def looked_at(monkeypatch) -> list[int]:
    """Instead of Inception: the mean of each colour. The list says how many frames were looked at, call by call."""
    from metrics import distribution
    from metrics.frame_values import Extractor

    asked = []

    def extract(frames):
        asked.append(len(frames))
        return frames.mean((1, 2)).astype("float32")

    monkeypatch.setattr(distribution, "load", lambda device: Extractor("colours", "test", extract))
    monkeypatch.setattr(distribution, "unavailable", lambda: None)
    return asked


@pytest.fixture(scope="session")
def earlier(tmp_path_factory) -> Path:
    """A run of the tiny recipe whose first three stages are trained. Read it; write elsewhere."""
    import tiny_training

    out = tmp_path_factory.mktemp("earlier")
    tiny_training.earlier_stages(out)
    return out
