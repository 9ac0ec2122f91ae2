"""The lip-sync accumulator on whole clips: tracks, crops, sound and scores against the literal transcription."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import sync_literal as literal
from test_metrics_sync import TOLERANCE, moving_picture, read_clip, relative, speech_like

from fctfg import weights
from metrics import sync, sync_detour, sync_lips, sync_requirements
from metrics.face_tracks import FaceTracker, TrackRules
from metrics.interface import Context, Footage, MetricFailure
from metrics.mfcc import mfcc
from metrics.sync_score import lse
from metrics.syncnet import LipEmbedder, embed_speech, load_syncnet


@pytest.fixture(scope="module")
def reference() -> literal.LiteralSyncNet:
    return literal.draw_weights(seed=0)


@pytest.fixture(scope="module")
def net(reference, tmp_path_factory):
    path = tmp_path_factory.mktemp("syncnet") / "syncnet_v2.model"
    literal.save_official(reference, path, legacy=True)
    return load_syncnet(path)


class Planted:
    """A detector that is told where the faces are, frame by frame."""

    name, version = "planted", "1"

    def __init__(self, boxes):
        self.boxes = list(boxes)
        self.at = 0

    def __call__(self, frames):
        here = self.boxes[self.at : self.at + len(frames)]
        self.at += len(frames)
        return [np.array(boxes, dtype=float).reshape(-1, 5) for boxes in here]


def nodding(n: int, size: float = 110.0, at: float = 112.0, seed: int = 0, miss: float = 0.1):
    """One face that moves a little and is missed now and then: a list of boxes for each frame."""
    rng = np.random.default_rng(seed)
    out = []
    for t in range(n):
        x, y = at + 6 * np.sin(t / 9), at + 4 * np.cos(t / 7)
        half = size / 2 * (1 + 0.02 * rng.normal())
        out.append([] if rng.random() < miss and 0 < t < n - 1 else [[x - half, y - half, x + half, y + half, 0.99]])
    return out


@pytest.fixture
def run(net, monkeypatch):
    """Score frames and float samples with planted boxes, in pieces."""

    def score(names, frames, samples, boxes=None, piece=64, min_track=100, cache=None, key=None, reuse="only-missing"):
        tracker = partial(FaceTracker, rules=TrackRules(min_track=min_track))
        monkeypatch.setattr(sync_lips, "FaceTracker", tracker)
        monkeypatch.setattr(sync, "network", lambda device: net)
        monkeypatch.setattr(sync, "face_detector", lambda name, device: Planted(boxes))
        audio = None if samples is None else samples.astype(np.float32) / 32768
        footage = Footage(lambda: [], audio, key=key, label="clip.mp4")
        metrics = sync.SyncScores(names, Context(footage, cache=cache, reuse=reuse))
        for start in range(0, len(frames), piece):
            metrics.update(frames[start : start + piece], None)
        return metrics.result()

    return score


NAMES = ("lse_c_official", "lse_d_official", "lse_lag_official", "lse_c_valid", "lse_d_valid", "lse_c_lrs", "lse_d_lrs")


def test_a_clip_equals_the_transcription_from_frames_to_score(reference, net, run):
    """Frames, boxes and sound in; tracking, cropping, features and score, all by the other implementation."""
    pytest.importorskip("cv2")
    n = 112
    frames, samples, boxes = moving_picture(n), speech_like(n * 640 - 100), nodding(n, miss=0.05)
    found = run(NAMES, frames, samples, boxes)
    assert all(result.failure is None for result in found.values())

    ((first, filled),) = literal.tracks([[tuple(box[:4]) for box in here] for here in boxes])
    crops = literal.crops(frames, first, filled)
    sound = samples[first * 640 : (first + len(filled)) * 640]
    lips, speech, _ = literal.features(reference, crops[..., ::-1], sound)
    confidence, distance, offset = literal.score(lips, speech)
    assert found["lse_d_official"].value == pytest.approx(distance, rel=TOLERANCE)
    assert found["lse_c_official"].value == pytest.approx(confidence, rel=TOLERANCE)
    assert found["lse_lag_official"].value == abs(offset)

    details = found["lse_c_official"].details
    assert details["offset"] == offset
    assert details["n_windows"] == n - 1 - 5  # the sound ends within the last frame
    assert details["coverage"] == 1.0
    assert details["detector"] == "planted (1)"
    (track,) = details["tracks"]
    assert (track["first_frame"], track["n_frames"]) == (0, n)
    assert track["face_size"] == pytest.approx(110, rel=0.05)
    assert track["curve"][15] == pytest.approx(details["distance_at_zero"], abs=1e-4)
    valid = lse(lips, speech, padding="valid")
    assert found["lse_c_valid"].value == pytest.approx(valid.lse_c, rel=TOLERANCE)
    assert found["lse_d_valid"].value == pytest.approx(valid.lse_d, rel=TOLERANCE)


def test_whole_frames_are_squashed(net, run):
    cv2 = pytest.importorskip("cv2")
    frames = np.stack([cv2.resize(frame, (200, 150)) for frame in moving_picture(25)])
    samples = speech_like(25 * 640)
    found = run(("lse_c_lrs", "lse_d_lrs", "lse_lag_lrs"), frames, samples)
    embedder = LipEmbedder(net)
    embedder.push(np.stack([cv2.resize(frame, (224, 224)) for frame in frames]))
    expected = lse(embedder.finish()[:20], embed_speech(net, mfcc(samples), 20))
    assert found["lse_c_lrs"].value == expected.lse_c
    assert found["lse_d_lrs"].value == expected.lse_d
    assert found["lse_lag_lrs"].value == abs(expected.offset)
    assert found["lse_c_lrs"].details["n_windows"] == 20


def test_pieces_do_not_change_a_bit(run):
    frames, samples, boxes = moving_picture(40), speech_like(40 * 640), nodding(40)
    one, other = (run(("lse_c_official", "lse_d_valid"), frames, samples, boxes, n, min_track=20) for n in (40, 17))
    assert one["lse_d_valid"].value > 0
    assert one == other


def test_several_tracks_are_averaged_and_listed(run):
    """Two shots; each is scored against its own stretch of the sound."""
    frames = np.concatenate([moving_picture(30), 255 - moving_picture(35, seed=1)])
    samples, boxes = speech_like(65 * 640), nodding(30) + nodding(35, seed=1)
    score = partial(run, ("lse_c_official", "lse_d_official"), min_track=20)
    both = score(frames, samples, boxes)
    first, second = score(frames[:30], samples[: 30 * 640], boxes[:30]), score(frames[30:], samples[19200:], boxes[30:])
    for name in both:
        assert both[name].value == pytest.approx((first[name].value + second[name].value) / 2, rel=1e-6)
    tracks = both["lse_c_official"].details["tracks"]
    assert [(t["first_frame"], t["n_frames"]) for t in tracks] == [(0, 30), (30, 35)]
    assert both["lse_c_official"].details["n_windows"] == 55


@pytest.mark.parametrize(
    ("n", "boxes", "seconds", "reason"),
    [
        (110, [[]] * 110, 4.4, "no face was found in any of its 110 frames"),
        (60, nodding(60), 2.4, "too short: the longest face track has"),
        (120, nodding(120, size=90.0), 4.8, "face too small: 9"),
        (120, nodding(120, miss=0), 0.2, "too short: 120 frames and 0.20 s of sound"),
        (120, nodding(120, miss=0), None, "the clip has no sound"),
    ],
)
def test_a_clip_without_a_score_says_why(run, monkeypatch, n, boxes, seconds, reason):
    frames = np.zeros((n, 224, 224, 3), dtype=np.uint8)
    monkeypatch.setattr(LipEmbedder, "push", lambda self, frames: None)  # what they show does not matter here
    samples = None if seconds is None else speech_like(int(seconds * 16000))
    found = run(("lse_c_official", "lse_lag_valid"), frames, samples, boxes)
    for result in found.values():
        assert result.value is None
        assert result.failure.startswith(reason)
        assert "\n" not in result.failure


def test_an_offset_at_the_end_of_the_range_is_a_warning():
    assert sync._warnings({"tracks": [{"offset": 3}, {"offset": -15}]}) == [
        "the best offset is -15 frames, the end of the range searched"
    ]
    assert sync._warnings({"tracks": [{"offset": 14}]}) == []
    assert sync._warnings({}) == []


def test_embeddings_are_stored_and_serve_another_sound(run, monkeypatch, tmp_path):
    frames, samples, boxes = moving_picture(40), speech_like(40 * 640), nodding(40)
    score = partial(run, ("lse_c_official", "lse_d_lrs"), frames, min_track=20, cache=tmp_path, key="frames")
    other = speech_like(40 * 640, seed=9)
    fresh = run(("lse_c_official", "lse_d_lrs"), frames, other, boxes, min_track=20)
    first = score(samples, boxes)
    monkeypatch.setattr(LipEmbedder, "push", lambda self, frames: pytest.fail("looked at the pictures again"))
    assert score(samples, [[]] * 40) == first
    assert score(other, [[]] * 40, reuse="only-cache") == fresh


def test_a_clip_without_a_track_is_remembered_too(run, tmp_path):
    frames, samples = np.zeros((30, 224, 224, 3), dtype=np.uint8), speech_like(30 * 640)
    for boxes in ([[]] * 30, nodding(30)):
        found = run(("lse_c_official",), frames, samples, boxes, cache=tmp_path, key="frames")
        assert found["lse_c_official"].failure == "no face was found in any of its 30 frames"


def test_what_is_not_stored_or_not_the_same_is_not_used(run, tmp_path):
    frames, samples = moving_picture(12), speech_like(12 * 640)
    score = partial(run, ("lse_d_lrs",), cache=tmp_path, key="frames")
    with pytest.raises(MetricFailure, match="not in the cache"):
        score(frames, samples, reuse="only-cache")
    first = score(frames, samples)
    with pytest.raises(MetricFailure, match="has 11 frames, but lip embeddings of 12 are stored"):
        score(frames[:11], samples)
    (stored,) = tmp_path.rglob("*.npz")
    stored.write_bytes(stored.read_bytes()[:1000])
    again = score(frames, samples)["lse_d_lrs"]
    assert again.value == first["lse_d_lrs"].value
    assert "extracted anew" in again.warnings[0]
    assert score(frames, samples) == first
    assert score(frames, samples, reuse="never") == first


def test_other_frame_rates_are_refused():
    with pytest.raises(MetricFailure, match="needs 25 frames a second, and the clip has 30"):
        sync.SyncScores(("lse_c_lrs",), Context(Footage(lambda: [], fps=30)))


def test_names():
    assert sync.parse("lse_c_official") == ("c", "official", "s3fd")
    assert sync.parse("lse_d_valid_yunet") == ("d", "valid", "yunet")
    assert sync.parse("lse_lag_lrs") == ("lag", "lrs", None)
    for wrong in ("lse_c", "lse_c_lrs_dlib", "lse_x_official", "lse_c_official_mtcnn", "ssim"):
        with pytest.raises(ValueError, match="unknown lip-sync metric"):
            sync.parse(wrong)


def test_what_is_missing_is_one_line_naming_the_file(monkeypatch, tmp_path):
    monkeypatch.setenv("FCTFG_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    checks = (sync_requirements.lrs, sync_requirements.s3fd, sync_requirements.yunet, sync_requirements.dlib)
    for check in checks:
        assert check().startswith("syncnet_v2.model not found")
        assert "\n" not in check()
    (tmp_path / "syncnet_v2.model").touch()
    assert sync_requirements.lrs() is None
    assert sync_requirements.s3fd().startswith("sfd_face.pth or s3fd-619a316812.pth not found")
    (tmp_path / "sfd_face.pth").touch()
    assert sync_requirements.s3fd() is None


def test_the_scripts_encodings_lose_something_and_keep_the_clip(net):
    frames = moving_picture(12)
    for encodings in (sync_detour.WHOLE, sync_detour.CROPPED):
        coded = np.stack(list(sync_detour.through(frames, encodings)))
        assert coded.shape == frames.shape
        error = np.mean((coded.astype(float) - frames) ** 2)
        assert 25 < 10 * np.log10(255**2 / error) < 45
        # Frame for frame: each is nearest to its own original.
        distance = [[np.mean((a.astype(float) - b) ** 2) for b in frames] for a in coded]
        assert np.argmin(distance, axis=1).tolist() == list(range(12))
    assert list(sync_detour.reencode([], sync_detour.CROPPED[1])) == []


@pytest.mark.real
def test_a_voxceleb2_clip_equals_the_transcription(real, weights_dir, monkeypatch, net, reference, run):
    """Real frames and sound, YuNet's boxes."""
    pytest.importorskip("cv2")
    from fctfg.face_detection import choose

    monkeypatch.setenv("FCTFG_WEIGHTS", str(weights_dir))

    frames, samples = read_clip(real / "voxceleb2/test/mp4/id90001/clip_a/00015.mp4", 112)
    boxes = choose("yunet")(frames)
    found = run(("lse_c_official", "lse_d_official"), frames, samples, boxes)
    ((first, filled),) = literal.tracks([[tuple(box[:4]) for box in here] for here in boxes])
    crops = literal.crops(frames, first, filled)
    lips, speech, _ = literal.features(reference, crops[..., ::-1], samples[first * 640 : (first + len(filled)) * 640])
    confidence, distance, offset = literal.score(lips, speech)
    assert found["lse_d_official"].value == pytest.approx(distance, rel=TOLERANCE)
    assert found["lse_c_official"].value == pytest.approx(confidence, rel=TOLERANCE)
    assert found["lse_c_official"].details["offset"] == offset


@pytest.mark.real
@pytest.mark.slow
def test_every_step_on_the_demo_clip(real, net, reference):
    """SyncNet's own demonstration clip, 317 frames, scored as the demonstration does: whole frames of 224 x 224."""
    frames, samples = read_clip(real / "syncnet_demo/example.avi")
    lips, speech, coefficients = literal.features(reference, frames[..., ::-1], samples)
    embedder = LipEmbedder(net)
    embedder.push(frames)
    ours, ours_speech = embedder.finish()[: len(lips)], embed_speech(net, mfcc(samples), len(lips))
    confidence, distance, offset = literal.score(lips, speech)
    score = lse(ours, ours_speech)
    errors = {
        "MFCC": relative(mfcc(samples).T, coefficients),
        "lip features": relative(ours, lips),
        "speech features": relative(ours_speech, speech),
        "curve": relative(score.curve, literal.distances(lips, speech).mean(0)),
        "LSE-D": abs(score.lse_d / distance - 1),
        "LSE-C": abs(score.lse_c / confidence - 1),
    }
    print({step: f"{error:.1e}" for step, error in errors.items()})
    assert max(errors.values()) < TOLERANCE
    assert score.offset == offset


@pytest.mark.real
@pytest.mark.slow
def test_the_published_numbers_of_the_demo_clip(real):
    """The README of syncnet_python prints offset 3, distance 5.353, confidence 10.021; it reads JPEGs of the frames."""
    if weights.find("syncnet") is None:
        pytest.skip(weights.missing("syncnet"))
    frames, samples = read_clip(Path(real) / "syncnet_demo/example.avi")
    net = load_syncnet(weights.require("syncnet"))
    for encodings, margin in ((sync_detour.CROPPED[1:], 0.1), ((), 0.5)):
        embedder = LipEmbedder(net)
        embedder.push(np.stack(list(sync_detour.through(frames, encodings))))
        n = min(len(frames), len(samples) // 640) - 5
        score = lse(embedder.finish()[:n], embed_speech(net, mfcc(samples), n))
        assert score.offset == 3
        assert score.lse_d == pytest.approx(5.353, abs=margin)
        assert score.lse_c == pytest.approx(10.021, abs=2 * margin)
