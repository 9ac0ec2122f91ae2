"""PC-AVS: its networks against the public code's figures, its pre- and post-processing against slow literal forms."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import plain_pc_avs as plain
import pytest
import torch

from baselines import pc_avs
from baselines.nets import pc_avs_audio as audio
from baselines.nets import pc_avs_crop as crop
from baselines.nets import pc_avs_points as points
from baselines.nets.pc_avs_checkpoint import load
from baselines.nets.pc_avs_generator import NOISE_SIDES, frame_noise
from baselines.nets.pc_avs_model import NETWORKS, Model, to_bytes
from fctfg import media, weights

ROOT = Path(__file__).resolve().parent.parent
FACTS = json.loads((ROOT / "tests" / "data" / "pc_avs_keys.json").read_text())
SHAPES = {net: {key: tuple(shape) for key, shape in shapes.items()} for net, shapes in FACTS["shapes"].items()}


def official(net: str, filled: bool = False, prefix: str = "") -> dict[str, torch.Tensor]:
    """A state dict in the official file's form. Not ``filled``, or not needed: zeros that take no room."""
    unneeded = NETWORKS[net].UNUSED
    state = {}
    for key, shape in SHAPES[net].items():
        if key.endswith("kernel") or (filled and not re.fullmatch(unneeded, key)):
            value = torch.from_numpy(plain.weight(key, shape))
        else:
            value = torch.zeros((), dtype=torch.int64 if key.endswith("tracked") else torch.float32).expand(shape)
        state[prefix + key] = value
    return state


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A weights folder with four files in the official form, of the rule's values."""
    place = tmp_path_factory.mktemp("weights")
    (place / "pc_avs").mkdir()
    for net in NETWORKS:
        torch.save(official(net, filled=True), place / "pc_avs" / f"latest_net_{net}.pth")
    return place


@pytest.fixture(scope="module")
def model(folder) -> Model:
    return Model({net: folder / "pc_avs" / f"latest_net_{net}.pth" for net in NETWORKS})


@pytest.fixture
def found(folder, monkeypatch) -> None:
    monkeypatch.setenv("FCTFG_WEIGHTS", str(folder))


def frames_of(n: int, side: int = 256) -> np.ndarray:
    """A smooth coloured pattern that drifts, (n, side, side, 3) uint8."""
    y, x = np.mgrid[:side, :side]
    waves = [[np.sin((x + 2 * t) / (17 + 5 * c)) * np.cos((y - t) / (23 - 4 * c)) for c in range(3)] for t in range(n)]
    return np.moveaxis((127 + 100 * np.array(waves)).astype(np.uint8), 1, -1)


def face(shift: tuple[float, float] = (0, 0), angle: float = 0.0, scale: float = 1.2) -> np.ndarray:
    """68 points of a face of about the aligned size, turned and shifted."""
    rng = np.random.default_rng(5)
    place = rng.uniform(60, 160, (68, 2))
    for part, target in zip(crop.PARTS, crop.TARGETS, strict=True):
        place[part] += target - place[part].mean(0)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return (place - 112) @ turn.T * scale + 128 + shift


def sound(n_samples: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(n_samples) / 16000
    return (0.3 * np.sin(2 * np.pi * (200 + 300 * t) * t) + 0.02 * rng.standard_normal(n_samples)).astype(np.float32)


# ---------------------------------------------------------------------------------------------------------- networks


def test_networks_give_the_public_codes_numbers(model):
    def given(name: str, *shape: int) -> torch.Tensor:
        return torch.from_numpy(plain.numbers(shape, name))

    with torch.inference_mode():
        picture = given("picture", 1, 3, 224, 224)
        code, start = model.identity(picture)
        heard = model.mouth(given("sound", 1, 1, 80, 20).abs())
        noise = [given(f"noise{i}", 1, 1, side, side) for i, side in enumerate(NOISE_SIDES)]
        made = {
            "identity_code": code,
            "identity_map": start,
            "fan": model.pose.model(picture),
            "pose": model.pose(picture),
            "sound": heard,
            "mouth": model.pose.mouth(heard),
            "picture": model.generator(given("style", 1, 2560), given("map", 1, 512, 7, 7), noise),
        }
    for name, theirs in FACTS["outputs"].items():
        flat = made[name].flatten()
        ours = flat[:: max(1, len(flat) // 8)][:8].numpy()
        assert np.abs(ours - theirs).max() < 1e-4 * max(1.0, np.abs(theirs).max()), name
        assert np.std(theirs) > 0.01, f"{name}: too flat to prove anything"


@pytest.mark.parametrize("net", NETWORKS)
def test_every_official_tensor_is_accounted_for(net, tmp_path):
    for prefix in ("", "module."):
        torch.save(official(net, prefix=prefix), tmp_path / "net.pth")
        network = load(NETWORKS[net](), tmp_path / "net.pth")
        assert not network.training
        assert all(not value.any() for value in network.state_dict().values()), "not the file's values"


def test_an_unneeded_tensor_may_be_absent_and_of_any_size(tmp_path):
    state = official("E")
    state["headpose_fc.1.weight"] = torch.zeros(10, 60)  # a classifier of longer clips
    del state["classifier.0.weight"]
    torch.save(state, tmp_path / "net.pth")
    load(NETWORKS["E"](), tmp_path / "net.pth")


def changed(state: dict, change: str) -> dict:
    key = "model.fc.weight"
    if change == "missing":
        del state[key]
    elif change == "extra":
        state["model.fc.scale"] = torch.zeros(3)
    elif change == "shape":
        state[key] = torch.zeros(512, 2561)
    elif change == "nested":
        return {"state_dict": state}
    return state


@pytest.mark.parametrize(
    ("change", "said"),
    [("missing", "lacks tensors"), ("extra", "model.fc.scale"), ("shape", r"\(512, 2561\)"), ("nested", "state_dict")],
)
def test_a_wrong_file_is_one_line_that_names_it(tmp_path, change, said):
    path = tmp_path / "latest_net_A_sync.pth"
    torch.save(changed(official("A_sync"), change), path)
    with pytest.raises(weights.WeightsError, match=said) as failure:
        load(NETWORKS["A_sync"](), path)
    assert str(path) in str(failure.value)
    assert "\n" not in str(failure.value)


def test_another_networks_file_truncated_or_running_code_is_refused(tmp_path):
    path = tmp_path / "net.pth"
    torch.save(official("V"), path)
    with pytest.raises(weights.WeightsError, match="has tensors that a PC-AVS MouthEncoder has not"):
        load(NETWORKS["A_sync"](), path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(weights.WeightsError, match=r"net\.pth"):
        load(NETWORKS["V"](), path)
    torch.save({"model.conv1.weight": subprocess.Popen}, path)
    with pytest.raises(weights.WeightsError, match="refused"):
        load(NETWORKS["V"](), path)


def test_a_generator_with_another_filter_is_refused(tmp_path):
    state = official("G")
    state["convs.0.conv.blur.kernel"] = torch.full((4, 4), 1 / 4)
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(weights.WeightsError, match="not the filter"):
        load(NETWORKS["G"](), tmp_path / "net.pth")


# ------------------------------------------------------------------------------------------------------------- sound


@pytest.mark.parametrize("n", [3200, 3277, 100])
def test_spectrogram_is_the_literal_one(n):
    ours, theirs = audio.spectrogram(sound(n)), plain.spectrogram(sound(n))
    assert ours.shape == theirs.shape == (math.ceil(n / 160) + 7, 80)
    assert np.abs(ours - theirs).max() < 1e-6
    assert 0.2 < ours.mean() < 0.9


def test_loudness_does_not_matter_and_silence_is_zero():
    assert np.abs(audio.spectrogram(sound(3200)) - audio.spectrogram(0.1 * sound(3200))).max() < 1e-5
    assert not audio.spectrogram(np.zeros(3200, np.float32)).any()


@pytest.mark.parametrize("samples", [640 * 9, 640 * 9 + 100, 640 * 12])
def test_frames_hear_the_literal_windows(samples):
    frames, windows = audio.heard(sound(samples), 100)
    theirs, expected = plain.heard(audio.spectrogram(sound(samples)))
    assert list(frames) == theirs
    assert np.array_equal(windows[:, 0], expected)


def test_two_frames_are_missing_at_the_start_and_one_at_the_end():
    assert audio.heard(sound(640 * 10), 10)[0] == range(2, 9)
    assert audio.heard(sound(640 * 10), 6)[0] == range(2, 6)


@pytest.mark.parametrize(("samples", "frames"), [(640 * 3, 3), (640 * 20, 2), (640, 20)])
def test_too_short_is_one_line(samples, frames):
    with pytest.raises(ValueError, match="too short") as failure:
        audio.heard(sound(samples), frames)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("bad", [np.zeros((2, 100)), np.zeros(0), np.array([0.0, np.nan])])
def test_what_is_no_sound_is_refused(bad):
    with pytest.raises(ValueError, match="one channel of finite samples"):
        audio.spectrogram(bad)


# ---------------------------------------------------------------------------------------------------------- pictures


def test_alignment_is_the_literal_one_and_puts_the_face_where_it_belongs():
    clip = np.stack([face((3 * t, -2 * t), 0.1 + 0.02 * t) for t in range(6)])
    ours = crop.align_68(clip)
    assert np.abs(ours - plain.align(clip)).max() < 1e-9
    single = crop.align_68(clip[:1])[0]
    assert np.abs(crop.apply(single, crop.anchors(clip[0])) - crop.TARGETS).max() < 1e-6


def test_order_of_frames_matters_to_the_smoothing():
    clip = np.stack([face((9 * t, 0)) for t in range(3)])
    assert np.abs(crop.align_68(clip) - crop.align_68(clip[::-1])[::-1]).max() > 0.5


def test_aligned_and_inner_crop_are_the_literal_ones():
    frame = frames_of(1)[0]
    matrix = crop.align_68(face((20, -15), 0.3)[None])[0]
    rng = np.random.default_rng(2)
    pixels = [(0, 0), (223, 0), (0, 223), (223, 223)] + [tuple(p) for p in rng.integers(0, 224, (300, 2))]
    picture = crop.aligned(frame, matrix)
    theirs = plain.warp(frame, matrix, pixels)
    assert (theirs == 0).any(), "no pixel lies outside the frame"
    ours = np.array([picture[v, u] for u, v in pixels])
    assert np.abs(ours - theirs).max() < 0.51
    tight = crop.tightened(picture)
    ours = np.array([tight[v, u] for u, v in pixels])
    assert np.abs(ours - plain.tighten(picture, pixels)).max() < 0.51


def test_opencv_gives_the_same_pictures_to_one_grey_level():
    cv2 = pytest.importorskip("cv2")
    frame = frames_of(1)[0]
    matrix = crop.align_68(face((20, -15), 0.3)[None])[0]
    theirs = cv2.warpAffine(frame, matrix, (224, 224), borderValue=0.0)
    ours = crop.aligned(frame, matrix)
    assert np.abs(ours.astype(int) - theirs).max() <= 4  # OpenCV 4 rounds places to 1/32 pixel
    theirs = cv2.resize(ours[:192, 16:208], (224, 224))
    assert np.abs(crop.tightened(ours).astype(int) - theirs).max() <= 1


def test_common_square_is_the_largest():
    clip = np.stack([face((2 * t, t), 0.1 * t, 0.3) for t in range(3)]) - 128 + 32
    crops = crop.inner(crop.align_68(clip))
    left, top, length = crop.common_square(crops, 64)
    assert length == plain.largest_square(crops, 64)
    assert 10 < length < 64
    corners = np.array([(x, y) for x in (left, left + length - 1) for y in (top, top + length - 1)], float)
    places = np.stack([crop.apply(each, corners) for each in crops])
    assert places.min() >= -0.5
    assert places.max() <= 223.5
    assert crop.common_square(crop.inner(crop.whole(64, 1)) + np.array([[0, 0, 400.0], [0, 0, 0]]), 64) == (0, 0, 0)


def test_bytes_are_rounded_down():
    values = torch.linspace(-1, 1, 99)
    ours = to_bytes(values.view(1, 1, 1, -1).expand(1, 3, 1, -1))[0, 0, :, 0]
    assert ours.tolist() == [plain.to_byte(float(v)) for v in values]


@pytest.mark.parametrize("n_faces", [0, 2])
def test_not_exactly_one_face_is_one_line(n_faces):
    def finder(frame: np.ndarray) -> np.ndarray:
        return np.stack([face()] * (1 if frame.any() else n_faces)) if frame.any() or n_faces else np.zeros((0, 68, 2))

    frames = frames_of(3)
    assert points.one_face(finder, frames, "driving frame").shape == (3, 68, 2)
    frames[1] = 0
    with pytest.raises(points.NoSingleFace, match=r"driving frame 1: (no|2) faces found") as failure:
        points.one_face(finder, frames, "driving frame")
    assert "\n" not in str(failure.value)


# -------------------------------------------------------------------------------------------------------- the method


def test_a_frame_depends_on_what_it_should_and_on_nothing_else(model):
    rng = np.random.default_rng(0)
    seen = rng.integers(0, 256, (3, 224, 224, 3), np.uint8)
    _, heard = audio.heard(sound(640 * 6), 6)

    def made(identity=seen[0], poses=seen[2:], heard=heard[1:2], first=3) -> np.ndarray:
        return np.concatenate(list(model.pictures(identity, poses, heard, first))).astype(int)

    base = made()
    both = made(poses=seen[1:], heard=heard[:2], first=2)
    assert both.shape == (2, 224, 224, 3)
    assert np.abs(both[1:] - base).max() <= 1
    assert np.abs(made(heard=heard[2:3]) - base).mean() > 0.05
    assert np.abs(made(poses=seen[:1]) - base).mean() > 0.05
    assert np.abs(made(identity=seen[1]) - base).mean() > 0.05
    assert not torch.equal(frame_noise(2)[3], frame_noise(3)[3])


class Mirror:
    """In the networks' place: gives back the pose pictures that it is shown."""

    def pictures(self, identity, poses, heard, first):
        assert len(poses) == len(heard)
        yield poses


@pytest.mark.parametrize("method", [pc_avs.PCAVSVox, pc_avs.PCAVSDlib])
def test_pictures_come_back_where_the_truth_is(found, monkeypatch, method):
    driving = frames_of(9)
    monkeypatch.setattr(points, "files", lambda name: [])
    made = method()
    places = iter([face(), *(face((2 * t, -t), 0.15 + 0.01 * t) for t in range(9))])
    made._points = lambda frame: next(places)[None]
    made._model = Mirror()
    animation = made.animate(frames_of(1)[0], driving, sound(640 * 9))
    frames = np.stack(list(animation.frames))
    assert frames.shape == (6, 256, 256, 3)
    assert animation.first_frame == 3  # driving frame 2
    left, top, right, bottom = (round(edge * 256) for edge in animation.crop)
    truth = media.resize(np.ascontiguousarray(driving[2:8, top:bottom, left:right]), (256, 256))
    error = np.square(frames.astype(float) - truth).mean((1, 2, 3))
    assert 10 * np.log10(255**2 / error.max()) > 38
    shifted = np.square(frames.astype(float) - np.roll(truth, 1, 2)).mean()
    assert shifted > 1.5 * error.mean(), "the pattern would not show a shift"


def test_a_face_that_leaves_is_one_line(found, monkeypatch):
    monkeypatch.setattr(points, "files", lambda name: [])
    made = pc_avs.PCAVSDlib()
    places = iter([face(), *(face((60 * t, 0)) for t in range(9))])
    made._points, made._model = lambda frame: next(places)[None], Mirror()
    with pytest.raises(pc_avs.FaceLeaves, match="share only") as failure:
        made.animate(frames_of(1)[0], frames_of(9), sound(640 * 9))
    assert "\n" not in str(failure.value)


def test_whole_method_on_the_files(found):
    made = pc_avs.PCAVSVox()
    assert [path.name for path in made.weights] == [f"latest_net_{net}.pth" for net in pc_avs.NAMES]
    animation = made.animate(frames_of(1)[0], frames_of(4), sound(640 * 4))
    frames = np.stack(list(animation.frames))
    assert frames.shape == (1, 256, 256, 3)
    assert frames.std() > 5
    again = np.stack(list(made.animate(frames_of(1)[0], frames_of(4), sound(640 * 4)).frames))
    assert np.array_equal(frames, again)


def test_real_clip_aligned_by_dlib(found, real):
    pytest.importorskip("dlib")
    if weights.find("dlib68") is None:
        pytest.skip(weights.missing("dlib68"))
    path = sorted((real / "voxceleb2" / "test" / "mp4" / "id90001").rglob("*.mp4"))[0]
    clip = media.read_video(path, size=(256, 256), stop=5)
    made = pc_avs.PCAVSDlib()
    animation = made.animate(clip[0], clip[1:], media.read_audio(path, start=1 / 25, stop=5 / 25))
    assert len(list(animation.frames)) == 1
    left, top, right, bottom = animation.crop
    assert right - left == bottom - top
    assert 0.4 < right - left < 0.9


def test_without_weights_one_line_says_what_to_fetch(tmp_path, monkeypatch):
    monkeypatch.setenv("FCTFG_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(weights.MissingWeights, match=r"latest_net_G\.pth.*Talking-Face_PC-AVS") as failure:
        pc_avs.PCAVS()
    assert "\n" not in str(failure.value)


def test_fans_files_are_asked_for_by_name(found, monkeypatch, tmp_path):
    pytest.importorskip("face_alignment")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(pc_avs.PCAVS, "stand_in", None)
    with pytest.raises(weights.MissingWeights, match="2DFAN4"):
        pc_avs.PCAVS()


def test_where_fan_is_not_dlib_aligns_and_it_is_said(found, monkeypatch, tmp_path):
    pytest.importorskip("dlib")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    method = pc_avs.PCAVS()
    assert method.version == "2, alignment: dlib" == pc_avs.PCAVSDlib().version
    assert "aligned by dlib's points, where the original has FAN's" in method.description
    assert any("shape_predictor_68" in path.name for path in method.weights)


@pytest.mark.parametrize("right", [True, False])
def test_a_file_that_is_not_the_official_one_is_marked(found, folder, monkeypatch, right):
    entry = weights.entry("pc_avs")
    path = folder / "pc_avs" / "latest_net_E.pth"
    sums = {path.name: weights.sha256(path) if right else "0" * 64}
    files = tuple(replace(file, sha256=sums.get(Path(file.name).name)) for file in entry.files)
    assert "not verified" in pc_avs.PCAVSVox().unofficial
    monkeypatch.setitem(weights.CATALOGUE, "pc_avs", replace(entry, files=files))
    assert ("not the official file: latest_net_E.pth" in pc_avs.PCAVSVox().unofficial) is not right
    assert pc_avs.PCAVSVox().unofficial in pc_avs.PCAVSVox().description


def test_listing_it_imports_nothing_heavy_and_shows_licence_and_source():
    code = (
        "import sys; from baselines import pc_avs\n"
        "for m in (pc_avs.PCAVS, pc_avs.PCAVSDlib, pc_avs.PCAVSVox): print(m.name, sorted(m.controls), m.description)\n"
        "assert not {'torch', 'dlib', 'cv2', 'face_alignment', 'av'} & set(sys.modules), sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for line, name in zip(done.stdout.splitlines(), ("pc-avs ", "pc-avs-dlib ", "pc-avs-vox "), strict=True):
        assert line.startswith(name)
        assert "['lip', 'pose']" in line
        assert "CC BY 4.0" in line
        assert "Zhou et al., CVPR 2021" in line
