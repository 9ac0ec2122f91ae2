"""The bundled model gives its recorded numbers on puppets, and what would break it unseen turns the comparison red."""

from __future__ import annotations

import numpy as np
import pytest

from fctfg import method, recipes, streaming
from fctfg.checkpoints import BUNDLED
from metrics.regression import record
from protocols import regression

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BUNDLED.is_file(), reason="this copy has no bundled checkpoint"),
]
FILE = record.FILE.with_name("fctfg.csv")


@pytest.fixture(scope="module", autouse=True)
def puppets_of_its_own(tmp_path_factory):
    """One drawing for all of these; nothing of the user's caches."""
    patch = pytest.MonkeyPatch()
    patch.setenv("FCTFG_CACHE", str(tmp_path_factory.mktemp("cache") / "stages"))
    patch.delenv("FCTFG_CHECKPOINT", raising=False)
    yield
    patch.undo()


def moved_on_one_clip(folder, monkeypatch) -> list[str]:
    """What has moved on the first clip of VoxCeleb2's layout."""
    monkeypatch.setattr(regression, "PEOPLE", {"voxceleb2": 1})
    measured, failures = regression.measure("fctfg", folder)
    assert len(measured) == 1
    recorded = {key: value for key, value in record.read(FILE).items() if key[0] in measured}
    assert len(recorded) == len(regression.TOLERANCES) - 1 or len(recorded) == len(regression.TOLERANCES)
    return failures + record.moved(measured, recorded)


def named(lines: list[str]) -> set[str]:
    return {line.split(": from ")[0].split()[-1] for line in lines}


def test_the_recorded_numbers_hold(capsys):
    assert regression.main([]) == 0, capsys.readouterr().out
    assert "none moved" in capsys.readouterr().out


def test_a_layer_s_number_off_by_one_is_red(tmp_path, monkeypatch):
    right = recipes.Latent.manipulated
    monkeypatch.setattr(recipes.Latent, "manipulated", lambda self, n: tuple(i - 1 for i in right(self, n)))
    hears = recipes.Latent.with_audio
    monkeypatch.setattr(recipes.Latent, "with_audio", lambda self, n: tuple(i - 1 for i in hears(self, n)))
    assert {"ssim_wang_rgb", "psnr_rgb", "lmd_mouth_puppet"} <= named(moved_on_one_clip(tmp_path, monkeypatch))


def test_the_sound_of_another_moment_is_red(tmp_path, monkeypatch):
    right = method.FCTFG.animate

    def swapped(self, reference, driving, audio):
        return right(self, reference, driving, np.roll(audio, 16000))

    monkeypatch.setattr(method.FCTFG, "animate", swapped)
    assert {"lmd_mouth_puppet", "lse_c_puppet", "control_lips_r"} <= named(moved_on_one_clip(tmp_path, monkeypatch))


def test_a_window_of_sound_one_frame_late_is_red(tmp_path, monkeypatch):
    right = streaming.SoundWindows.__init__

    def late(self, audio, rule="training"):
        right(self, audio, "inference")  # which begins with the frame, not one frame before it

    monkeypatch.setattr(streaming.SoundWindows, "__init__", late)
    # not LSE-C, which takes the best of 31 offsets: what a mouth that comes late loses is its agreement with the truth
    assert {"control_lips_r"} <= named(moved_on_one_clip(tmp_path, monkeypatch))
