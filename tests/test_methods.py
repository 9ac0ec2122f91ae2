"""Methods: names, shapes, ready-made folders, external programs."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from fctfg import media
from fctfg.animation import Animation
from protocols import methods
from protocols.external import ExternalCommand
from protocols.methods import MethodError
from protocols.ready_made import ReadyMadeVideos, infer_first_frame


@pytest.fixture(scope="module")
def clip():
    """(reference, driving, audio): two seconds of a moving gradient and a tone."""
    t, y, x = np.mgrid[0:50, 0:64, 0:64]
    frames = np.stack([(x + 2 * t) % 256, (y + t) % 256, (x + y) % 256], -1).astype(np.uint8)
    audio = np.sin(np.arange(49 * 640) * 0.1).astype(np.float32) * 0.3
    return frames[0], frames[1:], audio


def test_unknown_names_list_the_known_and_guess():
    with pytest.raises(MethodError, match=r"did you mean 'still'.*truth, reencode, still, shuffled-audio.*videos:DIR"):
        methods.load("stil")


@pytest.mark.parametrize("name", methods.CONTROLS)
def test_controls_have_the_shape_and_say_what_they_are(name):
    method = methods.load(name)
    assert isinstance(method, methods.Method)
    record = methods.describe(method, name)
    assert record["kind"] == "control"
    assert record["description"]


def test_truth_is_the_driving_array_itself_and_reencode_is_not(clip):
    assert methods.load("truth").animate(*clip).frames is clip[1]
    assert methods.load("reencode").animate(*clip).frames is not clip[1]
    assert np.array_equal(np.stack(list(methods.load("reencode").animate(*clip).frames)), clip[1])
    assert (methods.load("still").animate(*clip).frames == clip[0]).all()


def test_a_class_of_ones_own(tmp_path, monkeypatch, clip):
    (tmp_path / "my_method.py").write_text(
        "class Mirror:\n"
        "    name = 'mirror'\n"
        "    controls = frozenset({'pose'})\n"
        "    def animate(self, reference, driving, audio):\n"
        "        from fctfg.animation import Animation\n"
        "        return Animation(driving[:, :, ::-1])\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    method = methods.load("my_method:Mirror", name="flip")
    assert method.name == "flip"
    assert np.array_equal(method.animate(*clip).frames, clip[1][:, :, ::-1])
    before = methods.describe(method, "my_method:Mirror")["version"]
    assert len(before) == 64  # unversioned classes go by their source file, so edits are noticed
    (tmp_path / "my_method.py").write_text((tmp_path / "my_method.py").read_text() + "# changed\n")
    assert methods.describe(method, "my_method:Mirror")["version"] != before


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_such_module:Thing", "cannot import no_such_module"),
        ("protocols.methods:Nothing", "has no class Nothing"),
        ("fractions:Fraction", "has no animate"),
        ("pathlib:PurePath", "has no animate"),
        ("videos:/no/such/folder", "no such folder"),
        ("command:", "names no program"),
        ("command:cp {driving} x.mp4", "needs {output}"),
        ("command:cp {film} {output}", "needs {output}"),
        ("command:cp '{driving} {output}", "cannot be split"),
        ("command:@speed=3 cp {driving} {output}", "unknown option @speed"),
    ],
)
def test_what_cannot_be_had_is_one_line(spec, message):
    with pytest.raises(MethodError, match=message) as caught:
        methods.load(spec)
    assert "\n" not in str(caught.value)


# -- external programs ------------------------------------------------------------------------------------------------


def test_external_program_gets_files_and_gives_a_video(clip):
    method = ExternalCommand("@name=copy @controls=lip,pose cp {driving} {output}")
    assert (method.name, method.controls) == ("copy", {"lip", "pose"})
    animation = method.animate(*clip)
    assert isinstance(animation, Animation)
    assert np.array_equal(animation.frames, clip[1])  # the driving file is RGB-exact


def test_external_program_sees_reference_and_sound(tmp_path, clip):
    script = tmp_path / "tool.py"
    script.write_text(
        "import shutil, sys\n"
        f"shutil.copy(sys.argv[1], {str(tmp_path / 'seen.png')!r})\n"
        f"shutil.copy(sys.argv[2], {str(tmp_path / 'seen.wav')!r})\n"
        "shutil.copy(sys.argv[3], sys.argv[4])\n"
    )
    method = ExternalCommand(f"{sys.executable} {script} {{reference}} {{audio}} {{driving}} {{output}}")
    method.animate(*clip)
    from PIL import Image

    assert np.array_equal(np.asarray(Image.open(tmp_path / "seen.png")), clip[0])
    heard = media.read_audio(tmp_path / "seen.wav")
    assert len(heard) == len(clip[2])
    assert np.abs(heard - clip[2]).max() < 1e-4


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("/no/such/program {output}", "cannot start /no/such/program"),
        ("false {output}", "exited 1"),
        ("true {output}", "wrote no {output}"),
        ("@timeout=0.5 sh -c 'sleep 30' {output}", "ran over 0.5 s"),
        ("sh -c 'echo trouble at mill >&2; exit 3' {output}", "exited 3: trouble at mill"),
    ],
)
def test_external_failures_say_what_happened(clip, template, message):
    with pytest.raises(MethodError, match=message):
        ExternalCommand(template).animate(*clip)


# -- ready-made videos ------------------------------------------------------------------------------------------------


def make(folder, *names, manifest=None):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    if manifest is not None:
        (folder / "manifest.json").write_text(manifest if isinstance(manifest, str) else json.dumps(manifest))
    return ReadyMadeVideos(str(folder))


@pytest.mark.parametrize("name", ["id1/v/0001.mp4", "id1#v#0001.mp4", "id1_v_0001.avi", "id1__v__0001.MP4"])
def test_nested_and_flat_names(tmp_path, name):
    assert make(tmp_path, name).recording("id1/v/0001").path == tmp_path / name


def test_missing_doubled_and_unused(tmp_path):
    videos = make(tmp_path, "id1/v/0001.mp4", "id2/v/0001.mp4", "id2#v#0001.mp4", "other.mp4")
    with pytest.raises(MethodError, match="no video for clip id9/v/0001"):
        videos.recording("id9/v/0001")
    with pytest.raises(MethodError, match="2 videos for clip id2/v/0001"):
        videos.recording("id2/v/0001")
    assert videos.unused(["id1/v/0001", "id2/v/0001"]) == ["other.mp4"]


def test_manifest(tmp_path):
    files = {"id1/v/0001": {"file": "a.mp4", "first_frame": 3}, "id2/v/0001": "b.mp4", "id3/v/0001": "gone.mp4"}
    videos = make(
        tmp_path, "a.mp4", "b.mp4",
        manifest={"name": "ours", "controls": ["lip"], "first_frame": 1, "crop": [0, 0, 1, 0.8], "files": files},
    )  # fmt: skip
    assert (videos.name, videos.controls) == ("ours", {"lip"})
    assert videos.recording("id1/v/0001").first_frame == 3
    assert videos.recording("id2/v/0001").first_frame == 1
    assert videos.recording("id2/v/0001").crop == (0, 0, 1, 0.8)
    with pytest.raises(MethodError, match="missing, though"):
        videos.recording("id3/v/0001")
    assert videos.unused([]) == []


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{", "not JSON"),
        ("[]", "must be a JSON object"),
        ({"fist_frame": 1}, "unknown key 'fist_frame'"),
        ({"controls": ["ears"]}, "controls must be among"),
        ({"first_frame": -1}, "first_frame must be"),
        ({"crop": [0, 0, 2, 1]}, "crop must be"),
        ({"files": {"a": {"name": "x"}}}, "each entry of files"),
    ],
)
def test_bad_manifest_is_one_line(tmp_path, manifest, message):
    with pytest.raises(MethodError, match=message):
        make(tmp_path, manifest=manifest)


def test_first_frame_is_inferred_only_where_it_is_clear(tmp_path):
    assert infer_first_frame(100, 100, tmp_path) == 0
    assert infer_first_frame(99, 100, tmp_path) == 1
    assert infer_first_frame(97, 100, tmp_path) == 0  # an audio window short
    with pytest.raises(MethodError, match="first_frame"):
        infer_first_frame(80, 100, tmp_path)
