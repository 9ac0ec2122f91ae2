"""MakeItTalk's 68 landmarks from the picture to the networks and back to the picture, 62.5 times a second.

Source: yzhou359/MakeItTalk (commit fad2fe4) ``main_end2end.py`` with its defaults (the mouth of the picture not
closed, lips amplified 2 and 2, the head 0.5), ``util/utils.py``, ``src/approaches/train_audio2landmark.py``. On the way
a face is (204,): x, y and z of each point, as wide as 1.6 and centred between the ears, y downwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FPS = 62.5
#: the fewest windows that can be smoothed; the fewest of a last segment that are not dropped
LEAST, LEAST_OF_SEGMENT = 15, 10
LIPS_X, LIPS_Y, HEAD = 2.0, 2.0, 0.5
#: how much of its own mouth the speaker branch loses, that the content branch may have it
CLOSED = 0.99
#: of a clip's displacements of the content branch, the part, from below, whose mean counts as rest
RESTING = 0.5
SMOOTH_HEAD, SMOOTH_MOTION, SMOOTH_FACE, SMOOTH_LIPS, ORDER = 31, 5, 15, 5, 3

# Points of the 68, above and below the opening, from the face's right to its left.
OUTER = np.array([(49, 59), (50, 58), (51, 57), (52, 56), (53, 55)]).T
INNER = np.array([(61, 67), (62, 66), (63, 65)]).T
LIDS = np.array([(37, 41), (38, 40), (43, 47), (44, 46)]).T
#: each outer point of the lips and the inner point that it goes with
BESIDE = np.array([[49, 50, 51, 52, 53, 55, 56, 57, 58, 59], [60, 61, 62, 63, 64, 64, 65, 66, 67, 60]])
LIPS = 48

#: blinks: the first frame of all; frames to close and to open again; frames between two, and by how many more they vary
BLINK, CLOSING, OPENING = 30, 10, 15
PAUSE, LEAST_MORE, MOST_MORE = 60, 30, 90


@dataclass(frozen=True)
class Rest:
    """A face at rest, (204,) float32, and how its x and y go back to pixels: ``xy / scale - shift``."""

    face: np.ndarray
    scale: float
    shift: np.ndarray


def at_rest(points: np.ndarray, depths: np.ndarray) -> Rest:
    """Points (68, 2) in pixels and the average face's depths (68,) -> Rest. The depths that were measured, if any,
    are not used. ValueError: both ears in one column.
    """
    xy = np.array(points, np.float32)
    xy[49:54, 1] += 1  # thinner lips, and wider eyes by two pixels above and below
    xy[55:60, 1] -= 1
    xy[LIDS[0], 1] -= 2
    xy[LIDS[1], 1] += 2
    if xy[0, 0] == xy[16, 0]:
        raise ValueError("the face has no width")
    scale = 1.6 / (xy[0, 0] - xy[16, 0])
    shift = -0.5 * (xy[0] + xy[16])
    face = np.concatenate((-(xy + shift) * scale, 0.1 * depths[:, None]), axis=1)
    return Rest(face.astype(np.float32).ravel(), float(scale), shift.astype(np.float64))


def moved(rest: Rest, spoken: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """What the content and the speaker branch say of a segment, (n, 204) float32 both -> faces (n, 204) float32."""
    from scipy.signal import savgol_filter

    length = min(len(turned) - 1, SMOOTH_HEAD) // 2 * 2 + 1
    turned = savgol_filter(turned, length, ORDER, axis=0).reshape(-1, 68, 3)
    for above, below in (OUTER, INNER):
        middle = (turned[:, above] + turned[:, below]) / 2
        turned[:, above] = middle * CLOSED + turned[:, above] * (1 - CLOSED)
        turned[:, below] = middle * CLOSED + turned[:, below] * (1 - CLOSED)
    spoken = (spoken - np.sort(spoken, axis=0)[: int(len(spoken) * RESTING)].mean(0)).reshape(-1, 68, 3)
    spoken[:, LIPS:, 0] *= LIPS_X
    spoken[:, LIPS:, 1] *= LIPS_Y
    return unturned(turned * np.float32(HEAD) + spoken + rest.face.reshape(68, 3)).reshape(-1, 204)


def unturned(faces: np.ndarray) -> np.ndarray:
    """Faces (n, 68, 3) whose lips have not changed places: where the inside of the mouth is inside out, its points
    meet halfway, and the outer lips keep the distance from them that they had when it last was not.
    """
    faces = faces.copy()
    x, y = np.moveaxis(faces[:, 61:, :2] - faces[:, 60:61, :2], 2, 0)
    area = (x[:, :-1] * y[:, 1:] - x[:, 1:] * y[:, :-1]).sum(1)
    bad = np.flatnonzero(area < 0)
    above, below = INNER
    rows = bad[:, None]
    faces[rows, above] = faces[rows, below] = (faces[rows, above] + faces[rows, below]) / 2
    last_good = np.maximum.accumulate(np.where(area < 0, 0, np.arange(len(faces))))
    outer, inner = BESIDE
    apart = faces[:, outer, 1] - faces[:, inner, 1]
    faces[rows, outer, 1] = faces[rows, inner, 1] + apart[last_good[bad]]
    return faces


def placed(faces: np.ndarray, rest: Rest) -> np.ndarray:
    """All faces of a clip (n, 204), n >= 15 -> points (n, 68, 2) in whole pixels, smoothed, and blinking."""
    from scipy.signal import savgol_filter

    faces = faces.reshape(-1, 68, 3).copy()
    faces[:, 27] = 2 * faces[:, 28] - faces[:, 29]
    # Six decimals: the public program hands the faces on in a text file.
    points = np.round(savgol_filter(faces, SMOOTH_MOTION, ORDER, axis=0)[..., :2].astype(np.float64), 6)
    points = blinking(-points / rest.scale - rest.shift)
    for part, length in ((slice(0, LIPS), SMOOTH_FACE), (slice(LIPS, 68), SMOOTH_LIPS)):
        points[:, part] = savgol_filter(points[:, part], length, ORDER, axis=0)
    return points.astype(int)


def blinking(points: np.ndarray) -> np.ndarray:
    """Points (n, 68, 2) with eyes that blink: at frame 30 and then every 90 to 149 frames, wherever it fits.

    When is chance, but always the same: the public program, too, sets its generator to 0 first.
    """
    points = points.copy()
    above, below = LIDS
    top, bottom = points[:, above], points[:, below]
    points[:, above], points[:, below] = 0.95 * top + 0.05 * bottom, 0.05 * top + 0.95 * bottom
    eyes = np.concatenate((above, below))
    before, after = np.arange(-CLOSING + 1, 0), np.arange(1, OPENING)
    for shut in blinks(len(points)):
        points[shut, above] = points[shut, below] = 0.25 * points[shut, above] + 0.75 * points[shut, below]
        for times, edge, part in (
            (before, shut - CLOSING, -before / CLOSING),
            (after, shut + OPENING, (1 + after) / OPENING),
        ):
            part = part[:, None, None]
            points[(shut + times)[:, None], eyes] = part * points[edge, eyes] + (1 - part) * points[shut, eyes]
    return points


def blinks(frames: int) -> list[int]:
    """The frames in which the eyes are shut, in a clip of so many; one too short to blink in (the public program
    breaks there) has none.
    """
    chance = np.random.RandomState(0)
    shut = BLINK
    found = [shut] if shut + OPENING < frames else []
    while found and (shut := shut + PAUSE + chance.randint(LEAST_MORE, MOST_MORE)) + OPENING + 1 < frames:
        found.append(shut)
    return found


def frames_at_25(count: int, wanted: int) -> np.ndarray:
    """Which of ``count`` faces are on screen at 0, 1/25, 2/25 s ...: floor(2.5 k), at most ``wanted`` of them."""
    return np.arange(min(-(-2 * count // 5), wanted)) * 5 // 2
