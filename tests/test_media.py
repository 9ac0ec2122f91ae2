"""fctfg.media: the frame rule, the clock, colours, sizes, whole files, and one-line errors."""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
import pytest

from fctfg import media
from fctfg.media.video import at_constant_rate

BITS = 10


def numbered(number: int, width=80, height=32) -> np.ndarray:
    """A picture that carries its number as black and white columns."""
    bits = (number >> np.arange(BITS)) & 1
    return np.broadcast_to((bits * 220 + 16).astype(np.uint8).repeat(width // BITS)[None, :, None], (height, width, 3))


def numbers(frames: np.ndarray) -> list[int]:
    bits = frames.reshape(len(frames), frames.shape[1], BITS, -1).mean(axis=(1, 3)) > 128
    return (bits @ (1 << np.arange(BITS))).tolist()


def write_timed(path, pts, time_base=Fraction(1, 1000), picture=numbered, audio=None, format=None, rotate=0):
    """A video whose frame i is shown at pts[i]; ``audio``: (samples (channels, n), rate, start in samples)."""
    with av.open(str(path), "w", format=format) as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        first = picture(0)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = time_base
        if rotate:
            stream.set_display_rotation(rotate)
        sound = None
        if audio is not None:
            samples, rate, start = audio
            sound = container.add_stream("aac", rate=rate, layout="mono" if len(samples) == 1 else "stereo")
            sound.bit_rate = 128_000
        for number, stamp in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture(number)), format="rgb24")
            frame.pts, frame.time_base = stamp, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            for at in range(0, samples.shape[1], 1024):
                block = np.ascontiguousarray(samples[:, at : at + 1024], dtype=np.float32)
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=sound.layout.name)
                frame.sample_rate, frame.pts, frame.time_base = rate, start + at, Fraction(1, rate)
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


def ffmpeg_fps(path, fps) -> Iterator[av.VideoFrame]:
    """What FFmpeg's own filter chain ``setpts=PTS-STARTPTS,fps`` gives."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        graph = av.filter.Graph()
        chain = [graph.add_buffer(template=stream), graph.add("setpts", "PTS-STARTPTS"), graph.add("fps", f"fps={fps}")]
        chain.append(graph.add("buffersink"))
        for a, b in itertools.pairwise(chain):
            a.link_to(b)
        graph.configure()
        for frame in [*container.decode(stream), None]:
            graph.push(frame)
            while True:
                try:
                    yield graph.pull()
                except (BlockingIOError, EOFError):
                    break


def pixels(frames) -> np.ndarray:
    return np.stack([frame.to_ndarray(format="rgb24") for frame in frames])


# ---------------------------------------------------------------------------------------------- which frame is when


@pytest.mark.parametrize("source", ["30", "30000/1001", "24", "15", "24000/1001", "60", "50"])
def test_constant_rates_agree_with_ffmpegs_fps_filter(tmp_path, source):
    clip = media.write_video(tmp_path / "a.mp4", (numbered(i) for i in range(97)), fps=Fraction(source))
    ours = numbers(media.read_video(clip))
    assert ours == numbers(pixels(ffmpeg_fps(clip, 25)))
    assert len(ours) == pytest.approx(97 / Fraction(source) * 25, abs=0.51)


def test_variable_rate_agrees_with_ffmpegs_fps_filter(tmp_path):
    rng = np.random.default_rng(3)
    for trial in range(4):
        steps = rng.choice([1, 5, 19, 20, 21, 33, 40, 60, 100, 333], size=80)
        pts = np.concatenate([[0], np.cumsum(steps)]) + (0, 700, 13, 40)[trial]
        clip = write_timed(tmp_path / f"{trial}.mp4", pts.tolist())
        for fps in (25, 30, Fraction(24000, 1001)):
            assert numbers(media.read_video(clip, fps=fps)) == numbers(pixels(ffmpeg_fps(clip, fps))), (trial, fps)
    assert media.probe(clip).variable_rate is True
    assert media.probe(clip).n_frames == 81


def test_the_rule_on_paper():
    def shown(times, end, fps=25):
        times = [Fraction(t).limit_denominator(10**6) for t in times]
        ends = [*times[1:], Fraction(end).limit_denominator(10**6)]
        timed = [(t, e - t, i) for i, (t, e) in enumerate(zip(times, ends, strict=True))]
        return [frame for frame, repeats in at_constant_rate(timed, Fraction(fps)) for _ in range(repeats)]

    assert shown([0, 0.04, 0.08], 0.12) == [0, 1, 2]
    assert shown([0, 0.02, 0.06], 0.12) == [0, 1, 2]  # halves go up
    assert shown([0, 0.019, 0.06], 0.12) == [1, 1, 2]  # two frames round to 0: the later one is shown
    assert shown([0, 0.08], 0.09) == [0, 0]  # round(0.09 * 25) = 2 frames
    assert shown([0], 0.001) == [0]  # at least one
    assert list(at_constant_rate([], Fraction(25))) == []


def test_25_fps_comes_through_frame_for_frame_in_any_chunks_and_spans(tmp_path):
    clip = media.write_video(tmp_path / "a.mp4", (numbered(i) for i in range(100)))
    assert numbers(media.read_video(clip)) == list(range(100))
    parts = list(media.iter_video(clip, chunk=7))
    assert [len(p) for p in parts] == [7] * 14 + [2]
    assert numbers(np.concatenate(parts)) == list(range(100))
    assert numbers(media.read_video(clip, start=31, stop=64, chunk=5)) == list(range(31, 64))
    assert numbers(media.read_video(clip, start=90, stop=400)) == list(range(90, 100))
    assert numbers(media.read_video(clip, fps=50, start=3, stop=8)) == [1, 2, 2, 3, 3]
    with pytest.raises(media.MediaError, match="has 100 frames at 25 fps, none from 100 on"):
        media.read_video(clip, start=100)
    with pytest.raises(ValueError, match="start < stop"):
        media.iter_video(clip, start=5, stop=5)


@pytest.mark.real
def test_real_mead_clip_at_30_fps_agrees_with_ffmpeg(real):
    clip = real / "mead/M030/video/front/sad/level_3/001.mp4"
    assert media.probe(clip).fps == Fraction(1000000, 33333)
    box = (900, 300, 1100, 400)
    ours = media.read_video(clip, box=box, stop=18)
    count = 0
    for count, theirs in enumerate(ffmpeg_fps(clip, 25), start=1):
        if count <= 18:  # the pattern of dropped frames repeats every six
            assert np.array_equal(ours[count - 1], theirs.to_ndarray(format="rgb24")[300:400, 900:1100])
    assert count == 93
    assert len(media.read_video(clip, box=box, start=91)) == 2


@pytest.mark.real
def test_real_clips_are_decoded_as_every_tool_does(real):
    for clip in [*sorted(real.glob("voxceleb2/**/*.mp4"))[:3], real / "syncnet_demo/example.avi"]:
        with av.open(str(clip)) as container:
            plain = pixels(container.decode(video=0))
        assert np.array_equal(media.read_video(clip), plain)


def test_frames_without_time_stamps_are_placed_one_after_the_other(tmp_path):
    path = tmp_path / "raw.h264"  # an elementary stream has no time stamps
    with av.open(str(path), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 80, 32, "yuv420p"
        for i in range(30):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(numbered(i)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        assert [f.pts for f in container.decode(video=0)] == [None] * 30
    assert numbers(media.read_video(path)) == list(range(30))


def test_streaming_holds_one_chunk(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (32, 80, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    clip = media.write_video(tmp_path / "long.mp4", (picture for _ in range(1200)), crf=40)
    tracemalloc.start()
    for part in media.iter_video(clip, chunk=32):
        chunk_bytes = max(part.nbytes, 32 * picture.nbytes)
        del part
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * chunk_bytes + 2e6  # the whole clip is 37 chunks


# ----------------------------------------------------------------------------------------------------- counting


def outcome(count) -> int | str:
    try:
        return count()
    except media.MediaError as error:
        return str(error)


def counted_both_ways(path, fps=25) -> int | str:
    """The count, or the error's line, after checking that converting every frame comes to the same."""
    counted = outcome(lambda: media.count_frames(path, fps=fps))
    assert counted == outcome(lambda: sum(len(part) for part in media.iter_video(path, fps=fps, chunk=16)))
    return counted


@pytest.mark.parametrize(
    ("pts", "wanted"),
    [
        ([0, 40, 80, 120], 4),
        ([0, 20, 90, 333, 340, 700], 18),  # variable rate
        ([700, 740, 780, 1020], 9),  # starts late: an edit list in the header
        ([0], 1),
        (list(range(0, 4000, 33)), 100),
    ],
)
def test_counting_is_reading_without_the_pixels(tmp_path, pts, wanted):
    """x264's B-frames are on, so that frames are not stored in the order in which they are shown."""
    clip = write_timed(tmp_path / "a.mp4", pts)
    assert counted_both_ways(clip) == pytest.approx(wanted, abs=1)
    assert counted_both_ways(clip, fps=Fraction(24000, 1001)) > 0
    assert media.count_frames(clip, fps=50) >= media.count_frames(clip)


def test_an_edit_list_that_leaves_frames_out_is_counted_as_shown(tmp_path):
    clip = media.write_video(tmp_path / "a.mp4", (numbered(i) for i in range(60)))
    data = bytearray(clip.read_bytes())
    at = data.index(b"elst") + 4  # version and flags, number of entries, then duration, start, rate
    assert int.from_bytes(data[at + 4 : at + 8]) == 1
    duration, start = (int.from_bytes(data[i : i + 4]) for i in (at + 8, at + 12))
    data[at + 8 : at + 12] = (duration * 40 // 60).to_bytes(4)
    data[at + 12 : at + 16] = (start + 20 * 512).to_bytes(4)  # x264 at 25 fps: 512 ticks of 1/12800 s a frame
    clip.write_bytes(data)
    assert counted_both_ways(clip) == 40
    assert numbers(media.read_video(clip)) == list(range(20, 60))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_damaged_and_truncated_files_count_as_they_read(tmp_path, name):
    whole = tmp_path / f"whole-{name}"
    noise = np.random.default_rng(0).integers(0, 255, (60, 64, 64, 3), dtype=np.uint8)
    with av.open(str(whole), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "15"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for picture in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    assert counted_both_ways(whole) == 60
    data, rng, seen = whole.read_bytes(), np.random.default_rng(1), set()
    for trial in range(24):
        changed = bytearray(data)
        if trial % 3 == 2:
            changed = changed[: int(len(changed) * rng.uniform(0.1, 1))]
        else:
            at, n = rng.integers(500, len(changed) - 2000), rng.choice([1, 20, 1500])
            changed[at : at + n] = bytes(n) if trial % 3 else rng.integers(0, 256, n, dtype=np.uint8).tobytes()
        path = tmp_path / name
        path.write_bytes(changed)
        seen.add(type(counted_both_ways(path)))
    assert str in seen
    assert counted_both_ways(tmp_path / "absent.mp4").endswith("check the path")


def test_pictures_of_changing_sizes_are_counted(tmp_path):
    """As they are given when a size is asked for."""
    path = tmp_path / "a.h264"
    data = b""
    for size in (64, 96):
        part = tmp_path / f"{size}.h264"
        with av.open(str(part), "w", format="h264") as container:
            stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
            stream.width = stream.height = size
            stream.pix_fmt = "yuv420p"
            for _ in range(10):
                frame = av.VideoFrame.from_ndarray(np.full((size, size, 3), 90, np.uint8), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        data += part.read_bytes()
    path.write_bytes(data)
    assert media.count_frames(path) == len(media.read_video(path, size=(32, 32))) == 20
    with pytest.raises(media.MediaError, match="changes from 64x64 to 96x96"):
        media.read_video(path)


@pytest.mark.real
def test_real_files_are_counted_as_read(real):
    clips = [*sorted(real.glob("voxceleb2/**/*.mp4")), real / "syncnet_demo/example.avi"]
    assert all(isinstance(counted_both_ways(clip), int) for clip in clips)
    assert media.count_frames(real / "mead/M030/video/front/sad/level_3/001.mp4") == 93


# --------------------------------------------------------------------------------------------------- pixels


def colour_bars(width=96, height=64) -> np.ndarray:
    colours = np.array(
        [[235, 235, 235], [235, 235, 16], [16, 235, 235], [16, 235, 16], [235, 16, 235], [235, 16, 16], [16, 16, 235],
         [16, 16, 16], [200, 120, 90], [90, 160, 210], [128, 128, 128], [60, 40, 20]], np.uint8)  # fmt: skip
    return np.broadcast_to(colours.repeat(width // 12, 0)[None], (height, width, 3))


def bar_centres(frame: np.ndarray) -> np.ndarray:
    return frame.reshape(frame.shape[0], 12, -1, 3)[8:-8, :, 3:-3].astype(int)


def test_colour_bars_read_back_as_written(tmp_path):
    bars = colour_bars()
    clip = media.write_video(tmp_path / "bars.mp4", [bars] * 5)
    back = media.read_video(clip)
    for frame in back:
        assert np.abs(bar_centres(frame) - bar_centres(bars)).max() <= 4
    with av.open(str(clip)) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range, frame.format.name) == (6, 1, "yuv420p")


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("size", [(223, 225), (64, 33), (33, 64), (64, 48)])
def test_any_size_reads_back_at_its_size(tmp_path, size, lossless):
    rng = np.random.default_rng(1)
    width, height = size
    small = rng.integers(30, 220, (6, height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    frames = media.resize(small, size)
    clip = media.write_video(tmp_path / "a.mp4", frames, lossless=lossless)
    back = media.read_video(clip)
    assert back.shape == frames.shape
    if lossless:
        assert np.array_equal(back, frames)
    else:
        assert np.abs(back.astype(int) - frames).mean() < 4


def test_written_video_is_neither_darker_nor_brighter(tmp_path):
    """On skin colours; without the writer's correction these come back one level darker."""
    rng = np.random.default_rng(0)
    skin = np.array([[60, 35, 28], [224, 172, 138], [141, 85, 58], [250, 214, 190]])[rng.integers(0, 4, (6, 6))]
    picture = media.resize(skin[None].astype(np.uint8), (128, 128)).repeat(3, 0)
    back = media.read_video(media.write_video(tmp_path / "skin.mp4", picture, crf=1))
    assert abs((back.astype(float) - picture).mean()) < 0.4
    assert (np.abs(back.astype(int) - picture) > 8).mean() < 0.01


@pytest.mark.parametrize(("matrix", "tag"), [("bt709", 1), ("smpte170m", 6), (None, 2)])
@pytest.mark.parametrize("full", [False, True])
def test_the_streams_own_matrix_and_range_are_used(tmp_path, matrix, tag, full):
    """Written from YUV values worked out here, not by swscale."""
    kr, kb = (0.2126, 0.0722) if matrix == "bt709" else (0.299, 0.114)
    rgb = colour_bars().astype(float)
    y = rgb @ [kr, 1 - kr - kb, kb]
    u, v = (rgb[..., 2] - y) / (2 - 2 * kb), (rgb[..., 0] - y) / (2 - 2 * kr)
    scale_y, low, scale_c = (1, 0, 1) if full else (219 / 255, 16, 224 / 255)
    planes = np.stack([y * scale_y + low, u * scale_c + 128, v * scale_c + 128])
    planes = np.clip(np.round(planes), 0, 255).astype(np.uint8)
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.height, stream.width = rgb.shape[:2]
        stream.pix_fmt = "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = tag, 2 if full else 1
        frame = av.VideoFrame.from_ndarray(planes, format="yuv444p")
        frame.colorspace, frame.color_range = tag, 2 if full else 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert np.abs(bar_centres(media.read_video(path)[0]) - bar_centres(rgb)).max() <= 3


def test_resize():
    rng = np.random.default_rng(0)
    noise = rng.integers(80, 176, (3, 225, 223, 3), dtype=np.uint8)
    assert media.resize(noise, (223, 225)) is noise
    assert media.resize(noise, (256, 128)).shape == (3, 128, 256, 3)
    flat = np.full((1, 31, 47, 3), (10, 128, 251), np.uint8)
    assert np.array_equal(np.unique(media.resize(flat, (256, 256)).reshape(-1, 3), axis=0), [[10, 128, 251]])
    assert np.array_equal(np.unique(media.resize(flat, (9, 7)).reshape(-1, 3), axis=0), [[10, 128, 251]])
    # Each colour by itself: a grey picture made of one channel gives that channel.
    grey = np.repeat(noise[:, :, :, 1:2], 3, axis=3)
    assert np.array_equal(media.resize(grey, (256, 256))[..., 0], media.resize(noise, (256, 256))[..., 1])
    # Centred: mirroring before and after is the same but for rounding.
    mirrored = media.resize(np.ascontiguousarray(noise[:, ::-1, ::-1]), (256, 256))[:, ::-1, ::-1]
    assert np.abs(mirrored.astype(int) - media.resize(noise, (256, 256))).max() <= 2
    # Anti-aliased: fine stripes become grey, not black or white.
    stripes = np.zeros((1, 256, 256, 3), np.uint8)
    stripes[:, :, ::2] = 255
    assert np.ptp(media.resize(stripes, (60, 60))[:, 5:-5, 5:-5]) < 30
    with pytest.raises(ValueError, match="uint8"):
        media.resize(noise.astype(float), (8, 8))


def test_resize_is_the_bicubic_filter_it_says():
    """Against the separable kernel B = 0, C = 0.6, stretched by the scale when shrinking, worked out in floats."""

    def kernel(x, c=0.6):
        x = np.abs(x)
        near, far = 1 - (3 - c) * x**2 + (2 - c) * x**3, c * (4 - 8 * x + 5 * x**2 - x**3)
        return np.where(x < 1, near, np.where(x < 2, far, 0))

    def weights(n, m):
        scale = n / m
        at = (np.arange(m)[:, None] + 0.5) * scale - 0.5
        taps = np.arange(-40, n + 40)
        w = kernel((taps[None] - at) / max(1, scale))
        w /= w.sum(1, keepdims=True)
        folded = np.zeros((m, n))
        np.add.at(folded.T, np.clip(taps, 0, n - 1), w.T)  # edges repeat
        return folded

    rng = np.random.default_rng(2)
    noise = rng.integers(80, 176, (1, 224, 200, 3), dtype=np.uint8)  # no overshoot beyond 0 and 255, which is cut
    for size in ((256, 256), (96, 96), (150, 301)):
        exact = np.tensordot(weights(224, size[1]), noise[0].astype(float), 1)  # (y, w, c)
        exact = np.tensordot(exact, weights(200, size[0]), ((1,), (1,))).transpose(0, 2, 1)
        error = np.abs(media.resize(noise, size)[0] - exact)
        assert error[8:-8, 8:-8].max() < 1
        assert error.max() < 4  # swscale repeats the edge a little differently


def test_box_is_cut_before_resizing(tmp_path):
    frames = media.resize(np.random.default_rng(0).integers(0, 255, (4, 6, 9, 3), np.uint8), (96, 64))
    clip = media.write_video(tmp_path / "a.mp4", frames, lossless=True)
    box = (11, 5, 52, 44)
    assert np.array_equal(media.read_video(clip, box=box), frames[:, 5:44, 11:52])
    assert np.array_equal(
        media.read_video(clip, box=box, size=(64, 64)), media.resize(frames[:, 5:44, 11:52], (64, 64))
    )
    with pytest.raises(media.MediaError, match=r"box \(0, 0, 97, 10\) does not lie in the 96x64 picture"):
        media.read_video(clip, box=(0, 0, 97, 10))


def test_a_phones_rotation_tag_is_applied(tmp_path):
    upright = media.read_video(write_timed(tmp_path / "up.mp4", range(0, 120, 40)))
    for degrees in (90, 180, -90):
        clip = write_timed(tmp_path / "r.mp4", range(0, 120, 40), rotate=degrees)
        turned = media.read_video(clip)
        assert np.array_equal(turned, np.rot90(upright, degrees // 90, axes=(1, 2)))
        assert media.probe(clip).width == turned.shape[2]


# ---------------------------------------------------------------------------------------------------- sound


def click_and_flash(rate, channels, seconds=3.0, at=(0.6, 1.2, 2.4)):
    """Flashes in frames 15, 30 and 60 of a 25 fps video, with clicks that start at the same instants."""
    samples = np.zeros((channels, int(rate * seconds)), np.float32)
    for second in at:
        start = round(second * rate)
        samples[:, start : start + rate // 500] = 0.8
    return samples


def flash(number, on=(15, 30, 60)):
    return np.full((32, 80, 3), 255 if number in on else 0, np.uint8)


def onsets(sound, threshold=0.4):
    loud = np.flatnonzero(sound > threshold)
    return loud[np.concatenate([[True], np.diff(loud) > 1600])]


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 1), (48000, 2), (8000, 1)])
@pytest.mark.parametrize("delay", [0, 520])
@pytest.mark.parametrize("container", ["mp4", "mkv", "mov"])
def test_click_and_flash_stay_together(tmp_path, rate, channels, delay, container):
    """``delay``: milliseconds by which picture and sound both start late."""
    pts = [40 * i + delay for i in range(75)]
    sound = (click_and_flash(rate, channels), rate, delay * rate // 1000)
    clip = write_timed(tmp_path / f"a.{container}", pts, picture=flash, audio=sound)
    lit = np.flatnonzero(media.read_video(clip).mean(axis=(1, 2, 3)) > 128)
    assert lit.tolist() == [15, 30, 60]
    heard = media.read_audio(clip)
    assert np.abs(onsets(heard) - lit * 640).max() <= 16  # 1 ms
    assert abs(len(heard) - 48000) <= (16 if container != "mkv" else 2100)  # mkv: the encoder's padding stays


@pytest.mark.parametrize(("video_at", "audio_at"), [(0, 200), (300, 0), (1000, 1250), (400, 360)])
def test_sound_is_placed_on_the_videos_clock(tmp_path, video_at, audio_at):
    """Picture and sound that start at different times: cut before the first frame, silence until a later start."""
    pts = [40 * i + video_at for i in range(75)]
    rate = 48000
    clip = write_timed(
        tmp_path / "a.mp4", pts, picture=flash, audio=(click_and_flash(rate, 1), rate, audio_at * rate // 1000)
    )
    heard = media.read_audio(clip)
    expected = (np.array([0.6, 1.2, 2.4]) + (audio_at - video_at) / 1000) * 16000
    assert np.abs(onsets(heard) - expected).max() <= 16


def test_sound_files_alone(tmp_path):
    clicks = click_and_flash(16000, 1)[0]
    expected = np.array([0.6, 1.2, 2.4]) * 16000
    for name in ("a.m4a", "a.wav"):
        path = media.write_audio(tmp_path / name, clicks, 16000)
        heard = media.read_audio(path)
        assert len(heard) == len(clicks)
        assert np.abs(onsets(heard) - expected).max() <= (0 if name == "a.wav" else 8)
        assert media.probe(path).has_video is False
        assert media.probe(path).duration == pytest.approx(3.0)
    path = media.write_audio(tmp_path / "b.wav", click_and_flash(44100, 1)[0], 44100)
    assert np.abs(onsets(media.read_audio(path)) - expected).max() <= 4


def test_wav_is_exact_and_stored_rate_is_untouched(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, 5003).astype(np.int16)
    path = media.write_audio(tmp_path / "a.wav", samples, 16000)
    assert np.array_equal(media.read_audio(path), (samples / 32768).astype(np.float32))
    assert np.array_equal(media.read_audio(media.write_audio(path, media.read_audio(path))), media.read_audio(path))


def test_spans_and_blocks_of_sound_are_slices_of_the_whole(tmp_path):
    sound = np.sin(np.arange(44100 * 3) * 0.05).astype(np.float32) * 0.5
    path = media.write_audio(tmp_path / "a.wav", sound, 44100)
    whole = media.read_audio(path)
    assert len(whole) == 48000
    assert np.array_equal(media.read_audio(path, start=0.5, stop=1.25), whole[8000:20000])
    assert np.array_equal(media.read_audio(path, start=2.9, stop=9), whole[46400:])
    assert len(media.read_audio(path, start=4)) == 0
    blocks = list(media.iter_audio(path, chunk=640))
    assert {len(b) for b in blocks} == {640}
    assert np.array_equal(np.concatenate(blocks), whole)


def test_resampling_moves_nothing_and_keeps_the_tone(tmp_path):
    for rate in (8000, 22050, 44100, 48000):
        time = np.arange(rate * 2 + 17) / rate
        path = media.write_audio(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 440 * time), rate)
        heard = media.read_audio(path)
        assert len(heard) == round(len(time) * 16000 / rate)
        exact = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(heard)) / 16000)
        assert np.abs(heard - exact)[400:-400].max() < 2e-3


def test_a_gap_in_the_sound_is_silence(tmp_path):
    """Two stretches of tone with half a second missing between their time stamps."""
    rate, tone = 16000, np.full((1, 1024), 0.5, np.float32)
    path = tmp_path / "gap.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=rate, layout="mono")
        for at in [*range(0, 8192, 1024), *range(16192, 24384, 1024)]:
            frame = av.AudioFrame.from_ndarray(tone, format="flt", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    heard = media.read_audio(path)
    assert len(heard) == 24384
    silent = np.flatnonzero(heard == 0)
    assert (silent[0], silent[-1] + 1, len(silent)) == (8192, 16192, 8000)


def test_stereo_becomes_the_mean(tmp_path):
    left, right = np.full(16000, 0.5, np.float32), np.full(16000, -0.25, np.float32)
    path = tmp_path / "s.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="stereo")
        data = (np.stack([left, right], 1).reshape(1, -1) * 32768).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(data, format="s16", layout="stereo")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert np.all(media.read_audio(path) == 0.125)


@pytest.mark.real
def test_real_separate_sound_equals_the_sound_in_the_video(real):
    pairs = [(v, str(v).replace("/mp4/", "/aac/")) for v in sorted(real.glob("voxceleb2/test/mp4/*/*/*.mp4"))]
    pairs += [(v, str(v).replace("/video/front/", "/audio/")) for v in sorted(real.glob("mead/*/video/**/*.mp4"))]
    assert len(pairs) == 13
    for video, sound in pairs:
        inside, apart = media.read_audio(video), media.read_audio(os.path.splitext(sound)[0] + ".m4a")
        assert len(inside) == len(apart)
        assert np.corrcoef(inside, apart)[0, 1] > 0.999
        spectrum = np.fft.rfft(inside) * np.conj(np.fft.rfft(apart))
        assert np.argmax(np.fft.irfft(spectrum)) == 0  # lag 0


# ----------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("lossless", [False, True])
def test_picture_and_sound_are_written_together(tmp_path, lossless):
    sound = click_and_flash(16000, 1)[0]
    clip = media.write_video(tmp_path / "a.mp4", (flash(i) for i in range(75)), audio=sound, lossless=lossless)
    info = media.probe(clip)
    assert (info.fps, info.n_frames, info.duration, info.sample_rate) == (25, 75, 3.0, 16000)
    assert info.variable_rate is False
    heard = media.read_audio(clip)
    assert len(heard) == len(sound)
    assert np.abs(onsets(heard) - np.array([15, 30, 60]) * 640).max() <= 8
    if lossless:
        assert np.abs(heard - sound).max() <= 2.0**-23
    head = clip.read_bytes()
    assert head.index(b"moov") < head.index(b"mdat")  # plays while it loads


@pytest.mark.parametrize("n_samples", [1, 700, 37527, 60000])
def test_sound_of_any_length(tmp_path, n_samples):
    sound = (0.3 * np.sin(np.arange(n_samples) * 0.07)).astype(np.float32)
    clip = media.write_video(tmp_path / "a.mp4", np.zeros((50, 32, 32, 3), np.uint8), audio=sound)
    assert len(media.read_audio(clip)) == n_samples
    assert len(media.read_video(clip)) == 50


def test_same_input_same_bytes(tmp_path):
    frames = media.resize(np.random.default_rng(0).integers(0, 255, (20, 8, 8, 3), np.uint8), (96, 96))
    sound = np.random.default_rng(1).normal(0, 0.1, 12800).astype(np.float32)
    one = media.write_video(tmp_path / "a.mp4", frames, audio=sound)
    two = media.write_video(tmp_path / "b.mp4", iter([frames[:7], frames[7], frames[8:]]), audio=sound)
    assert one.read_bytes() == two.read_bytes()


def test_a_failed_write_leaves_nothing_and_keeps_the_old_file(tmp_path):
    clip = media.write_video(tmp_path / "sub" / "a.mp4", [numbered(1)] * 3)
    before = clip.read_bytes()

    def failing():
        yield numbered(0)
        raise RuntimeError("the method failed")

    with pytest.raises(RuntimeError, match="the method failed"):
        media.write_video(clip, failing())
    for frames, message in [
        ([], "there are no frames to write"),
        ([numbered(0), numbered(0, height=34)], "the frames change from 80x32 to 80x34"),
        ([np.zeros((8, 8, 3))], r"must be \(H, W, 3\) or \(t, H, W, 3\) uint8, not \(8, 8, 3\) float64"),
    ]:
        with pytest.raises(media.MediaError, match=message):
            media.write_video(clip, frames)
    with pytest.raises(media.MediaError, match="AAC has no sample rate 12345 Hz"):
        media.write_video(clip, [numbered(0)], audio=np.zeros(10), sample_rate=12345)
    with pytest.raises(media.MediaError, match="NaN"):
        media.write_video(clip, [numbered(0)], audio=np.full(10, np.nan))
    assert clip.read_bytes() == before
    assert sorted(os.listdir(clip.parent)) == ["a.mp4"]
    with pytest.raises(media.MediaError, match=r"written as \.mp4"):
        media.write_video(tmp_path / "a.avi", [numbered(0)])


def test_a_full_disk_is_one_line(tmp_path):
    """A limit on file sizes stands in for a full disk: writes fail in the middle of the file, or at its very end."""
    code = """
import os, resource, sys, numpy as np
from fctfg import media
noise = np.random.default_rng(0).integers(0, 255, (20, 128, 128, 3), dtype=np.uint8)
size = media.write_video(sys.argv[1], noise).stat().st_size
os.unlink(sys.argv[1])
for limit in (50_000, size // 2, size - 1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        media.write_video(sys.argv[1], noise)
    except media.MediaError as error:
        print(error)
"""
    path = tmp_path / "full.mp4"
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{path}: ") for line in lines)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(media.MediaError, match="is a file, not a folder"):
        media.write_video(tmp_path / "file" / "a.mp4", [numbered(0)])
    if os.geteuid() == 0:
        return  # root may write anywhere
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(media.MediaError, match="choose a folder you may write to"):
        media.write_audio(tmp_path / "locked" / "a.wav", np.zeros(10))


# ------------------------------------------------------------------------------------------------- bad inputs


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    noise = np.random.default_rng(0).integers(0, 255, (100, 64, 64, 3), dtype=np.uint8)
    return media.write_video(folder / "good.mp4", noise, audio=np.random.default_rng(1).normal(0, 0.1, 64000))


def one_line(excinfo, path):
    message = str(excinfo.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert "; " in message  # ... and what to do
    return message


def test_files_that_are_no_media(tmp_path, capfd):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is no video\n" * 50)
    (tmp_path / "text.txt").write_text("this is no video\n" * 50)
    cases = {"none.mp4": "no such file", "": "is a folder", "empty.mp4": r"0 bytes", "text.mp4": "not a whole video"}
    for name, wrong in (cases | {"text.txt": "not a video"}).items():
        path = tmp_path / name
        for read in (media.read_video, media.read_audio, media.probe, lambda p: next(media.iter_video(p))):
            with pytest.raises(media.MediaError, match=wrong) as excinfo:
                read(path)
            one_line(excinfo, path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_a_shortened_file_is_refused_not_read_short(tmp_path, good, keep, capfd):
    data = good.read_bytes()
    cut = tmp_path / "cut.mp4"  # the header is at the front, so FFmpeg alone would read what is left without a word
    cut.write_bytes(data[: int(len(data) * keep)])
    for read in (media.read_video, media.read_audio):
        with pytest.raises(media.MediaError) as excinfo:
            read(cut)
        one_line(excinfo, cut)
    assert len(media.read_video(cut, stop=10)) == 10  # what is asked for is there
    tail = tmp_path / "tail.mp4"
    tail.write_bytes(data[: data.index(b"moov") + 100])
    with pytest.raises(media.MediaError, match="not a whole video"):
        media.probe(tail)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("container", ["mkv", "avi", "mov"])
def test_shortened_files_of_other_kinds(tmp_path, container):
    whole, cut = tmp_path / f"a.{container}", tmp_path / f"cut.{container}"
    rng = np.random.default_rng(0)
    with av.open(str(whole), "w", options={"movflags": "+faststart"} if container == "mov" else {}) as output:
        picture = output.add_stream("mpeg4", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        sound = output.add_stream("pcm_s16le", rate=16000, layout="mono")
        for i in range(100):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8), format="rgb24")
            output.mux(picture.encode(frame))
            block = av.AudioFrame.from_ndarray(np.zeros((1, 640), np.int16), format="s16", layout="mono")
            block.sample_rate, block.pts, block.time_base = 16000, i * 640, Fraction(1, 16000)
            output.mux(sound.encode(block))
        output.mux(picture.encode(None))
        output.mux(sound.encode(None))
    assert len(media.read_video(whole)) == 100
    assert len(media.read_audio(whole)) == 64000
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    for read in (media.read_video, media.read_audio):
        with pytest.raises(media.MediaError) as excinfo:
            read(cut)
        one_line(excinfo, cut)


def test_a_shortened_wav(tmp_path):
    path = media.write_audio(tmp_path / "a.wav", np.zeros(32000), 16000)
    path.write_bytes(path.read_bytes()[:30000])
    with pytest.raises(media.MediaError, match="stops at"):
        media.read_audio(path)


def test_damage_in_the_middle_is_refused(tmp_path, good):
    data = bytearray(good.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = np.random.default_rng(0).bytes(4000)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    with pytest.raises(media.MediaError) as excinfo:
        media.read_video(path)
    one_line(excinfo, path)


def test_a_time_stamp_gone_wild_is_refused_not_filled(tmp_path):
    pts = [0, 40, 80, 3_600_000, 3_600_040]
    clip = write_timed(tmp_path / "wild.mp4", pts, audio=(np.zeros((1, 4096)), 16000, 61 * 16000))
    with pytest.raises(media.MediaError, match="frame 2 is shown for 3600 s; check its time stamps"):
        media.read_video(clip)
    with pytest.raises(media.MediaError, match="has 61 s without sound at 0 s"):
        media.read_audio(clip)


def test_a_missing_track_is_named(tmp_path):
    silent = media.write_video(tmp_path / "silent.mp4", [numbered(0)] * 3)
    sound = media.write_audio(tmp_path / "sound.m4a", np.zeros(16000))
    with pytest.raises(media.MediaError, match="has no audio track; name a file with sound"):
        media.read_audio(silent)
    with pytest.raises(media.MediaError, match="has no video track; name a file with video"):
        media.read_video(sound)
    assert media.probe(silent).has_audio is False


def test_awkward_names_work(tmp_path, good):
    for name in ("with space.mp4", "Ünï-çødé 世界.mp4", "http:colon.mp4", "50%d #1.mp4", "x" * 251 + ".mp4"):
        path = tmp_path / name
        shutil.copy(good, path)
        assert media.probe(path).n_frames == 100
        assert media.write_video(path, [numbered(0)] * 4).stat().st_size < good.stat().st_size
        assert len(media.read_video(path)) == 4


def test_errors_travel_between_processes():
    error = media.MediaError("a.mp4", "is bad", "fix it")
    assert str(error) == "a.mp4: is bad; fix it"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.path) == (media.MediaError, str(error), error.path)


@pytest.mark.benchmark(group="media")
def test_speed_of_reading_at_256(benchmark, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (10, 14, 14, 3), np.uint8)
    clip = media.write_video(tmp_path / "a.mp4", media.resize(noise, (224, 224)).repeat(10, 0))
    benchmark(media.read_video, clip, size=(256, 256))
