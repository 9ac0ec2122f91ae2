"""Faces for the LSE pipeline: OpenCV's arithmetic, shot cuts, tracks and crops, S3FD."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest
import sync_literal as literal
import torch

from fctfg import face_pixels as pixels
from fctfg import face_s3fd as s3fd
from fctfg.weights import WeightsError
from metrics.face_scenes import ShotCuts
from metrics.face_tracks import FaceTracker, TrackRules


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


# --- pixels


@pytest.mark.parametrize("source", [(256, 256), (224, 224), (225, 224), (448, 448), (447, 449), (100, 100), (1, 5)])
@pytest.mark.parametrize("target", [(224, 224), (96, 64)])
def test_resizing_is_opencvs_to_the_byte(source, target):
    cv2 = pytest.importorskip("cv2")
    image = noise(0, *source, 3)
    assert np.array_equal(pixels.resize_bilinear_numpy(image, *target), cv2.resize(image, target))
    assert np.array_equal(pixels.resize_bilinear(image, *target), cv2.resize(image, target))


@pytest.mark.parametrize("source", [(256, 256), (255, 258), (1080, 1917)])
def test_resizing_by_a_factor_is_opencvs_to_the_byte(source):
    cv2 = pytest.importorskip("cv2")
    image = noise(1, *source, 3)
    expected = cv2.resize(image, None, fx=0.25, fy=0.25)
    height, width = expected.shape[:2]
    assert np.array_equal(pixels.resize_bilinear_numpy(image, width, height, 0.25), expected)
    assert np.array_equal(pixels.resize_bilinear(image, width, height, 0.25), expected)


def test_hsv_is_opencvs_to_the_byte():
    cv2 = pytest.importorskip("cv2")
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(1, -1, 3)
    for image in (colours, noise(2, 300, 300, 3)):
        assert np.array_equal(pixels.rgb_to_hsv_numpy(image), cv2.cvtColor(image, cv2.COLOR_RGB2HSV))


def test_without_opencv_the_same_bytes(monkeypatch):
    image = noise(3, 300, 310, 3)
    usual = pixels.resize_bilinear(image, 224, 224), pixels.rgb_to_hsv(image)
    monkeypatch.setattr(pixels, "opencv", lambda: None)
    assert np.array_equal(pixels.resize_bilinear(image, 224, 224), usual[0])
    assert np.array_equal(pixels.rgb_to_hsv(image), usual[1])


@pytest.mark.parametrize(
    "place", [(2, 3, 20, 25), (-5, -4, 20, 50), (10, 10, 40, 45), (-9, -9, -2, -1), (35, 2, 44, 9)]
)
def test_crops_are_filled_outside_the_frame(place):
    image = noise(4, 30, 40, 3)
    top, left, bottom, right = place
    padded = np.pad(image, ((50, 50), (50, 50), (0, 0)), constant_values=110)
    expected = padded[top + 50 : bottom + 50, left + 50 : right + 50]
    assert np.array_equal(pixels.crop_filled(image, *place, 110), expected)


# --- shots


def shot(seed: int, n: int, size: int = 48) -> np.ndarray:
    """n frames of one scene: a fixed coloured texture, drifting by a pixel a frame, with noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
    scene = pixels.resize_bilinear_numpy(coarse, size + n, size + n)
    frames = [scene[t : t + size, t : t + size].astype(int) + rng.integers(-3, 4, (size, size, 3)) for t in range(n)]
    return np.clip(frames, 0, 255).astype(np.uint8)


def test_splices_are_cuts_and_movement_is_not():
    clip = np.concatenate([shot(1, 30), shot(2, 40), shot(3, 20)])
    cuts = ShotCuts().push(clip)
    assert np.flatnonzero(cuts).tolist() == [30, 70]
    pieces = ShotCuts()
    assert np.array_equal(np.concatenate([pieces.push(clip[i : i + 7]) for i in range(0, len(clip), 7)]), cuts)


def test_cuts_keep_their_distance():
    clip = np.concatenate([shot(1, 20), shot(2, 10), shot(3, 5), shot(4, 20)])
    assert np.flatnonzero(ShotCuts().push(clip)).tolist() == [20, 35]  # 30 comes within 15 frames of 20


def test_the_change_is_the_mean_over_pixels_and_channels():
    frames = np.zeros((3, 8, 8, 3), dtype=np.uint8)
    frames[1] = (200, 100, 100)  # hue 0, saturation 127 or 128, value 200
    frames[2, :4] = (200, 100, 100)
    changes = ShotCuts().changes(frames)
    hsv = pixels.rgb_to_hsv_numpy(frames[1][:1, :1])[0, 0].astype(int)
    assert changes == [0.0, pytest.approx(hsv.mean()), pytest.approx(hsv.mean() / 2)]


# --- tracks


@dataclass
class Kept:
    """A sink that keeps its crops."""

    crops: list[np.ndarray] = field(default_factory=list)

    def push(self, crops):
        self.crops.extend(crops)


def run_tracker(frames, boxes, piece, rules=None):
    tracker = FaceTracker(Kept, rules)
    most = 0
    for start in range(0, len(frames), piece):
        tracker.push(frames[start : start + piece], boxes[start : start + piece])
        most = max(most, len(tracker._frames))
    return tracker, tracker.finish(), most


def wandering(rng, n, centre, size, miss=0.1):
    """One face's boxes over n frames, an empty list where it is missed."""
    position = np.array(centre, dtype=float)
    out = []
    for _ in range(n):
        position += rng.normal(size=2) * 1.5
        half = size / 2 * rng.uniform(0.95, 1.05, size=2)
        hidden = rng.random() < miss
        out.append([] if hidden else [np.array([*(position - half), *(position + half), 0.99])])
    return out


def crowd(seed, n=190):
    """Two big faces, one of them away for 20 frames, a small one, a short one and false alarms."""
    rng = np.random.default_rng(seed)
    one, two = wandering(rng, n, (70, 80), 104), wandering(rng, n, (180, 60), 120)
    small, short = wandering(rng, n, (120, 200), 60), wandering(rng, 90, (200, 180), 110)
    for k in range(60, 80):
        one[k] = []
    faces = []
    for k in range(n):
        here = one[k] + two[k] + small[k] + (short[k] if k < len(short) else [])
        if rng.random() < 0.05:
            alarm = rng.uniform(0, 200, size=2)
            alarm = np.array([*alarm, *(alarm + rng.uniform(20, 90, size=2)), 0.9])
            # Detectors thin out what overlaps.
            here = here + [alarm] * all(literal.overlap(alarm, box) < 0.3 for box in here)
        faces.append([here[i] for i in rng.permutation(len(here))])
    return faces


@pytest.mark.parametrize(("seed", "piece"), [(0, 64), (1, 190), (2, 7)])
def test_tracks_and_crops_are_those_of_the_scripts(seed, piece):
    pytest.importorskip("cv2")
    boxes = crowd(seed)
    frames = shot(seed, len(boxes), size=240)
    expected = literal.tracks([[tuple(box[:4]) for box in here] for here in boxes])
    _, found, most = run_tracker(frames, boxes, piece)
    assert [t.first_frame for t, _ in found] == [first for first, _ in expected]
    assert len(found) == 2
    for (track, sink), (first, filled) in zip(found, expected, strict=True):
        assert track.n_frames == len(filled) == len(sink.crops)
        assert np.array_equal(np.stack(sink.crops), literal.crops(frames, first, filled))
    assert most <= TrackRules().num_failed_det + TrackRules().median // 2 + 1


def still(n, size=120.0, start=0, length=None, at=120.0):
    """A face that does not move: in frames start .. start + length - 1."""
    box = np.array([at - size / 2, at - size / 2, at + size / 2, at + size / 2, 1.0])
    stop = n if length is None else start + length
    return [[box] if start <= k < stop else [] for k in range(n)]


@pytest.mark.parametrize(
    ("boxes", "reason"),
    [
        (still(130, length=0), "no face was found in any of its 130 frames"),
        (
            still(130, length=100),
            "too short: the longest face track has 100 detections in 130 frames, and more than 100",
        ),
        (still(130, size=100.0), "face too small: 100 pixels, and more than 100 are needed"),
    ],
)
def test_a_clip_without_a_track_has_a_reason(boxes, reason):
    tracker, found, _ = run_tracker(np.zeros((130, 48, 48, 3), dtype=np.uint8), boxes, 32)
    assert found == []
    assert tracker.reason().startswith(reason)


def test_the_limits_are_strict():
    frames = np.zeros((130, 48, 48, 3), dtype=np.uint8)
    for boxes in (still(130, length=101), still(130, size=100.5)):
        assert len(run_tracker(frames, boxes, 32)[1]) == 1


def test_a_gap_of_25_frames_is_bridged_and_a_longer_one_is_not():
    frames = np.zeros((240, 48, 48, 3), dtype=np.uint8)
    for gap, tracks in ((24, 1), (25, 2)):  # frames without a face; the next is gap + 1 after the last
        boxes = still(240)
        boxes[110 : 110 + gap] = [[]] * gap
        assert len(run_tracker(frames, boxes, 50)[1]) == tracks


def test_a_cut_ends_a_track():
    frames = np.concatenate([shot(1, 120), shot(2, 110)])
    found = run_tracker(frames, still(230), 64)[1]
    assert [(t.first_frame, t.n_frames) for t, _ in found] == [(0, 120), (120, 110)]


# --- S3FD


@cache
def drawn(form: s3fd.Format, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in s3fd.state_shapes(form).items():
        if len(shape) == 4:
            # Small offsets, so that boxes have sensible sizes, and scores that do not all round to 1.
            gain = 0.1 if "loc" in key else 0.3 if "conf" in key else 1.0
            state[key] = torch.randn(shape, generator=generator) * gain * (2 / np.prod(shape[1:])) ** 0.5
        else:
            state[key] = torch.rand(shape, generator=generator) * (10 if "orm" in key and "mbox" not in key else 0.1)
    return state


def draw(form: s3fd.Format, seed: int = 0) -> dict[str, torch.Tensor]:
    return dict(drawn(form, seed))


def test_the_network_is_face_alignments_for_its_file():
    net = pytest.importorskip("face_alignment.detection.sfd.net_s3fd").s3fd().eval()
    state = draw(s3fd.FACE_ALIGNMENT)
    net.load_state_dict(state)  # strict: the same keys and shapes
    images = torch.randn(2, 3, 70, 93, generator=torch.Generator().manual_seed(1)) * 60
    with torch.no_grad():
        theirs = net(images)
        ours = [x for pair in s3fd.S3FDNet(state, s3fd.FACE_ALIGNMENT).maps(images) for x in pair]
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert float((a - b).abs().max() / b.abs().max()) < 1e-4


def test_boxes_are_face_alignments_for_its_file(tmp_path):
    detect = pytest.importorskip("face_alignment.detection.sfd.detect")
    from face_alignment.detection.sfd.net_s3fd import s3fd as their_net

    state = draw(s3fd.FACE_ALIGNMENT)
    net = their_net().eval()
    net.load_state_dict(state)
    image = noise(5, 64, 80, 3)
    theirs = detect.detect(net, image, "cpu")[0]
    torch.save(state, tmp_path / "s3fd-619a316812.pth")
    ours_net = s3fd.S3FD(tmp_path / "s3fd-619a316812.pth")._net
    shifted = torch.from_numpy(image).float().flip(-1) - torch.tensor([104.0, 117.0, 123.0])
    with torch.no_grad():
        ours = s3fd.candidates(ours_net.maps(shifted.permute(2, 0, 1)[None]), 0.05)[0]
    assert len(ours) == len(theirs) > 20
    np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-2)


def suppress(boxes, limit) -> np.ndarray:
    """Pairwise: a box stays when no better box that stays overlaps it by more than the limit."""
    kept = []
    for box in sorted(boxes, key=lambda b: -b[4]):
        if all(literal.overlap(box, other) <= limit for other in kept):
            kept.append(box)
    return np.array(kept).reshape(-1, 5)


@pytest.mark.parametrize("limit", [0.1, 0.3])
def test_overlapping_boxes_are_thinned_out(limit):
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 200, size=(150, 2))
    boxes = np.column_stack([corner, corner + rng.uniform(20, 80, size=(150, 2)), rng.random(150)])
    kept = s3fd.thin_out(boxes, limit)
    assert 10 < len(kept) < 100
    assert np.array_equal(kept, suppress(boxes, limit))
    assert s3fd.thin_out(boxes[:0], limit).shape == (0, 5)


@pytest.mark.parametrize("size", [(240, 256), (300, 222)])
def test_detections_are_those_of_the_scripts(tmp_path, size):
    cv2 = pytest.importorskip("cv2")
    state = draw(s3fd.OFFICIAL)
    torch.save(state, tmp_path / "sfd_face.pth")
    detector = s3fd.S3FD(tmp_path / "sfd_face.pth")
    frame = noise(6, *size, 3)
    small = cv2.resize(frame, None, fx=0.25, fy=0.25).astype(np.float32) - np.float32([123, 117, 104])
    image = torch.from_numpy(small).permute(2, 0, 1)
    every = literal.s3fd_boxes(state, image)
    with torch.no_grad():
        ours = s3fd.candidates(detector._net.maps(image[None]), 0.05)[0]
    assert len(ours) == len(every) > 100
    np.testing.assert_allclose(ours, every, rtol=1e-3, atol=1e-2)
    scale = [size[1] / small.shape[1], size[0] / small.shape[0]] * 2 + [1]
    kept = suppress(suppress(every[every[:, 4] > 0.9], 0.3) * scale, 0.1)
    np.testing.assert_allclose(detector(frame[None])[0], kept, rtol=1e-3, atol=1e-2)


def test_pieces_of_a_clip_are_detected_alike(tmp_path):
    torch.save(draw(s3fd.OFFICIAL), tmp_path / "sfd_face.pth")
    detector = s3fd.S3FD(tmp_path / "sfd_face.pth")
    frames = noise(7, 5, 128, 128, 3)
    whole = detector(frames)
    parts = detector(frames[:3]) + detector(frames[3:])
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


def test_a_file_that_is_not_s3fd_is_refused_by_the_key(tmp_path):
    state = draw(s3fd.OFFICIAL)
    for change, message in (
        (lambda s: s.pop("conf.3.bias"), r"key 'conf\.3\.bias' is missing"),
        (lambda s: s.update({"vgg.0.weight": torch.zeros(64, 1, 3, 3)}), r"'vgg\.0\.weight' has shape"),
        (lambda s: s.update({"vgg.99.weight": torch.zeros(1)}), r"'vgg\.99\.weight' is not expected"),
        (lambda s: s.clear(), "not an S3FD file"),
    ):
        bad = dict(state)
        change(bad)
        torch.save(bad, tmp_path / "bad.pth")
        with pytest.raises(WeightsError, match=message):
            s3fd.S3FD(tmp_path / "bad.pth")


def test_frames_too_small_for_the_network_show_no_face(tmp_path):
    for form, smallest in ((s3fd.OFFICIAL, 112), (s3fd.FACE_ALIGNMENT, 128)):
        torch.save(draw(form), tmp_path / "weights.pth")
        detector = s3fd.S3FD(tmp_path / "weights.pth", threshold=0.0)
        for side, some in ((smallest - 4, False), (smallest, True)):
            found = detector(noise(8, 2, side, side, 3))
            assert [len(boxes) > 0 for boxes in found] == [some, some]
