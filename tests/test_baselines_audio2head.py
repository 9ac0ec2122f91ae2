"""Audio2Head: its networks against the public code's figures, what is around them against slow literal forms."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import plain_audio2head as plain
import pytest
import torch

from baselines import audio2head, audio2head_box, audio2head_sound
from baselines.nets import audio2head_model
from baselines.nets.audio2head_fomm import Keypoints
from baselines.nets.audio2head_model import Model, load
from baselines.nets.audio2head_motion import WINDOW
from fctfg import media, weights
from protocols import methods

ROOT = Path(__file__).resolve().parent.parent
FACTS = json.loads((ROOT / "tests" / "data" / "audio2head_keys.json").read_text())
NAME = "audio2head.pth.tar"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A weights folder with a file in the official form, of the rule's values."""
    place = tmp_path_factory.mktemp("weights")
    torch.save(plain.official(FACTS["shapes"]), place / NAME)
    return place


@pytest.fixture(scope="module")
def model(folder) -> Model:
    return Model(folder / NAME)


@pytest.fixture
def found(folder, monkeypatch) -> None:
    monkeypatch.setenv("FCTFG_WEIGHTS", str(folder))


@pytest.fixture
def pitch(monkeypatch) -> None:
    """In WORLD's place: a voice wherever 20 ms are loud, its pitch the number of times they change sign."""

    def harvest(samples: np.ndarray, rate: int, frame_period: float) -> tuple[np.ndarray, np.ndarray]:
        assert (samples.dtype, rate, frame_period) == (np.float64, 16000, 10.0)
        times = np.arange(len(samples) // 160 + 1)
        parts = [samples[max(0, 160 * t - 160) : 160 * t + 160] for t in times]
        loud = np.array([np.abs(part).mean() > 0.05 for part in parts])
        return loud * np.array([25.0 * (np.diff(np.sign(part)) != 0).sum() for part in parts]), times / 100

    monkeypatch.setitem(sys.modules, "pyworld", types.SimpleNamespace(harvest=harvest))


def sound(n_samples: int, seed: int = 1) -> np.ndarray:
    """A gliding tone that stops now and then, with a little noise, float32."""
    t = np.arange(n_samples) / 16000
    noise = np.random.default_rng(seed).standard_normal(n_samples)
    tone = np.sin(2 * np.pi * (150 + 60 * seed + 200 * t) * t) * (np.sin(2 * np.pi * 6 * t) > -0.3)
    return (0.3 * tone + 0.01 * noise).astype(np.float32)


def face() -> np.ndarray:
    return (plain.picture()[0].permute(1, 2, 0) * 255).to(torch.uint8).numpy()


def one_line(failure: pytest.ExceptionInfo) -> bool:
    return "\n" not in str(failure.value)


# ---------------------------------------------------------------------------------------------------------- networks


def test_networks_give_the_public_codes_numbers(model):
    box = torch.zeros(64, 256, 256)
    for i in range(64):
        box[i, 40 + i : 200, 60 + i : 62 + i] = box[i, 40 + i : 42 + i, 60 : 200 - i] = 255
    with torch.inference_mode():
        picture, heard = plain.picture(), plain.heard(64)
        here, there = model.detector(picture), model.spoken(picture, heard, box)
        seen = model.generator.look(picture)
        tenth = Keypoints(there.place[10:11], there.jacobian[10:11])
        moved, visible = model.generator.dense_motion_network(seen.small, here, tenth)
        made = {
            "poses": model.poses(picture, heard),
            "spoken places": there.place,
            "spoken jacobians": there.jacobian,
            "places": here.place,
            "jacobians": here.jacobian,
            "occlusion": visible,
            "moved": moved,
            "picture": model.generator(seen, here, tenth),
        }
    assert made.keys() == FACTS["outputs"].keys()
    for name, theirs in FACTS["outputs"].items():
        flat = made[name].flatten()
        ours = flat[:: (len(flat) // 8) | 1][:8].numpy()
        assert np.abs(ours - theirs).max() < 1e-4 * max(1.0, np.abs(theirs).max()), name
        assert np.std(theirs) > 0.03, f"{name}: too flat to prove anything"


def test_the_generator_redraws_several_pictures_at_once(model):
    pictures = torch.cat((plain.picture(), plain.picture(3)))[..., :128, 64:192]
    with torch.inference_mode():
        here = model.detector(torch.cat((plain.picture(), plain.picture(3))))
        there = Keypoints(here.place.flip(0) * 0.9, here.jacobian.flip(0))
        together = model.generator(model.generator.look(pictures), here, there)
        for i in range(2):
            one = [Keypoints(k.place[i : i + 1], k.jacobian[i : i + 1]) for k in (here, there)]
            alone = model.generator(model.generator.look(pictures[i : i + 1]), *one)
            assert torch.allclose(together[i : i + 1], alone, atol=1e-4)
    assert together.shape == (2, 3, 128, 128)
    assert (together[0] - together[1]).abs().mean() > 0.01


# -------------------------------------------------------------------------------------------------------- checkpoint


def zeros() -> dict[str, dict[str, torch.Tensor]]:
    """The official form with zeros that take no room."""
    return {
        part: {key: torch.zeros((), dtype=torch.float32).expand(shape) for key, shape in keys.items()}
        for part, keys in FACTS["shapes"].items()
    }


def test_every_official_tensor_is_taken_and_nothing_else_is_wanted(tmp_path):
    torch.save({**zeros(), "epoch": 7, "discriminator": {"w": torch.ones(1)}}, tmp_path / NAME)
    nets = load(tmp_path / NAME)
    assert tuple(nets) == tuple(FACTS["shapes"])
    for part, net in nets.items():
        ours = {key: list(value.shape) for key, value in net.state_dict().items()}
        assert ours == FACTS["shapes"][part]
        assert all(not value.any() for value in net.state_dict().values()), "not the file's values"
        assert not net.training
    assert sum(p.numel() for net in nets.values() for p in net.parameters()) == 188_846_909


def changed(state: dict, change: str) -> dict:
    key = "down_blocks.1.conv.weight"
    if change == "missing":
        del state["generator"][key]
    elif change == "extra":
        state["audio2kp"]["kp.scale"] = torch.zeros(3)
    elif change == "shape":
        state["generator"][key] = torch.zeros(256, 128, 5, 5)
    elif change == "wrapped":
        state["audio2pose"] = {f"module.{name}": value for name, value in state["audio2pose"].items()}
    elif change == "fomm":
        del state["audio2kp"], state["audio2pose"]
    elif change == "swapped":
        state["generator"], state["kp_detector"] = state["kp_detector"], state["generator"]
    elif change == "nested":
        return {"state_dict": state}
    elif change == "no tensor":
        state["generator"][key] = "here"
    return state


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("missing", "'generator.down_blocks.1.conv.weight' is missing"),
        ("extra", "'audio2kp.kp.scale' is not expected"),
        ("shape", r"\(256, 128, 5, 5\)"),
        ("wrapped", "'audio2pose.em_audio.resnet.conv1.weight' is missing"),
        ("fomm", "is not Audio2Head's, it has no audio2kp, audio2pose; get audio2head.pth.tar"),
        ("swapped", "is missing"),
        ("nested", "it has no kp_detector, generator, audio2kp, audio2pose"),
        ("no tensor", "is no tensor"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(tmp_path, change, said):
    path = tmp_path / NAME
    torch.save(changed(zeros(), change), path)
    with pytest.raises(weights.WeightsError, match=said) as failure:
        load(path)
    assert str(path) in str(failure.value)
    assert one_line(failure)


def test_truncated_or_running_code_is_refused(tmp_path):
    path = tmp_path / NAME
    torch.save(zeros(), path)
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(weights.WeightsError, match="get the file again") as failure:
        load(path)
    assert one_line(failure)
    torch.save({**zeros(), "generator": subprocess.Popen}, path)
    with pytest.raises(weights.WeightsError, match="refused"):
        load(path)


# ------------------------------------------------------------------------------------------------------------- sound


@pytest.mark.parametrize("n", [721, 1040, 3203])
def test_rows_are_the_literal_ones(pitch, n):
    rows = audio2head_sound.features(sound(n))
    whole = np.rint(sound(n).astype(np.float64) * 32768)
    whole = (whole - whole.mean()) / np.abs(whole - whole.mean()).max()
    theirs = plain.spectral_rows(whole.tolist())
    assert rows.shape == (1 + -(-(n - 400) // 160), 41)
    assert np.abs(rows[:, :39] - theirs).max() < 1e-4
    assert np.abs(audio2head_sound.cepstra_and_energies(whole) - theirs).max() < 1e-9
    raw, _ = sys.modules["pyworld"].harvest(whole, 16000, 10.0)
    assert np.array_equal(rows[:, 40], (raw != 0)[: len(rows)])
    assert np.allclose(rows[:, 39], plain.without_gaps(raw.tolist())[: len(rows)])


def test_gaps_of_the_pitch_are_filled():
    rng = np.random.default_rng(0)
    for share in (0.0, 0.1, 0.5, 0.9, 1.0):
        for _ in range(20):
            pitch = rng.uniform(80, 300, rng.integers(1, 25))
            pitch[rng.random(len(pitch)) < share] = 0
            assert np.allclose(audio2head_sound.without_gaps(pitch), plain.without_gaps(pitch.tolist()))


def test_real_speech_gives_the_packages_rows(real):
    psf = pytest.importorskip("python_speech_features")
    world = pytest.importorskip("pyworld")
    path = sorted((real / "voxceleb2" / "test" / "mp4" / "id90001").rglob("*.mp4"))[0]
    audio = media.read_audio(path, stop=2.0)
    samples = audio2head_sound.levelled(audio)
    rows = audio2head_sound.features(audio)
    count = len(rows)
    assert np.allclose(rows[:, :13], psf.mfcc(samples, 16000)[:count], atol=1e-5)
    assert np.allclose(rows[:, 13:39], psf.logfbank(samples, 16000)[:count], atol=1e-5)
    raw, _ = world.harvest(samples, 16000, frame_period=10)
    assert np.allclose(rows[:, 39], plain.without_gaps(raw.tolist())[:count], atol=1e-4)
    assert np.array_equal(rows[:, 40] == 1, raw[:count] > 0)
    assert 0.3 < rows[:, 40].mean() < 1


def test_loudness_and_offset_do_not_matter_and_silence_is_silence(pitch):
    rows = audio2head_sound.features(sound(3200))
    assert np.abs(rows - audio2head_sound.features(0.5 * sound(3200) + 0.1)).max() < 0.3  # 16 bits
    for silent in (np.zeros(3200, np.float32), np.full(3200, 0.25, np.float32)):
        rows = audio2head_sound.features(silent)
        assert np.isfinite(rows).all()
        assert not rows[:, 39:].any()
        assert np.allclose(rows[:, 13:39], np.log(2.0**-52))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (np.zeros(0), "no sound"),
        (None, "no sound"),
        (np.zeros((2, 1000)), "no sound"),
        (np.zeros(720), r"0\.045 s are needed"),
        (np.array([np.nan] * 800), "no numbers"),
    ],
)
def test_what_is_no_sound_is_one_line(pitch, bad, said):
    with pytest.raises(audio2head_sound.SoundError, match=said) as failure:
        audio2head_sound.features(bad)
    assert one_line(failure)


# ------------------------------------------------------------------------------------------------------------- boxes


def poses(count: int, spread: float) -> np.ndarray:
    rng = np.random.default_rng(3)
    return audio2head_model.scaled(rng.uniform(-spread, spread, (count, 6)).astype(np.float32))


@pytest.mark.parametrize("spread", [0.5, 1.0, 2.5])
def test_boxes_are_the_literal_ones(spread):
    real = poses(12, spread)
    real[0, :3] = 0
    real[1] = [0, 0, 0, 0, 0, 1e-3]  # nearly all points far out
    ours = audio2head_box.boxes(real[:, :3], real[:, 3:])
    assert ours.dtype == np.float32
    assert set(np.unique(ours)) == {0.0, 255.0}
    for picture, pose in zip(ours, real.astype(float).tolist(), strict=True):
        assert np.array_equal(picture, plain.box(pose[:3], pose[3:]))


def test_opencv_draws_the_same_boxes():
    cv2 = pytest.importorskip("cv2")
    real = poses(30, 0.3)
    real[:, 3:5] *= 0.3
    ours = audio2head_box.boxes(real[:, :3], real[:, 3:])
    camera = np.array([[233.333, 0, 128], [0, 233.333, 128], [0, 0, 1]])
    for picture, pose in zip(ours, real, strict=True):
        places, _ = cv2.projectPoints(audio2head_box.CORNERS, pose[:3], pose[3:], camera, np.zeros((4, 1)))
        places = places.reshape(-1, 2).astype(np.int32)
        assert places.min() > 2  # OpenCV 5 draws what leaves the picture otherwise than OpenCV 4
        assert places.max() < 253
        theirs = np.zeros((256, 256))
        cv2.polylines(theirs, [places], True, (255,), 2, cv2.LINE_AA)
        for a, b in ((1, 6), (2, 7), (3, 8)):
            cv2.line(theirs, places[a].tolist(), places[b].tolist(), (255,), 2, cv2.LINE_AA)
        assert np.array_equal(picture, theirs)


# --------------------------------------------------------------------------------------------------------- inference


def test_every_frame_is_made_once_from_the_right_window():
    for count in (1, 2, 47, 48, 49, 64, 79, 80, 81, 200):
        ours = [
            (start // 32, i - start) for start, first, last in audio2head_model.spans(count) for i in range(first, last)
        ]
        assert ours == plain.which_frames(count)
    assert list(audio2head_model.spans(0)) == []


@pytest.mark.parametrize("start", [0, 64])
def test_windows_are_the_literal_ones(model, start):
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((4 * 75 + 3, 41)).astype(np.float32)
    given = rng.uniform(-1, 1, (76, 6)).astype(np.float32)
    heard = torch.from_numpy(rows[:300].reshape(75, 4, 41))
    sound, drawn = model.window(heard, given, start)
    theirs = plain.window(rows, given, start // 32)
    assert np.array_equal(sound.numpy(), theirs[0])
    assert np.array_equal(drawn.numpy(), theirs[1])


class Counting:
    """In the networks' places: a frame's grey level says which window it is from, and which place in it."""

    def __init__(self) -> None:
        self.windows = 0

    def spoken(self, picture, heard, boxes) -> Keypoints:
        place = torch.tensor([[self.windows, i] for i in range(WINDOW)], dtype=torch.float32)
        self.windows += 1
        return Keypoints(place[:, None], torch.zeros(WINDOW, 1, 2, 2))

    def look(self, picture) -> None:
        assert picture.shape == (1, 3, 256, 256)

    def __call__(self, seen, here, there) -> torch.Tensor:
        assert 1 <= len(there.place) <= audio2head_model.BATCH
        grey = (there.place[:, 0, 0] * 64 + there.place[:, 0, 1] + 0.5) / 255
        return grey[:, None, None, None].expand(-1, 3, 256, 256)


@pytest.mark.parametrize(("rows", "wanted"), [(4 * 100 + 3, 100), (4 * 100, 90), (40, None), (3, None)])
def test_long_sounds_are_stitched(model, monkeypatch, rows, wanted):
    fake = Counting()
    monkeypatch.setattr(model, "spoken", fake.spoken)
    monkeypatch.setattr(model, "generator", fake)
    count = rows // 4 if wanted is None else wanted
    if not rows // 4:
        assert list(model.frames(face(), np.zeros((rows, 41), np.float32), wanted)) == []
        return
    made = np.concatenate(list(model.frames(face(), plain.heard(rows)[:, 0].numpy(), wanted)))
    assert made[:, 0, 0, 0].tolist() == [64 * window + place for window, place in plain.which_frames(count)]
    assert fake.windows == plain.which_frames(count)[-1][0] + 1


def test_whole_method_is_the_literal_one(found, pitch, model, monkeypatch):
    given = []
    spoken = model.spoken
    monkeypatch.setattr(model, "spoken", lambda *inputs: given.append((inputs, spoken(*inputs))) or given[-1][1])
    method = audio2head.Audio2Head()
    method._model = model
    reference, driving, audio = face(), np.zeros((4, 256, 256, 3), np.uint8), sound(640 * 4)
    animation = method.animate(reference, driving, audio)
    frames = np.concatenate(list(animation.frames))
    assert (animation.first_frame, animation.fps, animation.crop) == (1, 25.0, None)
    assert frames.shape == (3, 256, 256, 3)  # the fourth has no whole row

    rows = audio2head_sound.features(audio)
    picture = torch.from_numpy(reference).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        heads = model.poses(picture, torch.from_numpy(rows[:12].reshape(3, 4, 41)))
        ((seen, heard, drawn), there) = given[0]
        theirs = plain.window(rows, heads.numpy(), 0)
        assert torch.allclose(seen, picture)
        assert np.array_equal(heard.numpy(), theirs[0])
        assert np.array_equal(drawn.numpy(), theirs[1])
        last = Keypoints(there.place[2:3], there.jacobian[2:3])
        made = model.generator(model.generator.look(picture), model.detector(picture), last)
    theirs = (made[0].permute(1, 2, 0) * 255).numpy().astype(np.uint8)
    assert np.abs(frames[2].astype(int) - theirs).max() <= 1
    assert frames.std() > 10
    assert np.abs(np.diff(frames.astype(int), axis=0)).mean((1, 2, 3)).min() > 0.5, "does not move"

    other = list(method.animate(reference, driving[:1], sound(640 * 4, seed=2)).frames)
    assert [chunk.shape for chunk in other] == [(1, 256, 256, 3)]
    assert np.abs(other[0][0].astype(int) - frames[0]).mean() > 0.5, "does not hear"


# -------------------------------------------------------------------------------------------------------- the method


def test_without_weights_one_line_says_what_to_fetch(tmp_path, monkeypatch, pitch):
    for place in ("FCTFG_WEIGHTS", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.setenv(place, str(tmp_path))
    with pytest.raises(methods.MethodError, match=r"audio2head\.pth\.tar.*wangsuzhen/Audio2Head") as failure:
        methods.load("audio2head")
    assert one_line(failure)


def test_without_pyworld_one_line_names_the_extra(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyworld", None)
    with pytest.raises(methods.MethodError, match=r"pip install 'fctfg\[audio2head\]'") as failure:
        methods.load("audio2head")
    assert one_line(failure)


@pytest.mark.parametrize("right", [True, False])
def test_a_file_that_is_not_the_official_one_is_marked(found, folder, monkeypatch, pitch, right):
    method = methods.load("audio2head")
    assert "not verified" in method.unofficial
    assert method.unofficial in method.description
    assert method.weights == [folder / NAME]
    entry = weights.entry("audio2head")
    known = replace(entry.files[0], sha256=weights.sha256(folder / NAME) if right else "0" * 64)
    monkeypatch.setitem(weights.CATALOGUE, "audio2head", replace(entry, files=(known,)))
    assert ("not the official file" in methods.load("audio2head").description) is not right
    assert bool(methods.load("audio2head").unofficial) is not right


def test_listing_it_imports_nothing_heavy_and_shows_licence_and_source():
    code = (
        "import sys; from baselines.audio2head import Audio2Head as m\n"
        "print(m.name, sorted(m.controls), m.description)\n"
        "assert not {'torch', 'pyworld', 'scipy', 'cv2', 'av'} & set(sys.modules), sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("audio2head ['lip']")
    assert "no licence stated" in done.stdout
    assert "Wang et al., IJCAI 2021" in done.stdout
