"""Clip lists: the same tree gives the same list, and a list says exactly what it is."""

from __future__ import annotations

import json
import random

import pytest

from fctfg.data.clips import EMOTIONS, DataError, find_mead, find_voxceleb2
from protocols import cliplist


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def voxceleb2_tree(root, identities=3, videos=4, utterances=3, order=None):
    files = [
        root / f"test/mp4/id{i:05d}/video{v}/{u:05d}.mp4"
        for i in range(identities)
        for v in range(videos)
        for u in range(utterances)
    ]
    if order is not None:
        random.Random(order).shuffle(files)
    for file in files:
        touch(file)
    return root


def mead_tree(root, actors, numbers=8):
    for actor in actors:
        for emotion in EMOTIONS:
            for level in (1,) if emotion == "neutral" else (1, 2, 3):
                for number in range(1, numbers + 1):
                    touch(root / f"{actor}/video/front/{emotion}/level_{level}/{number:03d}.mp4")
                    touch(root / f"{actor}/video/left_30/{emotion}/level_{level}/{number:03d}.mp4")
                    touch(root / f"{actor}/audio/{emotion}/level_{level}/{number:03d}.m4a")
    return root


def test_same_tree_same_list_whatever_order_files_were_made_in(tmp_path):
    a = cliplist.voxceleb2(voxceleb2_tree(tmp_path / "a", order=1))
    b = cliplist.voxceleb2(voxceleb2_tree(tmp_path / "b", order=2))
    assert a == b
    assert a.sha256 == b.sha256
    assert cliplist.voxceleb2(tmp_path / "a", seed=7).selection_sha256 != a.selection_sha256


def test_voxceleb2_takes_different_videos_first(tmp_path):
    clips = cliplist.voxceleb2(voxceleb2_tree(tmp_path), per_identity=4).clips
    for identity in {c.identity for c in clips}:
        assert len({c.id.split("/")[1] for c in clips if c.identity == identity}) == 4


def test_one_missing_file_changes_one_place(tmp_path):
    before = cliplist.voxceleb2(voxceleb2_tree(tmp_path), per_identity=2)
    gone = before.clips[0]
    (tmp_path / gone.video).unlink()
    after = cliplist.voxceleb2(tmp_path, per_identity=2)
    assert len({c.id for c in before.clips} - {c.id for c in after.clips}) == 1
    assert len(after.clips) == len(before.clips)


def test_voxceleb2_is_full_only_with_all_118_identities(tmp_path):
    official = cliplist.voxceleb2_test_identities()
    assert len(official) == 118
    for identity in official:
        touch(tmp_path / f"test/mp4/{identity}/video/00001.mp4")
    assert cliplist.voxceleb2(tmp_path).data == "full"
    (tmp_path / f"test/mp4/{min(official)}/video/00001.mp4").unlink()
    assert cliplist.voxceleb2(tmp_path).data == "sample"


def test_layouts_with_and_without_test_folder_agree(tmp_path):
    voxceleb2_tree(tmp_path)
    inside = {c.id for c in find_voxceleb2(tmp_path / "test")}
    assert inside == {c.id for c in find_voxceleb2(tmp_path)}


def test_published_mead_list_is_what_its_seed_draws():
    published = cliplist.published_mead()
    assert published == cliplist.draw_published_mead()
    assert published.data == "full"
    assert len(published.clips) == 200
    assert len({c.identity for c in published.clips}) == 5
    for emotion in EMOTIONS:
        assert sum(c.emotion == emotion for c in published.clips) == 25
    assert {c.level for c in published.clips if c.emotion == "neutral"} == {1}


def test_mead_auto_takes_the_published_list_and_keeps_missing_clips_on_it(tmp_path):
    mead_tree(tmp_path, cliplist.MEAD_TEST_ACTORS, numbers=40)
    drawn = cliplist.mead(tmp_path)
    assert [c.id for c in drawn.clips] == [c.id for c in cliplist.published_mead().clips]
    assert all(c.audio for c in drawn.clips)
    gone = drawn.clips[3]
    (tmp_path / gone.video).unlink()
    assert gone.id in {c.id for c in cliplist.mead(tmp_path).clips}
    tree = cliplist.mead(tmp_path, "tree")
    assert gone.id not in {c.id for c in tree.clips}
    assert len(tree.clips) == 200


def test_mead_sample_is_drawn_by_the_rule(tmp_path):
    mead_tree(tmp_path, ["M003", "W009"], numbers=6)
    sample = cliplist.mead(tmp_path)
    assert sample.data == "sample"
    assert len(sample.clips) == 2 * 8 * 5
    assert all("/front/" in c.id for c in sample.clips)


def test_other_views_and_foreign_folders_are_not_mead(tmp_path):
    mead_tree(tmp_path, ["M003"], numbers=1)
    touch(tmp_path / "M003/video/front/cheerful/level_1/001.mp4")
    assert {c.emotion for c in find_mead(tmp_path)} == set(EMOTIONS)


def test_list_round_trip_and_edit_is_noticed(tmp_path):
    drawn = cliplist.voxceleb2(voxceleb2_tree(tmp_path / "data"))
    drawn.save(tmp_path / "list.json")
    assert cliplist.load(tmp_path / "list.json") == drawn
    record = json.loads((tmp_path / "list.json").read_text())
    record["clips"][0]["start"] = 5
    (tmp_path / "list.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="was edited"):
        cliplist.load(tmp_path / "list.json")


@pytest.mark.parametrize("text", ["", "{}", "[1]", "not json"])
def test_a_file_that_is_no_list(tmp_path, text):
    (tmp_path / "list.json").write_text(text)
    with pytest.raises(DataError, match="not a clip list"):
        cliplist.load(tmp_path / "list.json")


def test_limit_makes_a_sample(tmp_path):
    official = cliplist.voxceleb2_test_identities()
    for identity in official:
        touch(tmp_path / f"test/mp4/{identity}/video/00001.mp4")
    assert cliplist.voxceleb2(tmp_path).limited(5).data == "sample"
    assert cliplist.voxceleb2(tmp_path).limited(None).data == "full"


@pytest.mark.parametrize("find", [find_voxceleb2, find_mead])
def test_wrong_folder_says_what_to_do(tmp_path, find):
    with pytest.raises(DataError, match="no such folder"):
        find(tmp_path / "absent")
    with pytest.raises(DataError, match="give the folder"):
        find(tmp_path)


def test_real_trees(real):
    vox, mead = cliplist.voxceleb2(real / "voxceleb2"), cliplist.mead(real / "mead")
    assert (len(vox.clips), vox.data) == (9, "sample")
    assert (len(mead.clips), mead.data) == (4, "sample")
    assert all(c.audio for c in (*vox.clips, *mead.clips))
