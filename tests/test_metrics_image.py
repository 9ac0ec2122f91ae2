"""Image metrics against scikit-image and pytorch-msssim, frame by frame."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, shift

from metrics.image import NAMES, image_scores, psnr_rgb
from metrics.image_scores import ImageScores
from metrics.interface import Context, Footage

TOLERANCE = 1e-5
WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
CLIPS = (
    "voxceleb2/test/mp4/id90001/clip_a/00015.mp4",
    "voxceleb2/test/mp4/id90004/clip_d/00002.mp4",
    "mead/M003/video/front/disgusted/level_1/015.mp4",
)


@pytest.fixture(autouse=True)
def _one_thread():
    """As scoring runs; and two test processes on one machine do not wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _reference_ssim(x, y, **how):
    from skimage.metrics import structural_similarity

    axis = {"channel_axis": 2} if x.ndim == 3 else {}
    return structural_similarity(x, y, data_range=255, **axis, **how)


def _reference_luma(frame):
    r, g, b = (frame[..., c].astype(int) for c in range(3))
    return ((299 * r + 587 * g + 114 * b + 500) // 1000).astype(np.uint8)


def _window64():
    """pytorch-msssim rounds its window to float32, which alone moves its SSIM by up to 1e-5; give it the exact one."""
    g = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    return (g / g.sum()).view(1, 1, 1, 11).repeat(3, 1, 1, 1)


def _reference_msssim(x, y, function):
    import pytorch_msssim

    pair = [torch.from_numpy(v).permute(0, 3, 1, 2).double() for v in (x, y)]
    return getattr(pytorch_msssim, function)(*pair, data_range=255, size_average=False, win=_window64()).numpy()


def _frames(path, size, n=2, step=40):
    import av

    with av.open(str(path)) as container:
        found = []
        for i, frame in enumerate(container.decode(video=0)):
            if i % step == 0:
                found.append(frame.reformat(*size, "rgb24").to_ndarray())
            if len(found) == n:
                break
    return np.stack(found)


def _reencoded(frames, crf=38):
    import io

    import av

    memory = io.BytesIO()
    with av.open(memory, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": str(crf)})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv444p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())
    memory.seek(0)
    with av.open(memory) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def _versions(frames, rng):
    """Name -> the frames gone wrong in one way."""
    noise = rng.normal(0, 10, frames.shape)
    return {
        "blurred": gaussian_filter(frames, (0, 2, 2, 0)),
        "shifted": shift(frames, (0, 2, -3, 0), order=0, mode="nearest"),
        "re-encoded": _reencoded(frames),
        "noisy": np.clip(frames + noise, 0, 255).astype(np.uint8),
        "brighter": np.clip(frames.astype(int) + 60, 0, 255).astype(np.uint8),
        "negative": 255 - frames,
        "still": np.broadcast_to(frames[:1], frames.shape).copy(),
        "same": frames.copy(),
        "black": np.zeros_like(frames),
    }


def _portrait(rng, n=3, height=256, width=256):
    """Smooth blobs, a flat border and some texture: what faces have, without one."""
    base = gaussian_filter(rng.normal(0, 1, (n, height, width, 3)), (0, 12, 12, 0))
    fine = gaussian_filter(rng.normal(0, 1, (n, height, width, 3)), (0, 1, 1, 0))
    picture = 128 + 900 * base + 25 * fine
    picture[:, -20:] = 190
    return np.clip(picture, 0, 255).astype(np.uint8)


def tensor(frames):
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)


def check_against_references(x, y, what):
    ours = {name: values.numpy() for name, values in image_scores(tensor(x), tensor(y)).items()}
    for i, (a, b) in enumerate(zip(x, y, strict=True)):
        theirs = {
            "ssim_wang_rgb": _reference_ssim(a, b, **WANG),
            "ssim_skimage_default": _reference_ssim(a, b),
            "ssim_wang_luma": _reference_ssim(_reference_luma(a), _reference_luma(b), **WANG),
        }
        for name, value in theirs.items():
            assert abs(ours[name][i] - value) < TOLERANCE, f"{what}, frame {i}: {name} {ours[name][i]} not {value}"
        error = ((a.astype(float) - b) ** 2).mean()
        assert ours["psnr_rgb"][i] == pytest.approx(10 * math.log10(255**2 / error) if error else math.inf, abs=1e-9)
        assert ours["l1_rgb"][i] == pytest.approx(np.abs(a.astype(float) - b).mean() / 255, abs=1e-12)
    assert np.abs(ours["ssim_wang_rgb"] - _reference_msssim(x, y, "ssim")).max() < TOLERANCE, what
    assert np.abs(ours["ms_ssim_wang_rgb"] - _reference_msssim(x, y, "ms_ssim")).max() < TOLERANCE, what


@pytest.mark.real
@pytest.mark.parametrize("clip", CLIPS, ids=lambda c: c.split("/")[-3])
def test_equals_the_references_on_real_frames(real, clip):
    x = _frames(real / clip, (256, 256))
    for what, y in _versions(x, np.random.default_rng(1)).items():
        check_against_references(y, x, f"{clip} {what}")


@pytest.mark.parametrize("size", [(256, 256), (223, 225), (162, 301)], ids=str)
def test_equals_the_references_on_synthetic_frames(size):
    rng = np.random.default_rng(2)
    x = _portrait(rng, 2, *size)
    for what in ("noisy", "brighter", "negative", "black"):
        check_against_references(_versions(x, rng)[what], x, f"{size} {what}")


@pytest.mark.parametrize(("a", "b"), [(0, 255), (255, 254), (200, 100), (128, 128), (7, 0)])
def test_constant_frames(a, b):
    x, y = (np.full((1, 170, 170, 3), level, np.uint8) for level in (a, b))
    check_against_references(x, y, f"{a} against {b}")


def test_frames_do_not_depend_on_the_batch_they_come_in():
    rng = np.random.default_rng(3)
    x = tensor(_portrait(rng, 16, 176, 180))
    y = tensor(_portrait(rng, 16, 176, 180))
    whole = image_scores(x, y)
    for size in (1, 3, 16):
        parts = [image_scores(x[i : i + size], y[i : i + size]) for i in range(0, 16, size)]
        for name in NAMES:
            assert torch.equal(torch.cat([part[name] for part in parts]), whole[name]), (name, size)


def test_a_metric_alone_equals_itself_among_all():
    rng = np.random.default_rng(4)
    x, y = tensor(_portrait(rng, 2)), tensor(_portrait(rng, 2))
    together = image_scores(x, y)
    for name in NAMES:
        assert torch.equal(image_scores(x, y, [name])[name], together[name]), name


def test_threads_do_not_change_a_bit():
    rng = np.random.default_rng(5)
    x, y = tensor(_portrait(rng, 4)), tensor(_portrait(rng, 4))
    alone = image_scores(x, y)
    torch.set_num_threads(3)
    shared = image_scores(x, y)
    assert all(torch.equal(alone[name], shared[name]) for name in NAMES)


def test_float_input_means_the_same_as_uint8():
    rng = np.random.default_rng(6)
    x, y = tensor(_portrait(rng, 2)), tensor(_portrait(rng, 2))
    whole = image_scores(x, y)
    for kind in (torch.float32, torch.float64):
        scaled = image_scores((x / 255).to(kind), (y / 255).to(kind))
        for name in NAMES:
            assert torch.allclose(scaled[name], whole[name], atol=1e-7, rtol=0), (name, kind)


def test_input_is_left_alone():
    x, y = tensor(_portrait(np.random.default_rng(7), 1)), tensor(_portrait(np.random.default_rng(8), 1))
    for kind in (torch.uint8, torch.float32):
        a, b = x.to(kind).contiguous(), y.to(kind).contiguous()
        before = a.clone(), b.clone()
        image_scores(a, b)
        assert torch.equal(a, before[0])
        assert torch.equal(b, before[1])


def test_psnr_of_a_known_error():
    x = torch.full((2, 3, 20, 20), 100, dtype=torch.uint8)
    y = x.clone()
    y[1] += 5
    assert psnr_rgb(x, x).tolist() == [math.inf, math.inf]
    assert psnr_rgb(x, y)[1].item() == pytest.approx(20 * math.log10(255 / 5), abs=1e-12)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 33), "resize one"),
        (torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "both be uint8 or both float"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.int64), torch.zeros(1, 3, 32, 32, dtype=torch.int64), "uint8 or"),
        (torch.zeros(3, 32, 32), torch.zeros(3, 32, 32), r"\(B, 3, H, W\)"),
        (torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32), r"\(B, 3, H, W\)"),
        (torch.zeros(1, 3, 160, 200), torch.zeros(1, 3, 160, 200), "at least 161x161"),
    ],
)
def test_wrong_input_is_one_line(x, y, message):
    with pytest.raises(ValueError, match=message) as caught:
        image_scores(x, y, ["ms_ssim_wang_rgb"])
    assert "\n" not in str(caught.value)


def test_unknown_name():
    with pytest.raises(ValueError, match="known: ssim_wang_rgb"):
        image_scores(torch.zeros(1, 3, 9, 9), torch.zeros(1, 3, 9, 9), ["ssim"])


# -- over a clip ------------------------------------------------------------------------------------------------


def _score(x, y, names, chunk):
    clip = Footage(chunks=lambda: iter(()), label="made.mp4")
    scores = ImageScores(names, Context(clip, clip))
    for i in range(0, len(x), chunk):
        scores.update(x[i : i + chunk], y[i : i + chunk])
    return scores.result()


def test_a_clip_is_the_mean_of_its_frames_however_it_is_cut():
    rng = np.random.default_rng(9)
    x, y = _portrait(rng, 7, 170, 170), _portrait(rng, 7, 170, 170)
    frames = image_scores(tensor(x), tensor(y))
    found = [_score(x, y, NAMES, chunk) for chunk in (1, 3, 7)]
    assert found[0] == found[1] == found[2]
    for name in NAMES:
        assert found[0][name].value == pytest.approx(frames[name].mean().item(), abs=1e-12)
        assert found[0][name].details["frames"] == 7


def test_infinite_frames_are_counted_and_left_out_of_the_mean():
    rng = np.random.default_rng(10)
    x = _portrait(rng, 4, 40, 40)
    y = x.copy()
    y[2:] = 255 - y[2:]
    some = _score(x, y, ["psnr_rgb"], 4)["psnr_rgb"]
    assert some.details["infinite"] == 2
    assert some.value == pytest.approx(psnr_rgb(tensor(x[2:]), tensor(y[2:])).mean().item())
    everything = _score(x, x, ["psnr_rgb"], 4)["psnr_rgb"]
    assert everything.value == math.inf
    assert everything.details == {"frames": 4, "infinite": 4}


def test_small_frames_fail_ms_ssim_alone():
    x = _portrait(np.random.default_rng(11), 2, 96, 96)
    found = _score(x, 255 - x, NAMES, 2)
    assert "at least 161x161 pixels, these are 96x96" in found["ms_ssim_wang_rgb"].failure
    assert found["ms_ssim_wang_rgb"].value is None
    assert all(found[name].failure is None for name in NAMES if name != "ms_ssim_wang_rgb")
    assert found["ssim_wang_rgb"].value == pytest.approx(
        _score(x, 255 - x, ["ssim_wang_rgb"], 2)["ssim_wang_rgb"].value
    )
