"""A study from runs: which clips, blinded names, videos that differ in nothing but their pictures."""

from __future__ import annotations

import json
import re
from collections import Counter

import av
import numpy as np
import pytest
import study_runs
import trees

from fctfg import media
from protocols.user_study import encode, sources
from protocols.user_study.__main__ import main
from protocols.user_study.study import QUESTIONS, load, opaque


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return study_runs.runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def study(folders, tmp_path_factory):
    return study_runs.study(tmp_path_factory.mktemp("study"), folders, "--contact", "the lab, lab@example.org")


def flags(folders, out, *more):
    return ["build", "--runs", *map(str, folders), "--out", str(out), "--size", "64", *more]


def nearest(shown: np.ndarray, frames: np.ndarray) -> int:
    """From which of ``frames`` on the shown ones are most like them; less than 8 grey levels off."""
    offsets = range(len(frames) - len(shown) + 1)
    far = [np.abs(shown.astype(int) - frames[k : k + len(shown)]).mean() for k in offsets]
    assert min(far) < 8
    return int(np.argmin(far))


def refusal(capsys, *command) -> str:
    """The one line that a command which cannot be carried out ends with."""
    capsys.readouterr()
    assert main([*command]) == 2
    lines = [line for line in capsys.readouterr().err.strip().split("\n") if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_every_clip_of_every_method_and_the_checks_are_items(study):
    kinds = Counter(item.kind for item in study.items.values())
    assert kinds == {"rating": 16, "desync": 2, "repeat": 4}
    for item in study.items.values():
        assert (study.folder / item.media).is_file()
        if item.kind == "repeat":
            original = study.items[item.repeats]
            assert (original.clip, original.method, original.kind) == (item.clip, item.method, "rating")
            assert (study.folder / item.media).read_bytes() == (study.folder / original.media).read_bytes()
        else:
            assert item.repeats is None
    assert [q["name"] for q in study.record["questions"]] == [q["name"] for q in QUESTIONS]
    assert {m["name"]: m["kind"] for m in study.record["methods"]}["reencode"] == "control"
    assert len(study.record["runs"][0]["list"]["sha256"]) == 64
    assert study.record["runs"][0]["data"] == "sample"


def test_nothing_but_the_pictures_tells_the_methods_apart(study):
    for clip in study.record["clips"]:
        seen = []
        for item in study.items.values():
            if item.clip != clip or item.kind != "rating":
                continue
            path = study.folder / item.media
            with av.open(path) as container:
                video, sound = container.streams.video[0], container.streams.audio[0]
                facts = (video.codec.name, video.width, video.height, video.frames, video.duration, sound.codec.name)
                words = (dict(container.metadata), dict(video.metadata), dict(sound.metadata))
            seen.append((facts, words, media.read_audio(path).tobytes(), path.stat().st_mtime_ns))
        assert len(seen) == 4
        assert all(other == seen[0] for other in seen)


def test_names_are_opaque_and_depend_on_the_secret_key(study, folders, tmp_path):
    names = [item.media for item in study.items.values()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"media/[0-9a-f]{32}\.mp4", name) for name in names)
    again = study_runs.study(tmp_path, folders)  # same runs, same seed: same clips and plan, other names
    assert again.record["clips"] == study.record["clips"]
    assert not {item.media for item in again.items.values()} & set(names)
    assert not again.items.keys() & study.items.keys()

    def plain(s, number):
        return [(s.items[i].kind, s.items[i].clip, s.items[i].method) for i in s.plan(number)]

    assert all(plain(again, k) == plain(study, k) for k in range(9))
    assert opaque("00", "a", "bc") != opaque("00", "ab", "c")
    assert (study.folder / "study.json").stat().st_mode & 0o077 == 0


def test_every_planned_item_exists(study):
    for number in range(30):
        plan = study.plan(number)
        assert len(plan) == len(set(plan)) == 20
        assert set(plan) <= study.items.keys()


def test_the_desynchronised_truth_is_the_same_sound_displaced(study):
    for entry in study.record["items"]:
        if entry["kind"] == "desync":
            assert entry["shift_seconds"] >= 0.5
            item = study.items[entry["item"]]
            truth = next(i for i in study.items.values() if (i.clip, i.method) == (item.clip, "reencode"))
            pictures = [media.read_video(study.folder / i.media).astype(int) for i in (item, truth)]
            assert np.abs(pictures[0] - pictures[1]).max() == 0
            sounds = [media.read_audio(study.folder / i.media) for i in (item, truth)]
            assert len(sounds[0]) == len(sounds[1])
            assert np.abs(sounds[0] - sounds[1]).mean() > 0.01


def test_displaced_sound_moves_and_does_not_click():
    t = np.arange(32000) / 16000
    sound = (0.5 * np.cos(2 * np.pi * 100.25 * t)).astype(np.float32)  # ends half a period from where it begins
    moved, shift = encode.displaced(sound)
    assert shift == 1.0
    assert moved[16000 + 400 : 31000].tolist() == sound[400:15000].tolist()
    assert np.abs(np.diff(np.roll(sound, 16000))).max() > 0.4
    assert np.abs(np.diff(moved)).max() < 0.03
    short, shift = encode.displaced(np.ones(12800, np.float32))
    assert len(short) == 12800
    assert shift == 0.5


def test_videos_are_cut_to_the_frames_that_all_methods_answer(tmp_path, capsys):
    late = study_runs.run(tmp_path / "late", "late", count=27, first_frame=3)
    plain = study_runs.run(tmp_path / "reencode", "reencode", count=30)
    study = study_runs.study(tmp_path, [plain, late])
    assert {item.seconds for item in study.items.values()} == {27 / 25}
    for item in study.items.values():
        assert media.count_frames(study.folder / item.media, fps=25) == 27
    by_method = {i.method: i for i in study.items.values() if i.kind == "rating" and i.clip == study.record["clips"][0]}
    shown = media.read_video(study.folder / by_method["reencode"].media)
    index = next(i for i in range(4) if study_runs.clip(i).id == study.record["clips"][0])
    shade = sum(b"reencode") % 90
    wanted = np.maximum(trees.frames(30, 64, index), shade)
    assert nearest(shown, wanted) == 2  # clip frame 3 is frame 2 of the file that begins at clip frame 1


def test_clips_that_a_run_lacks_are_dropped_with_the_reason(tmp_path, capsys):
    folders = [
        study_runs.run(tmp_path / "reencode", "reencode", clips=6),
        study_runs.run(tmp_path / "alpha", "alpha", clips=6, without=(2,)),
        study_runs.run(tmp_path / "beta", "beta", clips=5),
    ]
    assert main(flags(folders, tmp_path / "study", "--videos", "4")) == 0
    said = capsys.readouterr().err
    assert "4 clips are in every run, 2 dropped" in said
    assert "1 x alpha: generate: no face found" in said
    assert "1 x not on the list of beta" in said
    assert load(tmp_path / "study").record["eligible"]["clips_dropped"] == 2
    line = refusal(capsys, *flags(folders, tmp_path / "other", "--videos", "20"))
    assert "only 4 clips have a video in every run; give --videos 4 or less" in line


def test_clips_are_drawn_by_seed_and_people_before_second_clips(folders):
    found, _ = sources.eligible(sources.read_runs(folders), None)
    draws = [sources.choose(found, 3, seed) for seed in range(6)]
    assert len({tuple(entry.clip.id for entry in draw) for draw in draws}) > 1
    for draw in draws:
        assert len({entry.clip.identity for entry in draw[:2]}) == 2
    assert sources.choose(found[::-1], 3, 1) == draws[1]


def test_without_a_truth_it_says_so_and_leaves_the_check_out(folders, tmp_path, capsys):
    study = study_runs.study(tmp_path, [f for f in folders if f.name != "reencode"])
    assert "no desynchronised truths" in capsys.readouterr().err
    assert not any(item.kind == "desync" for item in study.items.values())
    assert study.record["design"]["desync"] == 0


def test_the_truth_and_the_reference_come_from_the_data_tree(tmp_path, capsys):
    tree = tmp_path / "tree"
    for index in range(4):
        path = tree / study_runs.clip(index).video
        media.write_video(path, trees.frames(31, 64, index), audio=trees.tone(31, index))
    truth = study_runs.run(tmp_path / "truth", "truth")
    for sidecar in (truth / "generated").rglob("*.json"):
        sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"video": False}))
        sidecar.with_suffix(".mp4").unlink()
    alpha = study_runs.run(tmp_path / "alpha", "alpha", sound=False)
    line = refusal(capsys, *flags([truth, alpha], tmp_path / "study", "--videos", "3"))
    assert "give the tree with --data DIR" in line
    study = study_runs.study(tmp_path, [truth, alpha], "--data", str(tree), "--show", "reference", videos=3)
    shown = {i.reference for i in study.items.values()}
    assert len(shown) == 3  # one picture a clip, whatever the method
    assert all((study.folder / name).read_bytes()[:2] == b"\xff\xd8" for name in shown)
    item = next(i for i in study.items.values() if i.method == "truth" and i.kind == "rating")
    index = next(i for i in range(4) if study_runs.clip(i).id == item.clip)
    shown = media.read_video(study.folder / item.media)
    assert len(shown) == 30
    assert nearest(shown, trees.frames(31, 64, index)) == 1  # frame 0 is the reference
    assert any(i.kind == "desync" for i in study.items.values())


def test_the_control_with_anothers_sound_keeps_it(tmp_path):
    """shuffled-audio stores no video: its pictures are the truth, its sound is the next speaker's."""
    tree = tmp_path / "tree"
    for index in range(4):
        path = tree / study_runs.clip(index).video
        media.write_video(path, trees.frames(31, 64, index), audio=study_runs.speech(31, index))
    shuffled = study_runs.run(tmp_path / "shuffled-audio", "shuffled-audio", audio_of="another-speaker")
    for sidecar in (shuffled / "generated").rglob("*.json"):
        sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"video": False}))
    plain = study_runs.run(tmp_path / "reencode", "reencode")
    study = study_runs.study(tmp_path, [shuffled, plain], "--data", str(tree))
    clips = [study_runs.clip(i).id for i in range(4)]
    for item in (i for i in study.items.values() if i.kind == "rating"):
        heard = media.read_audio(study.folder / item.media)
        place = clips.index(item.clip)
        others = [study_runs.speech(31, i)[640 : 640 + len(heard)] for i in range(4)]
        likest = int(np.argmax([np.corrcoef(heard, other)[0, 1] for other in others]))
        assert likest == {"reencode": place, "shuffled-audio": [2, 2, 0, 0][place]}[item.method]


def test_a_silent_run_borrows_the_sound_of_the_clip(tmp_path):
    plain = study_runs.run(tmp_path / "reencode", "reencode")
    silent = study_runs.run(tmp_path / "alpha", "alpha", sound=False)
    study = study_runs.study(tmp_path, [silent, plain])
    for item in study.items.values():
        assert np.abs(media.read_audio(study.folder / item.media)).max() > 0.1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--videos", "2"), "takes 3 to 2"),
        (("--videos", "4", "--per-participant", "5"), "takes 3 to 4"),
        (("--videos", "4", "--size", "65"), "even number"),
        (("--videos", "4", "--desync", "9"), "--desync and --repeats"),
        (("--videos", "4", "--show", "reference"), "--data DIR"),
        (("--videos", "4", "--information", "/no/such/file"), "/no/such/file"),
    ],
)
def test_options_that_cannot_be_are_one_line(folders, tmp_path, capsys, options, said):
    assert said in refusal(capsys, *flags(folders, tmp_path / "study", *options))
    assert not (tmp_path / "study" / "study.json").exists()


def test_runs_that_do_not_belong_together_are_refused(folders, study, tmp_path, capsys):
    other = study_runs.run(tmp_path / "other", "other", protocol="mead")
    assert "compares methods on the same clips" in refusal(capsys, *flags([folders[0], other], tmp_path / "s"))
    assert "give one" in refusal(capsys, *flags([folders[0], folders[0]], tmp_path / "s"))
    assert "no such file" in refusal(capsys, *flags([tmp_path / "nothing"], tmp_path / "s"))
    assert "holds a study already" in refusal(capsys, *flags(folders, study.folder, "--videos", "4"))
    assert "no such file" in refusal(capsys, "serve", str(tmp_path / "nothing"))


def test_a_subset_for_each_participant(folders, tmp_path):
    study = study_runs.study(tmp_path, folders, "--per-participant", "3", "--repeats", "1", "--desync", "1")
    for number in range(8):
        plan = [study.items[i] for i in study.plan(number)]
        assert len({i.clip for i in plan if i.kind == "rating"}) == 3
        assert len(plan) == 3 * 4 + 2
        again = next(i for i in plan if i.kind == "repeat")
        assert again.repeats in {i.id for i in plan}
