"""Choosing a face detector, and S3FD as face-alignment runs it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from test_metrics_sync_faces import draw, noise

from fctfg import face_s3fd
from fctfg.face_detection import DETECTORS, ORDER, DetectorError, choose
from metrics.sync import face_detector


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """A folder with S3FD in face-alignment's format, weights drawn, the only one looked in."""
    for name in ("FCTFG_WEIGHTS", "XDG_CACHE_HOME", "TORCH_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    torch.save(draw(face_s3fd.FACE_ALIGNMENT), tmp_path / "s3fd-619a316812.pth")
    return tmp_path


def test_weights_that_arrive_do_not_change_what_auto_takes(monkeypatch):
    """S3FD where its weights are at hand, but only by name: crops are made once and compared for years."""
    assert ORDER == ("yunet", "dlib")
    for name in ("yunet", "dlib", "s3fd"):
        monkeypatch.setattr(DETECTORS[name], "unavailable", staticmethod(lambda: None))
        monkeypatch.setattr(DETECTORS[name], "__init__", lambda self, device: None)
    assert choose().name == choose("auto").name == "yunet"
    assert choose("s3fd").name == "s3fd"
    monkeypatch.setattr(DETECTORS["yunet"], "unavailable", staticmethod(lambda: "gone"))
    assert choose().name == "dlib"
    monkeypatch.setattr(DETECTORS["dlib"], "unavailable", staticmethod(lambda: "gone, too"))
    with pytest.raises(DetectorError, match=r"^no face detector: yunet: gone; dlib: gone, too$"):
        choose()


def test_errors_name_the_detector_and_what_to_do(monkeypatch, tmp_path):
    for name in ("FCTFG_WEIGHTS", "XDG_CACHE_HOME", "TORCH_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    with pytest.raises(DetectorError, match=r"s3fd: sfd_face.pth or .* run python -m fctfg.weights fetch s3fd"):
        choose("s3fd")
    with pytest.raises(DetectorError, match="unknown face detector 'mtcnn'; known are auto, yunet, dlib, s3fd"):
        choose("mtcnn")


def test_named_it_finds_what_face_alignment_finds(drawn):
    """Whole size, score over 0.5, one thinning out at 0.3, with the same file."""
    theirs = pytest.importorskip("face_alignment.detection.sfd.sfd_detector")
    frames = noise(5, 2, 64, 80, 3)
    detector = choose("s3fd")
    reference = theirs.SFDDetector("cpu", path_to_detector=str(drawn / "s3fd-619a316812.pth"))
    for found, frame in zip(detector(frames), frames, strict=True):
        wanted = np.array(reference.detect_from_image(frame))
        assert len(wanted) > 3
        assert found.shape == wanted.shape
        # Drawn weights give many boxes a score of 1: in order of place rather than of score.
        ours, wanted = (boxes[np.argsort(boxes[:, 0])] for boxes in (found, wanted))
        np.testing.assert_allclose(ours, wanted, rtol=2e-3, atol=2e-2)


def test_it_is_not_the_search_of_lse(drawn):
    """One network, two searches; each has a version of its own, since boxes and crops are kept under it."""
    named, lse = choose("s3fd"), face_detector("s3fd", "cpu")
    assert (lse.scale, lse.threshold, lse.overlaps) == (0.25, 0.9, (0.3, 0.1))
    assert named.name == lse.name == "s3fd"
    assert named.version == f"{lse.version}, whole size, score 0.5"


def test_asking_what_is_there_loads_no_torch():
    code = (
        "import sys; from fctfg.face_detection import DETECTORS\n"
        "[kind.unavailable() for kind in DETECTORS.values()]\n"
        "assert 'torch' not in sys.modules and 'cv2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
