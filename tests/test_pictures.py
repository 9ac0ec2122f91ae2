"""Source pictures of every kind, and the crop about the face."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fctfg import face_crop, face_detection, media, pictures
from fctfg.face_crop import CropError, enlarge, within
from fctfg.pictures import PictureError


def ramp(height: int = 80, width: int = 96) -> np.ndarray:
    """(H, W, 3) uint8: red grows to the right, green downwards, blue constant."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // (width - 1), y * 255 // (height - 1), np.full_like(x, 60)], -1).astype(np.uint8)


GREY = ramp()[..., 0]


def test_the_common_formats(tmp_path):
    for name, options, tolerance in (
        ("a.png", {}, 0),
        ("a.webp", {"lossless": True}, 0),
        ("a.jpg", {"quality": 98}, 8),
    ):
        Image.fromarray(ramp()).save(tmp_path / name, **options)
        np.testing.assert_allclose(pictures.read(tmp_path / name).astype(int), ramp(), atol=tolerance)


def test_a_file_is_known_by_its_content_not_its_name(tmp_path):
    Image.fromarray(ramp()).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert np.array_equal(pictures.read(tmp_path / "a.jpg"), ramp())


def test_greys_of_8_and_16_bits_are_scaled_not_clipped(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "8.png")
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "16.png")
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "16.tiff")
    Image.fromarray(GREY.astype(np.int32) * 257).save(tmp_path / "32.tiff")
    for name in ("8.png", "16.png", "16.tiff", "32.tiff"):
        assert np.array_equal(pictures.read(tmp_path / name), np.repeat(GREY[..., None], 3, 2)), name
    Image.fromarray(GREY.astype(np.int32) << 20).save(tmp_path / "deep.tiff")
    with pytest.raises(PictureError, match=r"deep.tiff: has more than 16 bits"):
        pictures.read(tmp_path / "deep.tiff")
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(PictureError, match=r"float.tiff: has floating-point pixels"):
        pictures.read(tmp_path / "float.tiff")


def test_colour_of_16_bits(tmp_path):
    """Written by OpenCV: Pillow reads such files but writes none."""
    cv2 = pytest.importorskip("cv2")
    cv2.imwrite(str(tmp_path / "16.png"), np.ascontiguousarray(ramp()[..., ::-1]).astype(np.uint16) * 257)
    np.testing.assert_allclose(pictures.read(tmp_path / "16.png").astype(int), ramp(), atol=1)


def test_palette_and_transparency_lie_on_white(tmp_path):
    few = (ramp() // 128 * 255).astype(np.uint8)
    Image.fromarray(few).quantize(8).save(tmp_path / "palette.png")
    assert np.array_equal(pictures.read(tmp_path / "palette.png"), few)
    alpha = np.full(GREY.shape, 255, np.uint8)
    alpha[:40] = 0
    alpha[40:50] = 128
    Image.fromarray(np.dstack([ramp(), alpha])).save(tmp_path / "alpha.png")
    wanted = ramp().astype(float)
    wanted[:40] = 255
    wanted[40:50] = wanted[40:50] * 128 / 255 + 127
    np.testing.assert_allclose(pictures.read(tmp_path / "alpha.png").astype(float), wanted, atol=1)
    palette = Image.fromarray(few).quantize(8)
    palette.info["transparency"] = palette.getpixel((0, 0))
    palette.save(tmp_path / "clear.png", transparency=palette.getpixel((0, 0)))
    assert (pictures.read(tmp_path / "clear.png")[0, 0] == 255).all()
    Image.fromarray(np.dstack([GREY, alpha]), "LA").save(tmp_path / "la.png")
    assert (pictures.read(tmp_path / "la.png")[:40] == 255).all()


def test_cmyk_and_black_and_white(tmp_path):
    Image.fromarray(ramp()).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=98)
    np.testing.assert_allclose(pictures.read(tmp_path / "cmyk.jpg").astype(int), ramp(), atol=12)
    Image.fromarray(GREY > 127).save(tmp_path / "one.png")
    assert np.array_equal(pictures.read(tmp_path / "one.png")[..., 0], (GREY > 127) * 255)


@pytest.mark.parametrize("tag", range(1, 9))
def test_the_cameras_rotation_tag(tag, tmp_path):
    undo = {1: lambda p: p, 2: np.fliplr, 3: lambda p: np.rot90(p, 2), 4: np.flipud, 5: lambda p: p.swapaxes(0, 1),
            6: lambda p: np.rot90(p, -1), 7: lambda p: np.rot90(p, 2).swapaxes(0, 1), 8: np.rot90}[tag]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(ramp()).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(pictures.read(tmp_path / "a.png"), undo(ramp()))


def test_of_an_animation_the_first_picture(tmp_path):
    first, second = Image.fromarray(ramp()), Image.fromarray(255 - ramp())
    first.save(tmp_path / "a.webp", save_all=True, append_images=[second], lossless=True)
    assert np.array_equal(pictures.read(tmp_path / "a.webp"), ramp())


def test_what_is_no_picture_is_one_line(tmp_path):
    Image.fromarray(ramp()).save(tmp_path / "whole.png")
    Image.effect_noise((200, 200), 90).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:200])
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:2000])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("not a picture\n" * 9)
    Image.fromarray(ramp(40, 90)).save(tmp_path / "small.png")
    media.write_video(tmp_path / "video.mp4", np.zeros((3, 64, 64, 3), np.uint8))
    unknown, damaged = "no picture that can be read", "damaged picture"
    for name, said in {
        "none.png": "no such file", "empty.png": unknown, "text.png": unknown, "video.mp4": unknown, "cut.png": damaged,
        "cut.jpg": damaged, "small.png": "is 90x40; use a picture of at least 64x64", ".": "is a folder",
    }.items():  # fmt: skip
        with pytest.raises(PictureError, match=said) as caught:
            pictures.read(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(str(tmp_path))


# -- the crop ---------------------------------------------------------------------------------------------------------


class Finds:
    """A detector that answers with planted boxes, frame after frame."""

    name = version = "planted"

    def __init__(self, *answers):
        self.answers, self.seen = answers, 0

    def __call__(self, frames):
        out = []
        for _ in frames:
            rows = self.answers[self.seen % len(self.answers)]
            out.append(np.array([[*row, 1.0] for row in rows], float).reshape(-1, 5))
            self.seen += 1
        return out


def test_the_square_about_a_face_stays_in_the_picture():
    assert within(enlarge((300, 200, 400, 320)), 1000, 600) == (278, 188, 422, 332)
    left, top, right, bottom = within(enlarge((0, 10, 200, 210)), 1000, 600)  # over the edge: moved inside
    assert (left, top) == (0, 0)
    assert right - left == bottom - top == 240
    assert within(enlarge((100, 50, 400, 350)), 500, 320) == (90, 0, 410, 320)  # larger than the picture: all there is


def test_one_face_none_and_two():
    picture = np.zeros((600, 1000, 3), np.uint8)
    box = face_crop.of_picture(picture, Finds([(300, 200, 400, 320), (700, 100, 740, 150)]), "a.png")
    assert box == (278, 188, 422, 332)  # a small face far behind is nobody's rival
    with pytest.raises(CropError, match=r"^a.png: no face found; .*--crop none"):
        face_crop.of_picture(picture, Finds([]), "a.png")
    with pytest.raises(CropError, match=r"^a.png: two faces of similar size; .*--crop none"):
        face_crop.of_picture(picture, Finds([(300, 200, 400, 320), (700, 200, 790, 310)]), "a.png")


def test_large_pictures_are_searched_small_and_cropped_large():
    picture = np.zeros((1440, 2000, 3), np.uint8)
    seen = []

    class Half(Finds):
        def __call__(self, frames):
            seen.append(frames.shape)
            return super().__call__(frames)

    assert face_crop.of_picture(picture, Half([(300, 200, 400, 320)]), "a") == (556, 376, 844, 664)
    assert seen == [(1, 720, 1000, 3)]


def test_a_video_has_one_box_the_union_of_its_first_frames(tmp_path):
    media.write_video(tmp_path / "a.mp4", np.zeros((130, 96, 160, 3), np.uint8))
    finder = Finds([(40, 20, 60, 40)], [(50, 20, 80, 40)], [])  # at times the face is lost
    box = face_crop.of_video(tmp_path / "a.mp4", finder)
    assert finder.seen == 25  # every fourth of the first hundred
    assert box == within(enlarge((40, 20, 80, 40)), 160, 96)
    with pytest.raises(CropError, match=r"a.mp4: no face found"):
        face_crop.of_video(tmp_path / "a.mp4", Finds([]))


def test_face_of_a_file(tmp_path):
    Image.fromarray(ramp(200, 300)).save(tmp_path / "a.png")
    cut = pictures.face(tmp_path / "a.png", 32, Finds([(100, 50, 180, 130)]))
    left, top, right, bottom = within(enlarge((100, 50, 180, 130)), 300, 200)
    wanted = media.resize(np.ascontiguousarray(ramp(200, 300)[None, top:bottom, left:right]), (32, 32))[0]
    assert np.array_equal(cut, wanted)
    with pytest.raises(PictureError, match=r"is 24 pixels wide; use one of at least 64"):
        pictures.face(tmp_path / "a.png", 32, Finds([(100, 50, 120, 70)]))
    with pytest.raises(PictureError, match=r"a.png: is 300x200, not square; use --crop auto"):
        pictures.face(tmp_path / "a.png", 32, None)
    Image.fromarray(ramp(96, 96)).save(tmp_path / "b.png")
    assert np.array_equal(pictures.face(tmp_path / "b.png", 96, None), ramp(96, 96))


def test_on_a_real_face(real, weights_dir, tmp_path, monkeypatch):
    """The crop holds the face that both detectors see, with the training crops' margin."""
    pytest.importorskip("cv2")
    monkeypatch.setenv("FCTFG_WEIGHTS", str(weights_dir))
    video = next((real / "voxceleb2").rglob("*.mp4"))
    boxes = [face_crop.of_video(video, face_detection.choose(name)) for name in ("yunet", "dlib")]
    for left, top, right, bottom in boxes:
        assert right - left == bottom - top >= 120
    both = [max(b[k] for b in boxes) for k in (0, 1)] + [min(b[k] for b in boxes) for k in (2, 3)]
    shared = (both[2] - both[0]) * (both[3] - both[1])
    assert shared > 0.5 * max((b[2] - b[0]) ** 2 for b in boxes)
