"""Wav2Lip: the network key for key, every step of inference against a literal one, bad input, a run of the protocol."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import plain_wav2lip
import plain_wav2lip_inference as plain
import pytest
import torch
import trees

from baselines import wav2lip
from baselines import wav2lip_steps as steps
from baselines.nets import wav2lip as nets
from fctfg import face_detection, media, weights
from fctfg.nets import mel
from fctfg.weights import WeightsError
from protocols import methods, voxceleb2
from results import rows

SHAPES = json.loads((Path(__file__).parent / "data/wav2lip_keys.json").read_text())
MODELS = (wav2lip.Wav2Lip, wav2lip.Wav2LipGAN, wav2lip.Wav2LipFullVideo, wav2lip.Wav2LipGANFullVideo)


@pytest.fixture(scope="module")
def state():
    return plain.random_state(SHAPES)


@pytest.fixture(scope="module")
def folder(state, tmp_path_factory):
    """A weights folder with random numbers under the official name, in the official form: torch 1.1's, "module."."""
    folder = tmp_path_factory.mktemp("weights")
    checkpoint = {"state_dict": {f"module.{k}": v for k, v in state.items()}, "global_step": 1, "global_epoch": 2}
    torch.save(checkpoint, folder / "wav2lip.pth", _use_new_zipfile_serialization=False)
    os.symlink("wav2lip.pth", folder / "wav2lip_gan.pth")
    return folder


@pytest.fixture(scope="module")
def network(folder):
    return nets.load(folder / "wav2lip.pth")


@pytest.fixture
def here(folder, network, monkeypatch):
    """The weights folder is found, and its file read once."""
    monkeypatch.setenv("FCTFG_WEIGHTS", str(folder))
    monkeypatch.setattr(nets, "load", lambda path: network)
    return folder


class Boxes:
    """A detector that finds what it is told: per frame in turn a list of boxes."""

    version = "1"

    def __init__(self, boxes, name="told"):
        self.boxes, self.name, self.seen = list(boxes), name, []

    def __call__(self, frames):
        self.seen.append(frames)
        now, self.boxes = self.boxes[: len(frames)], self.boxes[len(frames) :]
        return [np.array([[*box, 0.9] for box in found], float).reshape(-1, 5) for found in now]


def clip(frames=6, size=64, seed=0):
    """(reference, driving, audio) of colour waves and noise that swells."""
    pictures = trees.frames(frames + 1, size, seed)
    rng = np.random.default_rng(seed)
    audio = (rng.normal(size=frames * 640) * np.linspace(0.01, 0.3, frames * 640)).astype(np.float32)
    return pictures[0], pictures[1:], audio


def made_by(method, *inputs):
    method.device = "cpu"
    return np.concatenate(list(method.animate(*inputs).frames))


# ------------------------------------------------------------------------------------------------------- the network


def test_keys_and_shapes_are_the_official_ones():
    with torch.device("meta"):
        ours = nets.Generator().state_dict()
    assert {name: list(value.shape) for name, value in ours.items()} == SHAPES


def test_network_is_the_literal_one_and_hears_the_sound(state, network):
    g = torch.Generator().manual_seed(1)
    mels, faces = torch.rand(2, 1, 80, 16, generator=g) * 8 - 4, torch.rand(2, 6, 96, 96, generator=g)
    assert not network.training
    expected, ours = plain.generator(state, mels, faces), network(mels, faces)
    assert expected.min() < 0.2 < 0.8 < expected.max()
    assert (ours - expected).abs().max() < 1e-4
    assert (network(mels.flip(0), faces) - ours).abs().max() > 0.1
    assert torch.allclose(network(mels[:1], faces[:1]), ours[:1], atol=1e-5)


@pytest.mark.parametrize("form", ["bare", "zip", "half"])
def test_other_forms_of_the_same_checkpoint(state, form, tmp_path):
    path = tmp_path / "x.pth"
    if form == "half":
        torch.save({"state_dict": {k: v.half() if v.is_floating_point() else v for k, v in state.items()}}, path)
    else:
        torch.save(state if form == "bare" else {"state_dict": state}, path)
    net = nets.load(path)
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    tolerance = 1e-3 if form == "half" else 0
    assert torch.allclose(net.output_block[1].weight, state["output_block.1.weight"], rtol=tolerance, atol=1e-7)


def small(**more):
    """A checkpoint that takes no room: official shapes, no numbers behind them."""
    state = {k: torch.zeros(()).expand(shape) for k, shape in SHAPES.items()}
    return {"state_dict": state | more}


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        (small(**{"optimiser.state": torch.zeros(2)}), r"1 tensors unknown \(optimiser.state\)"),
        (
            small(**{"output_block.1.bias": torch.zeros(4)}),
            r"another shape \(output_block.1.bias: \(4,\), not \(3,\)\)",
        ),
        ({"state_dict": {"audio_encoder.0.conv_block.0.bias": torch.zeros(32)}}, "351 tensors missing"),
        ({"face_encoder.0.conv_block.0.weight": torch.zeros(1)}, "it is the sync expert"),
        ({"state_dict": {"module.binary_pred.0.weight": torch.zeros(1)}}, "it is the visual quality discriminator"),
        ({"state_dict": [1, 2]}, "holds no named tensors"),
        ({}, "holds no named tensors"),
        ([torch.zeros(1)], "not named tensors"),
    ],
)
def test_another_models_checkpoint_is_one_line(checkpoint, said, tmp_path):
    torch.save(checkpoint, tmp_path / "wav2lip.pth")
    with pytest.raises(WeightsError, match=said) as error:
        nets.load(tmp_path / "wav2lip.pth")
    assert str(error.value).startswith(str(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("legacy", [True, False])
def test_a_torn_file_and_a_pickle_with_code_are_refused(legacy, tmp_path):
    path = tmp_path / "wav2lip.pth"
    torch.save({"state_dict": {"a": torch.zeros(5000)}}, path, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(WeightsError, match="get the file again"):
        nets.load(path)
    torch.save({"state_dict": Path("x")}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match="refused"):
        nets.load(path)


# --------------------------------------------------------------------------------------------------------- the steps

SIZES = [(96, 96, 61, 83), (61, 83, 96, 96), (150, 131, 96, 96), (96, 96, 20, 101), (64, 48, 32, 24), (2, 1, 5, 4)]


@pytest.mark.parametrize("size", SIZES)
def test_resize_is_the_literal_one(size):
    width, height, new_width, new_height = size
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = plain.resize(picture, new_width, new_height)
    assert np.array_equal(steps.resize(picture, (new_width, new_height)), expected)


def test_resize_is_opencvs_bit_for_bit():
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(2)
    for k in range(300):
        width, height, side = (int(v) for v in rng.integers(1, 400, 3))
        picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        size = [(96, 96), (side, 96), (96, side), (2 * width, height), ((width + 1) // 2, (height + 1) // 2)][k % 5]
        assert np.array_equal(steps.resize(picture, size), cv2.resize(picture, size)), (width, height, size)


@pytest.mark.parametrize("count", [*range(1, 8), 30])
def test_boxes_are_padded_and_smoothed_as_the_program_does(count):
    faces = np.random.default_rng(count).uniform(-20, 120, (count, 5))
    faces[:, 2:4] += 30
    ours = steps.smoothed(np.array([steps.padded(face, 100, 110) for face in faces]))
    assert ours.tolist() == plain.boxes_of(list(faces), 100, 110)


def test_as_many_frames_as_the_program_makes():
    for columns in range(16, 400):
        assert steps.window_count(columns) == len(plain_wav2lip.inference_windows(np.zeros((80, columns))))
    assert steps.window_count(15) == steps.window_count(0) == 0


def test_what_the_network_sees_and_what_is_kept_of_its_answer():
    faces = np.random.default_rng(3).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    assert np.array_equal(steps.network_input(faces), np.stack([plain.six_channels(face) for face in faces]))
    made = np.array([0, 0.5, 0.99999, 1, 1 / 255, 254.999 / 255], np.float32).reshape(1, 1, 1, 6)
    assert steps.network_output(made).ravel().tolist() == [0, 127, 254, 255, 1, 254]


def test_the_face_is_put_back_into_a_copy():
    picture, face = np.zeros((50, 60, 3), np.uint8), np.full((96, 96, 3), 200, np.uint8)
    out = steps.pasted(picture, face, (10, 5, 40, 25))
    assert (out[5:25, 10:40] >= 199).all()
    assert int(out.astype(int).sum()) == int(out[5:25, 10:40].astype(int).sum())
    assert not picture.any()


# ---------------------------------------------------------------------------------------------------------- a method


@pytest.mark.parametrize("cls", [wav2lip.Wav2Lip, wav2lip.Wav2LipFullVideo])
def test_whole_inference_is_the_literal_one(cls, here, network):
    reference, driving, audio = clip(9)
    boxes = [[(12.7 + i, 8.2, 50 + i / 2, 47.9 + i)] for i in range(9)]
    ours = made_by(cls(Boxes(boxes)), reference, driving, audio)
    windows = plain_wav2lip.inference_windows(plain_wav2lip.melspectrogram(audio))
    pictures = reference[None] if cls.one_shot else driving[: len(windows)]
    found = [np.array(b[0]) for b in boxes[: len(pictures)]]
    expected = np.stack(plain.repaint(pictures, found, windows, network))
    assert ours.shape == expected.shape == (6, 64, 64, 3)
    apart = np.abs(ours.astype(int) - expected)
    assert apart.max() <= 1  # a grey level where the network's last digit decides between two
    assert (apart > 0).mean() < 1e-3
    source = np.broadcast_to(reference, ours.shape) if cls.one_shot else driving[:6]
    assert np.array_equal(ours[:, :8], source[:, :8])
    assert (ours != source).any((1, 2, 3)).all()
    assert (np.diff(ours.astype(int), axis=0) != 0).any((1, 2, 3)).all()


def test_batches_do_not_show(here, monkeypatch):
    inputs, boxes = clip(9), [[(5 + i, 5, 50, 50)] for i in range(9)]
    whole = made_by(wav2lip.Wav2LipFullVideo(Boxes(boxes)), *inputs)
    monkeypatch.setattr(wav2lip, "BATCH", 4)
    monkeypatch.setattr(wav2lip, "FACES_BATCH", 2)
    apart = np.abs(made_by(wav2lip.Wav2LipFullVideo(Boxes(boxes)), *inputs).astype(int) - whole)
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-4


def test_sound_beyond_the_frames_makes_no_more_frames(here):
    reference, driving, audio = clip(9)
    assert len(made_by(wav2lip.Wav2Lip(Boxes([[(5, 5, 50, 50)]])), reference, driving[:3], audio)) == 3


@pytest.mark.parametrize("cls", MODELS)
def test_a_method_says_what_it_is(cls, here):
    method = cls(Boxes([]))
    record = methods.describe(method, cls.name)
    assert isinstance(method, methods.Method)
    assert (record["kind"], record["controls"]) == ("method", ["lip"])
    assert "told" in record["version"]
    assert "faces found by told, where the official program has S3FD" in record["description"]
    assert ("copied" in record["description"]) == (not cls.one_shot)
    assert ("GAN" in cls.description) == ("gan" in cls.name)
    assert cls.checkpoint == ("wav2lip_gan" if "gan" in cls.name else "wav2lip")
    file = f"{cls.checkpoint}.pth"
    assert record["weights"] == {file: weights.sha256(here / file)}
    assert f"not the official file: {file} (sha256 {weights.sha256(here / file)[:12]}" in record["description"]


def official(monkeypatch, name, path):
    """Let the catalogue take ``path`` for the official file of ``name``."""
    file = dataclasses.replace(weights.entry(name).files[0], sha256=weights.sha256(path), size=path.stat().st_size)
    monkeypatch.setitem(weights.CATALOGUE, name, dataclasses.replace(weights.entry(name), files=(file,)))


def test_the_official_file_is_not_marked_and_the_other_models_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "wav2lip.pth"
    path.write_bytes(b"these are the weights")
    monkeypatch.setenv("FCTFG_WEIGHTS", str(tmp_path))
    assert wav2lip.Wav2Lip(Boxes([])).unofficial
    official(monkeypatch, "wav2lip_gan", path)
    with pytest.raises(WeightsError, match=r"wav2lip.pth: is wav2lip_gan.pth under another name"):
        wav2lip.Wav2Lip(Boxes([]))
    official(monkeypatch, "wav2lip", path)
    method = wav2lip.Wav2Lip(Boxes([], "s3fd"))
    assert (method.unofficial, "OFFICIAL" in method.description, "official" in method.description) == ("", False, False)


def test_s3fd_is_handed_bgr_and_others_rgb(here):
    reference, driving, audio = clip(6)
    for name, seen in (("s3fd", reference[..., ::-1]), ("told", reference)):
        detector = Boxes([[(5, 5, 50, 50)]], name)
        made_by(wav2lip.Wav2Lip(detector), reference, driving, audio)
        assert np.array_equal(detector.seen[0][0], seen)


# ---------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("name", ["wav2lip", "wav2lip_gan"])
def test_without_weights_one_line_says_what_to_fetch(name, tmp_path, monkeypatch):
    for variable in ("FCTFG_WEIGHTS", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    spec = "baselines.wav2lip:" + {"wav2lip": "Wav2Lip", "wav2lip_gan": "Wav2LipGANFullVideo"}[name]
    with pytest.raises(methods.MethodError, match=rf"{name}.pth not found .*github.com/Rudrabha/Wav2Lip") as error:
        methods.load(spec)
    assert "\n" not in str(error.value)


def test_without_a_detector_one_line_says_what_to_install(here, monkeypatch):
    for detector in face_detection.DETECTORS.values():
        monkeypatch.setattr(detector, "unavailable", staticmethod(lambda: "needs to be installed"))
    with pytest.raises(face_detection.DetectorError, match="no face detector: yunet: needs to be installed"):
        wav2lip.Wav2Lip()


def test_a_frame_without_a_face_fails_the_video_but_not_the_one_shot(here):
    boxes = [[(5, 5, 50, 50)]] * 3 + [[]] + [[(5, 5, 50, 50)]] * 3
    with pytest.raises(wav2lip.Wav2LipError, match=r"told finds no face in driving frame 3 \(frame 4 of the clip\)"):
        made_by(wav2lip.Wav2LipFullVideo(Boxes(boxes)), *clip(7))
    assert len(made_by(wav2lip.Wav2Lip(Boxes(boxes)), *clip(7))) == 4
    with pytest.raises(wav2lip.Wav2LipError, match="told finds no face in the first frame"):
        made_by(wav2lip.Wav2Lip(Boxes([[]])), *clip(7))


def test_only_the_best_face_counts(here):
    one, two = ([(5, 5, 50, 50)],), ([(5, 5, 50, 50), (0, 0, 64, 64)],)
    assert np.array_equal(made_by(wav2lip.Wav2Lip(Boxes(one)), *clip()), made_by(wav2lip.Wav2Lip(Boxes(two)), *clip()))


@pytest.mark.parametrize("box", [(80, 5, 90, 50), (5, 90, 50, 99), (30, 30, 20, 50)])
def test_a_face_outside_the_picture(here, box):
    with pytest.raises(wav2lip.Wav2LipError, match="face in the first frame lies outside the picture"):
        made_by(wav2lip.Wav2Lip(Boxes([[box]])), *clip())


def test_sound_that_is_too_short_or_no_sound(here):
    reference, driving, audio = clip(6)
    method = wav2lip.Wav2Lip(Boxes([[(5, 5, 50, 50)]] * 3))
    for short in (audio[:2999], audio[:0]):
        with pytest.raises(wav2lip.Wav2LipError, match=r"the sound lasts 0.1?\d+ s; one window is 0.2 s"):
            made_by(method, reference, driving, short)
    assert len(made_by(method, reference, driving, audio[:3000])) == 2
    audio[100] = np.nan
    with pytest.raises(wav2lip.Wav2LipError, match="no numbers"):
        made_by(method, reference, driving, audio)
    assert len(made_by(method, reference, driving, np.zeros(3200, np.float32))) == 2  # silence is a sound


def test_a_damaged_checkpoint_is_one_line_when_the_first_frame_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "wav2lip.pth").write_bytes(b"<html>quota exceeded</html>")
    monkeypatch.setenv("FCTFG_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"wav2lip.pth: .*get the file again"):
        made_by(wav2lip.Wav2Lip(Boxes([[(5, 5, 50, 50)]])), *clip())


def test_a_profile_that_dlib_misses(here, real):
    pytest.importorskip("dlib")
    video = real / "voxceleb2/test/mp4/id90004/clip_d/00002.mp4"
    frames = media.read_video(video, size=(256, 256))[::6]
    detector = face_detection.choose("dlib")
    found = [len(faces) for faces in detector(frames)]
    assert 0 in found, "the clip is in the sample because its head turns away"
    method = wav2lip.Wav2LipFullVideo(detector)
    at = found.index(0)
    driving = frames[at : at + 1].repeat(6, 0)
    with pytest.raises(wav2lip.Wav2LipError, match="dlib finds no face in driving frame 0"):
        made_by(method, frames[at], driving, clip(6)[2])


# ------------------------------------------------------------------------------------------------------- the protocol


def evaluate(data, out, spec, monkeypatch, code):
    monkeypatch.setenv("FCTFG_CACHE", str(out / "cache"))
    flags = ["--data", data, "--method", spec, "--out", out, "--device", "cpu", "--metrics", *trees.PLAIN]
    assert voxceleb2.main([*map(str, flags)]) == code
    return json.loads((out / "run.json").read_text()), list(rows.read(out))


def test_the_protocol_writes_what_was_not_found_into_the_row(here, tmp_path, monkeypatch):
    pytest.importorskip("dlib")
    data = trees.voxceleb2(tmp_path / "data", identities=1, clips=1, count=25)
    record, (row,) = evaluate(data, tmp_path / "out", "baselines.wav2lip:Wav2Lip", monkeypatch, 1)
    assert row["status"] == "failed"
    assert "finds no face in the first frame" in row["failures"]["*"]
    assert record["method"]["controls"] == ["lip"]


def test_the_protocol_scores_a_real_face(folder, weights_dir, real, tmp_path, monkeypatch):
    """Real pixels, random weights: a row with numbers, the reference outside the box, the mark in run.json."""
    pytest.importorskip("cv2")
    monkeypatch.setenv("FCTFG_WEIGHTS", f"{folder}{os.pathsep}{weights_dir}")
    source = real / "voxceleb2/test"
    frames = media.read_video(source / "mp4/id90001/clip_a/00015.mp4", stop=25)
    sound = media.read_audio(source / "aac/id90001/clip_a/00015.m4a", stop=1.0)
    media.write_video(tmp_path / "data/test/mp4/id00001/v/00001.mp4", frames, audio=sound)
    media.write_audio(tmp_path / "data/test/aac/id00001/v/00001.m4a", sound)
    record, (row,) = evaluate(tmp_path / "data", tmp_path / "out", "baselines.wav2lip:Wav2Lip", monkeypatch, 0)
    assert (row["status"], row["n_frames"], row["n_expected"], row["first_frame"]) == ("scored", 21, 24, 1)
    assert 0 < row["metrics"]["ssim_wang_rgb"] < 1
    assert set(record["method"]["weights"]) == {"wav2lip.pth"}
    assert "not the official file" in record["method"]["unofficial"]
    made = media.read_video(tmp_path / "out/generated/id00001/v/00001.mp4")
    first = media.read_video(tmp_path / "data/test/mp4/id00001/v/00001.mp4", size=(256, 256), stop=1)[0]
    assert np.abs(made[:, -16:].astype(int) - first[-16:]).mean() < 6  # below the chin: the first frame, encoded
    assert mel.WINDOW_COLUMNS == steps.WINDOW
