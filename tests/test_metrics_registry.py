"""The registry and the evaluator that feeds the metrics."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from metrics import evaluate, registry
from metrics.evaluate import Evaluator, Footage, Result
from metrics.interface import MetricFailure, rebatched
from metrics.registry import GROUPS, METRICS, TABLE1, Metric, get

IMAGE = [name for name, metric in METRICS.items() if metric.group == "image"]


@pytest.fixture(autouse=True)
def _one_thread():
    """As scoring runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _video(seed=0, n=19, size=176):
    """Blobs that move: (n, size, size, 3) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    phase, rate = rng.uniform(0, 6, (2, 3))
    t = np.arange(n)[:, None, None, None] / 10
    wave = np.sin(9 * x[None, :, :, None] + phase + t * rate) * np.cos(7 * y[None, :, :, None] - t)
    return (128 + 100 * wave + rng.normal(0, 4, (n, size, size, 3))).clip(0, 255).astype(np.uint8)


def _footage(frames, label, chunk=8, **more):
    return Footage(lambda: (frames[i : i + chunk] for i in range(0, len(frames), chunk)), label=label, **more)


# -- the registry -----------------------------------------------------------------------------------------------


def test_listing_imports_nothing_heavy():
    code = (
        "import sys, metrics.registry, metrics.evaluate\n"
        "heavy = {'torch', 'pandas', 'matplotlib', 'scipy', 'cv2', 'dlib', 'skimage'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_entry_is_complete_and_loads():
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.better in ("higher", "lower")
        assert metric.version >= 1
        assert all((metric.column, metric.source, metric.definition.endswith("."), metric.range))
        assert callable(registry.load(GROUPS[metric.group]))
        reason = metric.unavailable()
        assert reason is None or (reason and "\n" not in reason), name


def test_columns_are_unique():
    columns = [metric.column for metric in METRICS.values()]
    assert len(set(columns)) == len(columns)


def test_table1_names_are_known():
    assert [get(name).column for name in TABLE1] == ["SSIM", "MS-SSIM", "PSNR", "LMD", "LSE-C"]


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"unknown metric 'ssim'; known: ssim_wang_rgb, .*psnr_rgb"):
        get("ssim")
    with pytest.raises(ValueError, match="unknown metric"):
        Evaluator(["ssim"])


def test_unknown_reuse():
    with pytest.raises(ValueError, match="known: only-missing, always, never, only-cache"):
        Evaluator(["psnr_rgb"], reuse="sometimes")


# -- chunks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[19], [1] * 19, [5, 14], [16, 3], [17, 2], [3, 3, 13], [0, 19, 0]])
def test_rebatched(sizes):
    frames = np.arange(19).reshape(19, 1, 1, 1)
    cuts = np.split(frames, np.cumsum(sizes)[:-1])
    found = list(rebatched(cuts, 8))
    assert [len(batch) for batch in found] == [8, 8, 3]
    assert np.array_equal(np.concatenate(found), frames)


# -- the evaluator ----------------------------------------------------------------------------------------------


def test_scores_do_not_depend_on_the_callers_chunks():
    x, y = _video(1), _video(2)
    evaluator = Evaluator(IMAGE)
    found = [evaluator.score(_footage(x, "x", a), _footage(y, "y", b)) for a, b in ((19, 19), (1, 7), (16, 5))]
    assert found[0] == found[1] == found[2]
    assert list(found[0]) == IMAGE
    assert all(isinstance(result.value, float) for result in found[0].values())
    assert found[0]["psnr_rgb"].details["frames"] == 19


def test_scores_on_threads_equal_scores_alone():
    x, y = _video(1), _video(2)
    evaluator = Evaluator(IMAGE)
    alone = evaluator.score(_footage(x, "x"), _footage(y, "y"))
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda _: evaluator.score(_footage(x, "x"), _footage(y, "y")), range(3))) == [alone] * 3


def test_equal_videos():
    x = _video()
    found = Evaluator(IMAGE).score(_footage(x, "x"), _footage(x.copy(), "y"))
    assert found["psnr_rgb"].value == math.inf
    assert found["l1_rgb"].value == 0
    assert found["ssim_wang_rgb"].value == pytest.approx(1, abs=1e-6)


def test_read_only_frames_are_fine():
    x, y = _video(1, 3), _video(2, 3)
    before = Evaluator(IMAGE).score(_footage(x, "x"), _footage(y, "y"))
    x.flags.writeable = y.flags.writeable = False
    assert Evaluator(IMAGE).score(_footage(x, "x"), _footage(y, "y")) == before


def test_other_sizes_and_lengths_are_errors_that_name_the_file():
    evaluator = Evaluator(["psnr_rgb"])
    with pytest.raises(ValueError, match=r"made\.mp4 is 64x64, true\.mp4 80x80: resize"):
        evaluator.score(_footage(_video(size=64), "made.mp4"), _footage(_video(size=80), "true.mp4"))
    for n, m, text in ((19, 17, "made.mp4 has more frames than true.mp4"), (16, 32, "true.mp4 has more frames")):
        with pytest.raises(ValueError, match=text):
            evaluator.score(_footage(_video(n=n), "made.mp4"), _footage(_video(n=m), "true.mp4"))
    with pytest.raises(ValueError, match=r"made\.mp4: frames must be"):
        evaluator.score(_footage(_video() / 255, "made.mp4"), _footage(_video(), "true.mp4"))


def test_no_frames_and_no_reference_are_failures():
    empty = Footage(lambda: iter(()), label="empty.mp4")
    assert Evaluator(["psnr_rgb"]).score(empty, empty)["psnr_rgb"].failure == "empty.mp4: no frames"
    found = Evaluator(["psnr_rgb"]).score(_footage(_video(), "made.mp4"), None)["psnr_rgb"]
    assert found.failure == "made.mp4: image metrics need a reference video"


class Counting:
    """A group of this test's: counts frames, and can be told to fail at a step."""

    fail_in, error = "", MetricFailure("made.mp4: nothing to count")

    def __init__(self, names, context):
        self.names, self.context, self.n = names, context, 0
        self._step("init")

    def _step(self, step):
        if step == self.fail_in:
            raise self.error

    def update(self, generated, reference):
        self._step("update")
        self.n += len(generated)

    def result(self):
        self._step("result")
        return {
            name: Result(float(self.n), {"sound": self.context.generated.waveform() is not None}) for name in self.names
        }


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.setitem(registry.GROUPS, "counting", f"{__name__}:Counting")
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Counting.__module__])
    entry = Metric("count", "N", "counting", "", "[0, inf)", "higher", "this test", "Counts.")
    monkeypatch.setitem(registry.METRICS, "count", entry)
    return monkeypatch


def test_a_group_is_added_by_two_lines(counting):
    x = _video(size=32)
    sound = np.zeros(16000, np.float32)
    made = _footage(x, "made.mp4", audio=lambda: sound)
    found = Evaluator(["count", "l1_rgb"]).score(made, _footage(x, "true.mp4"))
    assert found["count"] == Result(19.0, {"sound": True})
    assert found["l1_rgb"].value == 0


@pytest.mark.parametrize("step", ["init", "update", "result"])
def test_one_groups_failure_leaves_the_others(counting, step, caplog):
    x = _video(size=32)
    counting.setattr(Counting, "fail_in", step)
    found = Evaluator(["count", "l1_rgb"]).score(_footage(x, "made.mp4"), _footage(x, "true.mp4"))
    assert found["count"] == Result(failure="made.mp4: nothing to count")
    assert found["l1_rgb"].value == 0
    assert not caplog.records, "a clip that cannot be measured is no fault of the program"
    counting.setattr(Counting, "error", RuntimeError("first line\nsecond line"))
    with caplog.at_level(logging.ERROR):
        found = Evaluator(["count", "l1_rgb"]).score(_footage(x, "made.mp4"), _footage(x, "true.mp4"))
    assert found["count"].failure == "made.mp4: RuntimeError: first line"
    assert found["l1_rgb"].value == 0
    assert caplog.records[0].exc_info, "the traceback of a fault is kept"


def test_unavailable_metrics_are_reported_and_not_replaced(counting):
    entry = Metric("count", "N", "counting", "", "", "higher", "t", "Counts.", requires=f"{__name__}:_reason")
    counting.setitem(registry.METRICS, "count", entry)
    evaluator = Evaluator(["count", "l1_rgb"])
    assert evaluator.unavailable == {"count": "needs fingers (buy some)"}
    x = _video(size=32)
    assert list(evaluator.score(_footage(x, "x"), _footage(x, "y"))) == ["l1_rgb"]


def _reason():
    return "needs fingers (buy some)"


def test_both_videos_are_read_once():
    x, reads = _video(size=32), []

    def chunks():
        reads.append(1)
        yield from (x[:10], x[10:])

    made = Footage(chunks, label="x")
    Evaluator(["l1_rgb", "psnr_rgb", "ssim_wang_rgb"]).score(made, Footage(chunks, label="y"))
    assert len(reads) == 2
    assert evaluate.BATCH == 16
