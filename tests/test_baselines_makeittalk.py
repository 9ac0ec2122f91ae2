"""MakeItTalk: its networks against the public code's figures, its files, and the method as a whole."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import plain_makeittalk as plain
import pytest
import torch

from baselines import makeittalk
from baselines.nets import makeittalk_face as face
from baselines.nets import makeittalk_points as points
from baselines.nets import makeittalk_sound as sound
from baselines.nets import makeittalk_speaker as speaker
from baselines.nets.makeittalk_checkpoint import load, table
from baselines.nets.makeittalk_model import NETWORKS, TABLES, Model
from fctfg import weights

ROOT = Path(__file__).resolve().parent.parent
FACTS = json.loads((ROOT / "tests" / "data" / "makeittalk_keys.json").read_text())
SMALL = "ckpt_content_branch.pth"


def official(name: str, prefix: str = "") -> dict:
    """A checkpoint in the official file's form, of the rule's values; its tensors share memory with themselves."""
    shapes = FACTS["shapes"][name].items()
    state = {prefix + key: torch.from_numpy(plain.weight(key, tuple(shape))) for key, shape in shapes}
    return {FACTS["parts"][name]: state, "epoch": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A weights folder in the official form."""
    place = tmp_path_factory.mktemp("weights")
    for name in NETWORKS:
        path = place / ("resemblyzer" if name == "pretrained.pt" else "makeittalk") / name
        path.parent.mkdir(exist_ok=True)
        torch.save(official(name), path)
    tables = {name: plain.numbers(shape, name) for name, shape in TABLES.items()}
    tables["obama_emb.txt"] = np.abs(tables["obama_emb.txt"])
    tables["MEAN_STD_AUTOVC_RETRAIN_MEL_AU.txt"] = np.repeat([0.1, 0.9], 80)
    tables["STD_FACE_LANDMARKS.txt"] = plain.average_face() / 100
    for name, values in tables.items():
        np.savetxt(place / "makeittalk" / name, values)
    return place


@pytest.fixture(scope="module")
def model(folder) -> Model:
    return Model({path.name: path for path in folder.glob("*/*")})


@pytest.fixture
def found(folder, monkeypatch) -> None:
    pytest.importorskip("cv2")
    monkeypatch.setenv("FCTFG_WEIGHTS", str(folder))
    monkeypatch.setattr(points, "files", lambda name: [])


@pytest.fixture
def method(found, model):
    """The method with landmarks that are known."""
    made = makeittalk.MakeItTalk()
    made._model, made._points = model, lambda picture: plain.average_face()[None, :, :2]
    return made


def picture(side: int = 256) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    return np.stack([127 + 100 * np.sin(x / (19 + 4 * c)) * np.cos(y / 31) for c in range(3)], -1).astype(np.uint8)


def one_line(failure) -> str:
    assert "\n" not in str(failure.value)
    return str(failure.value)


# ---------------------------------------------------------------------------------------------------------- networks


def test_networks_give_the_public_codes_numbers(model):
    def given(name: str, *shape: int) -> torch.Tensor:
        return torch.from_numpy(plain.numbers(shape, name))

    with torch.inference_mode():
        voices = (given(name, 1, 256).abs() for name in ("speaker", "target"))
        who, target = voices
        made = {
            "autovc": model.autovc(given("mel", 1, 64, 80), who, given("pitch", 1, 64, 257), target),
            "content": model.content(given("windows", 4, 18, 80), given("face", 1, 204)),
            "speaker": model.speaker(given("windows", 12, 18, 80), who[0]),
            "picture": model.picture(given("pictures", 1, 6, 256, 256).abs()),
            "voice": model.voice(given("power", 2, 160, 40).abs()),
        }
    for name, theirs in FACTS["outputs"].items():
        flat = made[name].flatten()
        ours = flat[:: max(1, len(flat) // 8)][:8].numpy()
        assert np.abs(ours - theirs).max() < 1e-4 * max(1.0, np.abs(theirs).max()), name
        assert np.std(theirs) > 0.01, f"{name}: too flat to prove anything"


def test_long_sound_is_converted_in_stretches(model, monkeypatch):
    from baselines.nets import makeittalk_autovc as autovc

    mel, pitch = torch.rand(150, 80), torch.rand(150, 257)
    who, target = torch.rand(2, 256)
    with torch.inference_mode():
        parts = [model.autovc.converted(mel[a:b], who, pitch[a:b], target) for a, b in ((0, 64), (64, 128), (128, 150))]
        monkeypatch.setattr(autovc, "CHUNK", 64)
        together = model.autovc.converted(mel, who, pitch, target)
    assert together.shape == (150, 80)
    assert torch.allclose(together, torch.cat(parts), atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_official_tensor_is_accounted_for(name, tmp_path):
    torch.save(official(name, "module."), tmp_path / name)
    network = load(NETWORKS[name](), tmp_path / name)
    assert not network.training
    for key, value in network.state_dict().items():
        assert torch.equal(value, torch.from_numpy(plain.weight(key, tuple(value.shape)))), key


def test_what_inference_does_not_need_may_be_absent_or_of_any_size(tmp_path):
    whole = official("ckpt_speaker_branch.pth")
    whole["G"]["comb_mlp.0.weight"] = torch.zeros(3)
    whole["G"] = {key: value for key, value in whole["G"].items() if not key.startswith("decoder.")}
    torch.save(whole, tmp_path / "speaker.pth")
    load(NETWORKS["ckpt_speaker_branch.pth"](), tmp_path / "speaker.pth")


def test_an_optimiser_that_was_pickled_whole_is_passed_over(tmp_path, monkeypatch):
    class Adam:
        """As PyTorch 1 pickles one."""

        __module__, __qualname__ = "torch.optim.adam", "Adam"

    whole, parameter = official(SMALL), torch.nn.Parameter(torch.ones(3))
    whole["opt"] = Adam()
    whole["opt"].state = defaultdict(dict, {parameter: {"step": 4, "exp_avg": torch.zeros(3)}})
    whole["opt"].param_groups = [{"params": [parameter], "lr": 1e-4, "betas": (0.5, 0.999)}]
    monkeypatch.setattr(importlib.import_module("torch.optim.adam"), "Adam", Adam)
    torch.save(whole, tmp_path / SMALL)
    monkeypatch.undo()
    load(NETWORKS[SMALL](), tmp_path / SMALL)
    whole["opt"] = subprocess.Popen
    torch.save(whole, tmp_path / SMALL)
    with pytest.raises(weights.WeightsError, match="refused") as failure:
        load(NETWORKS[SMALL](), tmp_path / SMALL)
    one_line(failure)


def changed(whole: dict, change: str) -> dict:
    state = whole["model_g_face_id"]
    if change == "missing":
        del state["fc.6.bias"]
    elif change == "extra":
        state["fc.7.bias"] = torch.zeros(3)
    elif change == "shape":
        state["fc.6.bias"] = torch.zeros(136)
    elif change == "other":
        return official("ckpt_autovc.pth")
    elif change == "bare":
        return state
    elif change == "text":
        state["fc.6.bias"] = "none"
    return whole


@pytest.mark.parametrize(
    ("change", "said"),
    [("missing", "fc.6.bias"), ("extra", "fc.7.bias"), ("shape", r"\(136,\)"), ("other", "no weights under 'model_g"),
     ("bare", "no weights under"), ("text", "fc.6.bias")],
)  # fmt: skip
def test_a_wrong_file_is_one_line_that_names_it(tmp_path, change, said):
    torch.save(changed(official(SMALL), change), tmp_path / SMALL)
    with pytest.raises(weights.WeightsError, match=said) as failure:
        load(NETWORKS[SMALL](), tmp_path / SMALL)
    assert str(tmp_path / SMALL) in one_line(failure)


def test_truncated_files_and_tables_that_are_none_are_one_line(tmp_path):
    path = tmp_path / SMALL
    torch.save(official(SMALL), path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(weights.WeightsError, match=SMALL) as failure:
        load(NETWORKS[SMALL](), path)
    one_line(failure)
    for text, said in (("1 2\n3 4\n", r"\(2, 2\)"), ("<html>\n", "cannot be read as numbers")):
        (tmp_path / "table.txt").write_text(text)
        with pytest.raises(weights.WeightsError, match=said) as failure:
            table(tmp_path / "table.txt", (3,))
        assert "table.txt" in one_line(failure)


def test_embedding_has_length_one_and_hears_who_not_how_loud(model):
    def embedded(x: np.ndarray) -> torch.Tensor:
        return model.voice.embedding(sound.sixteen_bits(x))

    voice = plain.voice(2.5)
    one = embedded(voice)
    assert one.shape == (256,)
    assert abs(one.norm() - 1) < 1e-5
    assert (embedded(0.05 * voice) - embedded(0.04 * voice)).norm() < 0.05  # both are raised to -30 dB
    assert (one - embedded(plain.voice(2.5, 90))).norm() > 1e-3
    quiet = speaker.raised(np.float32(0.01) * voice.astype(np.float32))
    assert abs(20 * math.log10(np.sqrt(np.mean(quiet.astype(float) ** 2))) + 30) < 0.01


# -------------------------------------------------------------------------------------------------------- the method


class Mirror:
    """In the picture network's place: gives back what it is shown."""

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures[:, 3:]


def speech(frames: int) -> np.ndarray:
    return plain.voice(frames / 25).astype(np.float32)


@pytest.mark.parametrize(("driving", "heard"), [(20, 20), (13, 17), (30, 16)])
def test_frames_answer_the_sound(method, monkeypatch, driving, heard):
    monkeypatch.setattr(method._model, "picture", Mirror())
    animation = method.animate(picture(), np.zeros((driving, 256, 256, 3), np.uint8), speech(heard))
    frames = np.concatenate(list(animation.frames))
    faces = heard * 640 // 256 + 1 - 18
    assert len(frames) == min(driving, math.ceil(faces / 2.5))
    assert (animation.first_frame, animation.fps, animation.crop) == (1, 25.0, None)
    assert all(np.array_equal(frame, picture()) for frame in frames)


def test_whole_method_speaks(method):
    frames = np.concatenate(list(method.animate(picture(), np.zeros((2, 256, 256, 3), np.uint8), speech(16)).frames))
    assert frames.shape == (2, 256, 256, 3)
    assert frames.dtype == np.uint8
    assert frames.std() > 2
    assert (frames == 0).mean() < 0.1
    assert (frames[0] != frames[1]).any()


def test_faces_follow_the_sound_and_repeat_themselves(model):
    rest = face.at_rest(plain.average_face()[:, :2], plain.average_face()[:, 2])
    heard = sound.sixteen_bits(speech(16))
    one, again, other = (model.faces(samples, rest) for samples in (heard, heard, heard[::-1].copy()))
    assert np.array_equal(one, again)
    assert np.abs(one - other).max() > 2
    assert np.ptp(one, axis=0).max() > 2


def test_two_segments_and_a_rest_too_short(method, monkeypatch):
    from baselines.nets import makeittalk_model

    monkeypatch.setattr(makeittalk_model, "SEGMENT", 30)
    rest = face.at_rest(plain.average_face()[:, :2], plain.average_face()[:, 2])
    for columns, faces in ((39, 30), (40, 40)):
        samples = sound.sixteen_bits(plain.voice(1.0))[: (columns + 17) * 256]
        assert len(method._model.faces(samples, rest)) == faces


@pytest.mark.parametrize(
    ("heard", "said"),
    [(np.zeros(16000, np.float32), "silent"), (np.zeros(0, np.float32), "0.000 s"), (speech(12), "0.512 s are"),
     (np.full(16000, np.nan), "finite"), (np.zeros((16000, 2)), "one channel"), (None, "one channel")],
    ids=["silent", "empty", "short", "nan", "stereo", "absent"],
)  # fmt: skip
def test_no_sound_to_speak_of_is_one_line(method, heard, said):
    with pytest.raises(makeittalk.MakeItTalkError, match=said) as failure:
        list(method.animate(picture(), np.zeros((9, 256, 256, 3), np.uint8), heard).frames)
    assert one_line(failure).startswith("makeittalk: ")


def test_sound_without_voice_still_moves_the_face(method):
    rest = face.at_rest(plain.average_face()[:, :2], plain.average_face()[:, 2])
    hiss = sound.sixteen_bits(0.02 * np.sin(np.arange(12000) ** 2 * 0.7))
    assert len(method._model.faces(hiss, rest)) == 29


@pytest.mark.parametrize("n_faces", [0, 2])
def test_not_one_face_is_one_line(method, n_faces):
    method._points = lambda frame: np.zeros((n_faces, 68, 2))
    with pytest.raises(makeittalk.MakeItTalkError, match=r"(no|2) faces found in the first frame") as failure:
        list(method.animate(picture(), np.zeros((9, 256, 256, 3), np.uint8), speech(20)).frames)
    one_line(failure)
    with pytest.raises(makeittalk.MakeItTalkError, match="128, 128, 3"):
        list(method.animate(picture(128), np.zeros((9, 128, 128, 3), np.uint8), speech(20)).frames)


def test_real_clip_with_dlibs_points(found, real, model, monkeypatch):
    from fctfg import media

    monkeypatch.undo()
    pytest.importorskip("dlib")
    if weights.find("dlib68") is None:
        pytest.skip(weights.missing("dlib68"))
    path = sorted((real / "voxceleb2" / "test" / "mp4" / "id90001").rglob("*.mp4"))[0]
    still = media.read_video(path, size=(256, 256), stop=1)[0]
    where = points.backend("dlib")(still)
    assert where.shape == (1, 68, 2)
    moving = model.faces(sound.sixteen_bits(media.read_audio(path, stop=1.0)), face.at_rest(where[0], model.depths))
    assert moving.shape == (63 - 18, 68, 2)
    assert np.abs(np.median(moving, 0) - where[0]).mean() < 40
    assert np.ptp(moving, axis=0).max() > 2


def test_without_weights_one_line_says_what_to_fetch(tmp_path, monkeypatch, found, folder):
    for variable in ("FCTFG_WEIGHTS", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(weights.MissingWeights, match=r"ckpt_autovc\.pth.*yzhou359/MakeItTalk") as failure:
        makeittalk.MakeItTalk()
    one_line(failure)
    (tmp_path / "makeittalk").symlink_to(folder / "makeittalk")
    with pytest.raises(weights.MissingWeights, match=r"pretrained\.pt.*fetch resemblyzer") as failure:
        makeittalk.MakeItTalk()
    one_line(failure)


def test_landmarks_ask_for_their_files(monkeypatch, folder, tmp_path):
    pytest.importorskip("face_alignment")
    monkeypatch.setenv("FCTFG_WEIGHTS", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(weights.MissingWeights, match=r"3DFAN4.*makeittalk-dlib") as failure:
        makeittalk.MakeItTalk()
    one_line(failure)


def test_files_that_are_not_known_to_be_the_official_ones_are_marked(method):
    for said in ("not the official file", "not verified", "obama_emb.txt", "ckpt_autovc.pth"):
        assert said in method.description
    assert [path.name for path in method.weights] == [*[*NETWORKS][:4], *TABLES, "pretrained.pt"]


def test_listing_it_imports_nothing_heavy_and_shows_licence_and_source():
    code = (
        "import sys; from baselines import makeittalk\n"
        "for m in (makeittalk.MakeItTalk, makeittalk.MakeItTalkDlib):\n"
        "    print(m.name, sorted(m.controls), m.description)\n"
        "assert not {'torch', 'dlib', 'cv2', 'face_alignment', 'av', 'scipy'} & set(sys.modules), sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for line, name in zip(done.stdout.splitlines(), ("makeittalk ", "makeittalk-dlib "), strict=True):
        assert line.startswith(name)
        for said in ("['lip']", "CC BY-NC 4.0", "Zhou et al., SIGGRAPH Asia 2020"):
            assert said in line
