"""What each lip-sync variant needs and does not find: None, or the reason in one line. Loads no torch."""

from __future__ import annotations


def _weights(*names: str) -> str | None:
    from fctfg import weights

    return next((weights.missing(name) for name in names if weights.find(name) is None), None)


def lrs() -> str | None:
    """For ``lse_*_lrs``."""
    return _weights("syncnet")


def s3fd() -> str | None:
    """For ``lse_*_official`` and ``lse_*_valid``."""
    return _weights("syncnet", "s3fd")


def yunet() -> str | None:
    """For ``lse_*_yunet``."""
    return _with_detector("yunet")


def dlib() -> str | None:
    """For ``lse_*_dlib``."""
    return _with_detector("dlib")


def _with_detector(name: str) -> str | None:
    from fctfg.face_detection import DETECTORS

    return _weights("syncnet") or DETECTORS[name].unavailable()
