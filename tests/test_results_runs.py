"""What counts as scored, which runs may stand side by side, and under which names."""

from __future__ import annotations

import json

import pytest
from test_results_fabricated import fabricate

from results import rows, runs
from results.rows import ResultsError, read_run, write_run


def change_run(out, **changes):
    write_run(out, read_run(out) | changes)
    return out


def change_method(out, **changes):
    return change_run(out, method=read_run(out)["method"] | changes)


def test_clips_are_counted_from_rows_not_from_what_run_json_says(tmp_path):
    out = fabricate(tmp_path / "run", failed=[2], missing=[0, 1])
    run = runs.load(change_run(out, n_scored=12, n_failed=0))
    assert (run.n_expected, run.n_scored, run.n_failed, run.n_not_run) == (12, 9, 1, 2)
    assert [next(iter(reasons)) for reasons in run.failures.values()] == ["*", "*", "lse_c_official"]
    assert len(run.values("ssim_wang_rgb")) == 10
    assert len(run.values("lse_c_official")) == 9


def test_a_row_that_says_scored_without_every_value_is_not(tmp_path):
    def forget(row):
        if row["clip"].endswith("00001"):
            del row["metrics"]["psnr_rgb"]
        return row

    run = runs.load(fabricate(tmp_path / "run", speakers=2, clips=2, change=forget))
    assert run.n_scored == 2
    assert run.failures["id00000/vox/00001"] == {"psnr_rgb": "its row has no value and gives no reason"}


def test_an_unavailable_metric_fails_no_clip_and_shows_no_value(tmp_path):
    run = runs.load(fabricate(tmp_path / "run", unavailable={"lse_c_official": "no weights"}))
    assert run.n_scored == run.n_expected
    assert run.values("lse_c_official") == {}


def test_rows_that_are_not_in_the_list_are_reported_and_not_counted(tmp_path):
    out = fabricate(tmp_path / "run")
    clips = read_run(out)["clips"]
    run = runs.load(change_run(out, clips=clips[:-2]))
    assert run.stray == tuple(clips[-2:])
    assert run.n_expected == run.n_scored == 10
    assert "2 row(s) of clips that are not in the list" in run.notes[0]


def test_clips_without_a_speaker_count_as_one_each(tmp_path):
    run = runs.load(fabricate(tmp_path / "run", speakers=2, change=lambda row: row | {"identity": None}))
    assert len(set(run.identity_of.values())) == 6
    assert "name no speaker" in run.notes[0]


def test_runs_are_found_below_a_folder_once_each(tmp_path):
    a = fabricate(tmp_path / "x/a", "a")
    b = fabricate(tmp_path / "x/deep/b", "b")
    assert runs.find([tmp_path, a, b / "run.json", tmp_path / "x"]) == [a, b]


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_path_without_runs_is_an_error_that_names_it(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResultsError, match=name):
        runs.find([tmp_path / name])


def test_methods_stand_in_the_papers_order_and_controls_last(tmp_path):
    for name in ("fctfg", "still", "zeta", "pc-avs", "wav2lip", "truth"):
        fabricate(tmp_path / name, name, kind="control" if name in ("still", "truth") else "method", speakers=1)
    loaded, mixed = runs.load_all([tmp_path])
    assert [run.label for run in loaded] == ["wav2lip", "pc-avs", "zeta", "fctfg", "truth", "still"]
    assert mixed == []


def test_one_name_with_two_specs_or_weights_gets_labels_that_tell(tmp_path):
    for i, changes in enumerate([{"spec": "fctfg:a"}, {"spec": "fctfg:b"}, {"spec": "fctfg:b", "weights": {"w": "1"}}]):
        change_method(fabricate(tmp_path / str(i)), **changes)
    labels = [run.label for run in runs.load_all([tmp_path])[0]]
    assert labels[0] == "fctfg:a"
    assert all(label.startswith("fctfg:b ") and len(label) == len("fctfg:b 01234567") for label in labels[1:])
    assert len(set(labels)) == 3


def test_the_same_method_twice_on_one_block_is_refused(tmp_path):
    fabricate(tmp_path / "a")
    fabricate(tmp_path / "b")
    with pytest.raises(ResultsError, match=r"fctfg on VoxCeleb2 \(puppets\) is there twice"):
        runs.load_all([tmp_path])


def test_puppets_and_the_whole_set_are_two_blocks(tmp_path):
    fabricate(tmp_path / "a", data="puppets")
    fabricate(tmp_path / "b", data="full")
    loaded, mixed = runs.load_all([tmp_path])
    assert [run.block.text for run in loaded] == ["VoxCeleb2", "VoxCeleb2 (puppets)"]
    assert mixed == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"list_version": 2}, "different lists of clips: .*version 1.*version 2"),
        ({"metric_version": 2}, "ssim_wang_rgb: different version: .*1.*2"),
    ],
)
def test_runs_that_do_not_match_are_refused_with_both_named(tmp_path, changes, message):
    a = fabricate(tmp_path / "a", "a")
    b = fabricate(tmp_path / "b", "b", **changes)
    with pytest.raises(ResultsError, match=message) as caught:
        runs.load_all([a, b])
    assert str(a) in str(caught.value)
    assert str(b) in str(caught.value)
    assert "\n" not in str(caught.value)
    loaded, mixed = runs.load_all([a, b], allow_mixed=True)
    assert len(loaded) == 2
    assert mixed


def test_the_same_digest_over_other_clips_is_refused(tmp_path):
    a = fabricate(tmp_path / "a", "a")
    b = fabricate(tmp_path / "b", "b")
    change_run(b, clips=read_run(b)["clips"][:-1])
    with pytest.raises(ResultsError, match=r"12 clips.*11 clips"):
        runs.load_all([a, b])


def test_unknown_kinds_of_data_are_refused(tmp_path):
    out = change_run(fabricate(tmp_path / "a"), data="real")
    with pytest.raises(ResultsError, match="'data' is 'real'"):
        runs.load(out)


def test_a_metric_without_direction_is_refused(tmp_path):
    out = fabricate(tmp_path / "a")
    metrics = json.loads(json.dumps(read_run(out)["metrics"]))
    del metrics["psnr_rgb"]["better"]
    with pytest.raises(ResultsError, match="metric psnr_rgb lacks"):
        runs.load(change_run(out, metrics=metrics))


def test_a_metric_that_is_undefined_on_a_clip_is_no_failure(tmp_path):
    fabricate(tmp_path / "m", "m", speakers=1)
    run = runs.load(tmp_path / "m")
    metric, clip = run.available[0], run.clips[0]
    row = dict(run.rows[clip])
    row["metrics"] = row["metrics"] | {metric: None}
    path = next((tmp_path / "m" / "rows").glob("*.jsonl"))
    row["details"] = row["details"] | {metric: {"undefined": "the driving face does not move"}}
    rows.append(path, row)
    again = runs.load(tmp_path / "m")
    assert clip not in again.failures
    assert clip not in again.values(metric)
    row["details"].pop(metric)
    rows.append(path, row)
    assert metric in runs.load(tmp_path / "m").failures[clip]
