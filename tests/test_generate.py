"""``python -m fctfg.generate`` on small files: what it writes, what it says, what it refuses."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from test_animate import hearing
from trees import frames, tone

from fctfg import animate, checkpoints, face_detection, generate, media, model_file, pictures

SIZE = 64


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a picture, a driving clip of 30 frames, sounds of several lengths and a tiny model."""
    folder = tmp_path_factory.mktemp("inputs")
    model_file.save_model(folder / "tiny.safetensors", hearing(), float32=True)
    Image.fromarray(frames(1, 96, seed=5)[0]).save(folder / "face.png")
    media.write_video(folder / "clip.mp4", frames(30, 96), audio=tone(30))
    media.write_video(folder / "mute.mp4", frames(30, 96))
    media.write_video(folder / "wide.mp4", frames(30, (128, 96)), audio=tone(30))
    media.write_audio(folder / "short.wav", tone(20, seed=1))
    media.write_audio(folder / "long.m4a", tone(45, seed=1))
    return folder


@pytest.fixture
def run(made, tmp_path, capsys):
    """run("--length audio", driving="clip.mp4") -> (status, stdout, stderr, tmp_path/talk.mp4); None leaves out."""

    def call(more="", **files):
        given = {"source": "face.png", "driving": "clip.mp4", "checkpoint": "tiny.safetensors", **files}
        argv = [a for name, file in given.items() if file is not None for a in (f"--{name}", str(made / file))]
        out = tmp_path / "talk.mp4"
        if "--out" not in more and given["driving"] is not None:
            argv += ["--out", str(out)]
        if "--crop" not in more:
            argv += ["--crop", "none"]
        status = generate.main([*argv, "--device", "cpu", *more.split()])
        said = capsys.readouterr()
        assert said.err.count("\n") <= 1, said.err  # nothing takes more than a line
        return status, said.out, said.err, out

    return call


def differs(file, wanted: np.ndarray) -> float:
    """Mean difference, in grey levels, between a written video and frames that go through the same codec."""
    again = media.read_video(media.write_video(file.with_name("again.mp4"), wanted))
    return np.abs(media.read_video(file).astype(int) - again).mean()


def test_a_video_with_the_sound_in_it(run, made):
    status, out, err, file = run()
    assert (status, err) == (0, "")
    assert "talk.mp4: 30 frames (1.20 s) at 64x64" in out
    info = media.probe(file)
    assert (info.width, info.height, float(info.fps), info.n_frames) == (SIZE, SIZE, 25, 30)
    heard, spoken = media.read_audio(file), media.read_audio(made / "clip.mp4")
    assert len(heard) == 30 * 640
    assert np.corrcoef(heard, spoken[: len(heard)])[0, 1] > 0.98


def test_it_is_what_the_python_interface_makes(run, made):
    _, _, _, file = run("--batch 12", audio="short.wav")
    animator = animate.load(made / "tiny.safetensors", "cpu")
    source = pictures.face(made / "face.png", SIZE, None)
    driving = media.read_video(made / "clip.mp4", size=(SIZE, SIZE))
    wanted = np.concatenate(list(animator.animate(source, driving, media.read_audio(made / "short.wav"))))
    assert differs(file, wanted) < 0.1
    assert differs(file, wanted[::-1]) > 1
    deaf = np.concatenate(list(animator.animate(source, driving, media.read_audio(made / "clip.mp4"))))
    assert differs(file, deaf) > 1


def test_sound_shorter_and_longer_than_the_video(run):
    status, _, err, file = run(audio="short.wav")
    assert status == 0
    assert err.endswith("short.wav: the sound ends at 0.80 s of 1.20 s: silence follows\n")
    heard = media.read_audio(file)
    assert len(heard) == 30 * 640
    assert np.abs(heard[: 19 * 640]).max() > 0.2
    assert np.abs(heard[21 * 640 :]).max() < 0.01
    status, _, err, file = run(audio="long.m4a")
    assert status == 0
    assert err.endswith("long.m4a: the sound is cut at 1.20 s, where the video ends (--length audio plays it all)\n")
    assert media.probe(file).n_frames == 30
    assert len(media.read_audio(file)) == 30 * 640


def test_as_long_as_the_sound(run):
    status, _, err, file = run("--length audio", audio="long.m4a")
    assert (status, err, media.probe(file).n_frames) == (0, "", 45)
    status, _, _, file = run("--length audio", audio="short.wav")
    assert (status, media.probe(file).n_frames) == (0, 20)


def test_as_long_as_the_shorter(run):
    for audio, wanted in (("short.wav", 20), ("long.m4a", 30)):
        status, _, _, file = run("--length shortest", audio=audio)
        assert (status, media.probe(file).n_frames) == (0, wanted)


def test_motion_only_takes_the_clips_own_sound(run, made):
    assert run("--motion-only")[0] == 0
    status, _, err, _ = run("--motion-only", audio="short.wav")
    assert (status, err) == (2, "--motion-only takes the driving video's own sound; leave out --audio\n")


def test_silence(run, made, tmp_path):
    status, _, err, file = run(driving="mute.mp4")
    assert status == 0
    assert err.endswith("mute.mp4: has no sound in it: taken as silence\n")
    assert np.abs(media.read_audio(file)).max() == 0
    empty = tmp_path / "empty.wav"  # a header that declares no samples
    empty.write_bytes(
        b"RIFF" + struct.pack("<I4s4sIHHIIHH4sI", 36, b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", 0)
    )
    status, _, err, file = run(audio=empty)
    assert status == 0
    assert err == f"{empty}: has no sound in it: taken as silence\n"
    media.write_audio(tmp_path / "quiet.wav", np.zeros(30 * 640, np.float32))
    assert run(audio=tmp_path / "quiet.wav")[::2] == (0, "")
    status, _, err, _ = run("--length audio", driving="mute.mp4")
    assert status == 2
    assert "mute.mp4: has no sound, and --length audio goes by it" in err


def test_sound_of_48_khz_keeps_its_quality(run, tmp_path):
    t = np.arange(48000 * 2) / 48000
    media.write_audio(tmp_path / "fine.wav", (0.3 * np.sin(2 * np.pi * 12000 * t)).astype(np.float32), 48000)
    status, _, _, file = run(audio=tmp_path / "fine.wav")
    assert status == 0
    assert media.probe(file).sample_rate == 48000
    heard = media.read_audio(file, sample_rate=48000)
    assert len(heard) == 30 * 1920
    assert np.abs(np.fft.rfft(heard)).argmax() * 48000 / len(heard) == pytest.approx(12000, abs=20)


def test_the_canonical_face(run, made, tmp_path):
    status, out, err, _ = run(f"--canonical {tmp_path}/c.png", driving=None)
    assert (status, err) == (0, "")
    assert "the canonical face of" in out
    animator = animate.load(made / "tiny.safetensors", "cpu")
    wanted = animator.canonical(pictures.face(made / "face.png", SIZE, None))
    assert np.array_equal(np.array(Image.open(tmp_path / "c.png")), wanted)
    assert run(f"--canonical {tmp_path}/d.png")[0] == 0  # beside a video
    assert (tmp_path / "d.png").is_file()
    assert (tmp_path / "talk.mp4").is_file()


def test_the_driving_frames_are_cropped_by_one_box(run, made, monkeypatch, tmp_path):
    monkeypatch.setattr(face_detection, "choose", lambda *_: _Planted())
    status, _, err, file = run("--crop auto", driving="wide.mp4")
    assert (status, err) == (0, "")
    animator = animate.load(made / "tiny.safetensors", "cpu")
    source = media.resize(frames(1, 96, seed=5)[:, 8:80, 8:80].copy(), (SIZE, SIZE))[0]
    driving = media.read_video(made / "wide.mp4", size=(SIZE, SIZE), box=(8, 8, 80, 80))
    wanted = np.concatenate(list(animator.animate(source, driving, media.read_audio(made / "wide.mp4"))))
    assert differs(file, wanted) < 0.1


class _Planted:
    def __call__(self, pictures):
        return [np.array([[14, 14, 74, 74, 1.0]]) for _ in pictures]


def test_without_a_detector_it_says_what_to_do(run, monkeypatch):
    for kind in face_detection.DETECTORS.values():
        monkeypatch.setattr(kind, "unavailable", staticmethod(lambda: "not here"))
    status, _, err, _ = run("--crop auto")
    assert status == 2
    assert err.startswith("no face detector: yunet: not here; dlib: not here; ")
    assert err.endswith("cut source and driving to the face and use --crop none\n")


@pytest.mark.parametrize(
    ("more", "files", "said"),
    [
        ("", {"source": "none.png"}, r"none.png: no such file"),
        ("", {"driving": "none.mp4"}, r"none.mp4: no such file"),
        ("", {"audio": "none.wav"}, r"none.wav: no such file"),
        ("", {"audio": "mute.mp4"}, r"mute.mp4: has no audio track"),
        ("", {"driving": "short.wav"}, r"short.wav: has no video track"),
        ("", {"source": "clip.mp4"}, r"clip.mp4: is no picture that can be read; give a PNG, JPEG or WebP"),
        ("", {"driving": "wide.mp4"}, r"wide.mp4: is 128x96, not square; use --crop auto"),
        ("", {"checkpoint": "none.safetensors"}, r"none.safetensors: no such file"),
        ("", {"checkpoint": "face.png"}, r"face.png: not a model file"),
        ("--batch 0", {}, r"--batch 0: give at least 1"),
        ("--device cuda:7", {}, r"device 'cuda:7' cannot be had here; use cpu, cuda"),
        ("--canonical a.jpg", {}, r"a.jpg: the canonical face is written as .png"),
        ("--out talk.avi", {}, r"talk.avi: video is written as .mp4"),
        ("", {"driving": None}, r"nothing to do: give --driving VIDEO and --out MP4, or --canonical PNG"),
        ("--canonical a.png", {"driving": None, "audio": "short.wav"}, r"--audio needs --driving VIDEO"),
        ("--canonical a.png --motion-only", {"driving": None}, r"--motion-only needs --driving VIDEO"),
        ("--canonical a.png --out a.mp4", {"driving": None}, r"--driving VIDEO and --out MP4 go together"),
    ],
)
def test_what_cannot_be_done_is_one_line(run, more, files, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err, _ = run(more, **files)
    assert status == 2
    assert said in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_one_frame(run, tmp_path):
    media.write_video(tmp_path / "one.mp4", frames(1, 96))
    status, _, _, file = run(driving=tmp_path / "one.mp4")
    assert (status, media.probe(file).n_frames) == (0, 1)


def test_files_that_are_damaged(run, made, tmp_path):
    whole = (made / "clip.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    (tmp_path / "cut.safetensors").write_bytes((made / "tiny.safetensors").read_bytes()[:5000])
    (tmp_path / "cut.png").write_bytes((made / "face.png").read_bytes()[:1000])
    for name, file in (("driving", "cut.mp4"), ("checkpoint", "cut.safetensors"), ("source", "cut.png")):
        status, _, err, out = run(**{name: tmp_path / file})
        assert status == 2
        assert err.startswith(str(tmp_path / file))
        assert not out.exists()
    assert not list(tmp_path.glob(".*"))


def test_a_checkpoint_of_another_version_names_the_field(run, made, tmp_path):
    with safe_open(made / "tiny.safetensors", "pt") as file:
        about, tensors = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    recipe = json.loads(about["recipe"])
    recipe["latent"]["depth"] = 3
    save_file(tensors, tmp_path / "later.safetensors", {**about, "recipe": json.dumps(recipe)})
    status, _, err, _ = run(checkpoint=tmp_path / "later.safetensors")
    assert status == 2
    assert "latent.depth" in err
    recipe["latent"].pop("depth")
    recipe["latent"]["hidden"] = 24
    save_file(tensors, tmp_path / "other.safetensors", {**about, "recipe": json.dumps(recipe)})
    status, _, err, _ = run(checkpoint=tmp_path / "other.safetensors")
    assert status == 2
    assert "does not fit the recipe" in err


def test_inputs_are_never_overwritten(run, made, tmp_path):
    shutil.copy(made / "clip.mp4", tmp_path / "mine.mp4")
    status, _, err, _ = run(f"--out {tmp_path}/mine.mp4", driving=tmp_path / "mine.mp4")
    assert status == 2
    assert err.endswith("mine.mp4: is read and would be overwritten; choose another name\n")


def test_an_interrupted_run_leaves_nothing(run, monkeypatch, tmp_path):
    def stopped(self, *_):
        raise KeyboardInterrupt

    monkeypatch.setattr(animate.Animator, "_render", stopped)
    status, _, err, _ = run()
    assert (status, err) == (130, "interrupted; nothing was written\n")
    assert list(tmp_path.iterdir()) == []


def test_errors_that_are_ours_are_not_hidden(run, monkeypatch):
    def broken(self, *_):
        raise ValueError("shapes (3,) and (4,) not aligned")

    monkeypatch.setattr(animate.Animator, "_render", broken)
    with pytest.raises(ValueError, match="not aligned"):
        run()


def test_help_teaches_and_imports_nothing_heavy():
    code = (
        "import runpy, sys\n"
        "sys.argv = ['x', '--help']\n"
        "try:\n"
        "    runpy.run_module('fctfg.generate', run_name='__main__')\n"
        "except SystemExit as e:\n"
        "    assert e.code == 0, e.code\n"
        "assert not {'torch', 'av', 'PIL', 'cv2', 'dlib'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for said in ("--motion-only --out", "--canonical face.canonical.png", "--length audio", "exit status"):
        assert said in done.stdout


# -- the method of the protocols -------------------------------------------------------------------------------------


@pytest.fixture
def method(made, monkeypatch):
    from protocols import methods

    monkeypatch.setenv("FCTFG_CHECKPOINT", str(made / "tiny.safetensors"))
    return methods.load("fctfg.method:FCTFG")


def test_the_method_answers_the_driving_frames_at_256(method):
    from protocols import methods

    assert isinstance(method, methods.Method)
    method.device = "cpu"
    reference, driving, sound = frames(1, 256, seed=3)[0], frames(7, 256, seed=4), tone(7)
    animation = method.animate(reference, driving, sound)
    assert (animation.first_frame, animation.fps, animation.crop) == (1, 25, None)
    made = np.concatenate(list(animation.frames))
    assert made.shape == (7, 256, 256, 3)
    wanted = np.concatenate(list(animate.load(method.weights[0], "cpu").animate(reference, driving, sound)))
    assert np.array_equal(made, media.resize(wanted, (256, 256)))


def test_the_method_records_its_weights(method):
    from protocols import methods

    record = methods.describe(method, "fctfg")
    assert (record["name"], record["kind"], record["version"]) == ("fctfg", "method", "1")
    assert record["controls"] == ["lip", "pose", "blink", "gaze"]
    assert list(record["weights"]) == ["tiny.safetensors"]


def test_without_a_model_the_method_says_how_to_get_one(monkeypatch, tmp_path):
    from protocols import methods

    monkeypatch.setattr(checkpoints, "BUNDLED", tmp_path / "demo.safetensors")
    monkeypatch.delenv("FCTFG_CHECKPOINT", raising=False)
    with pytest.raises(methods.MethodError, match=r"demo.safetensors: .*FCTFG_CHECKPOINT.*fctfg.train") as caught:
        methods.load("fctfg.method:FCTFG")
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("FCTFG_CHECKPOINT", str(tmp_path / "mine.safetensors"))
    with pytest.raises(methods.MethodError, match=r"mine.safetensors: no such file; FCTFG_CHECKPOINT must name"):
        methods.load("fctfg.method:FCTFG")


def test_naming_the_method_imports_no_torch():
    code = "import sys, fctfg.method\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
