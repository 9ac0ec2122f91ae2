"""Puppets before stock face networks: what do YuNet, mediapipe, dlib and ArcFace see?

    python tests/puppets_judge.py --frames 600            # ../shared/weights beside the checkout, or --weights DIR

Prints one table: detection, landmark error, correlation of what the networks read with the puppets' truth, identity
verification, one-axis sweeps within an identity, and detection on pictures that are no faces. Everything moves at
once except in the sweeps. Needs mediapipe, OpenCV, onnxruntime and, for its columns, dlib.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from skimage.transform import SimilarityTransform

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fctfg.data.puppets.face import render  # noqa: E402
from fctfg.data.puppets.identity import Identity, sample_identity  # noqa: E402
from fctfg.data.puppets.motion import index, neutral  # noqa: E402

SIZE = 256
#: the 68 landmarks among mediapipe's 478 points; a pair means the mean of the two (a brow's upper and lower edge)
MESH_68 = [
    *range(17),  # the jaw is resampled from OVAL
    (70, 46), (63, 53), (105, 52), (66, 65), (107, 55), (336, 285), (296, 295), (334, 282), (293, 283), (300, 276),
    168, 197, 195, 4, 98, 97, 2, 326, 327,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
]  # fmt: skip
OVAL = [127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152]
OVAL += [377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356]
GROUPS = {"brow": range(17, 27), "nose": range(27, 36), "eye": range(36, 48), "mouth": range(48, 68)}
GROUPS = {"inner 51": range(17, 68), "all 68": range(68), "jaw": range(17), **GROUPS}
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def evenly(line: np.ndarray, n: int) -> np.ndarray:
    """``n`` points at equal distances along a polyline, as iBUG spaces its contours."""
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    return np.stack([np.interp(np.linspace(0, length[-1], n), length, axis) for axis in line.T], 1)


class Networks:
    """The stock networks behind one method each; a method returns None where no face is found."""

    def __init__(self, weights: Path) -> None:
        import cv2
        import mediapipe
        import onnxruntime
        from mediapipe.tasks import python as tasks

        self.cv2, self.mediapipe = cv2, mediapipe
        self.yunet = cv2.FaceDetectorYN.create(
            str(weights / "face_detection_yunet_2023mar.onnx"), "", (SIZE, SIZE), 0.7, 0.3, 10
        )
        options = tasks.vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_path=str(weights / "face_landmarker.task")),
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        self.landmarker = tasks.vision.FaceLandmarker.create_from_options(options)
        self.arcface = onnxruntime.InferenceSession(str(weights / "w600k_mbf.onnx"), providers=["CPUExecutionProvider"])
        self.dlib = self._dlib()

    @staticmethod
    def _dlib():
        """dlib's detector and 68-point predictor, or None where they are not installed."""
        from importlib.util import find_spec

        package = find_spec("face_recognition_models")
        if package is None or find_spec("dlib") is None:
            return None
        import dlib

        file = Path(package.origin).parent / "models" / "shape_predictor_68_face_landmarks.dat"
        return dlib.get_frontal_face_detector(), dlib.shape_predictor(str(file))

    def detect(self, image: np.ndarray) -> bool:
        self.yunet.setInputSize(image.shape[1::-1])
        return self.yunet.detect(image[:, :, ::-1].copy())[1] is not None

    def mesh(self, image: np.ndarray):
        """68 points, blendshapes by name, and the head's 3x3 rotation."""
        found = self.landmarker.detect(self.mediapipe.Image(image_format=self.mediapipe.ImageFormat.SRGB, data=image))
        if not found.face_landmarks:
            return None
        points = np.array([[p.x, p.y] for p in found.face_landmarks[0]]) * SIZE - 0.5
        sixty_eight = np.array([points[list(np.atleast_1d(i))].mean(0) for i in MESH_68])
        sixty_eight[:17] = evenly(points[OVAL], 17)
        sixty_eight[17:22], sixty_eight[22:27] = evenly(sixty_eight[17:22], 5), evenly(sixty_eight[22:27], 5)
        shapes = {c.category_name: c.score for c in found.face_blendshapes[0]}
        return sixty_eight, shapes, np.asarray(found.facial_transformation_matrixes[0])[:3, :3]

    def points_dlib(self, image: np.ndarray) -> np.ndarray | None:
        boxes = self.dlib[0](image, 1)
        if not boxes:
            return None
        found = self.dlib[1](image, boxes[0])
        return np.array([[found.part(i).x, found.part(i).y] for i in range(68)], float)

    def embed(self, image: np.ndarray, points: np.ndarray) -> np.ndarray:
        five = np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])
        matrix = SimilarityTransform.from_estimate(five, TEMPLATE).params[:2]  # least squares, as ArcFace has it
        face = self.cv2.warpAffine(image, matrix, (112, 112))
        tensor = (face.astype(np.float32).transpose(2, 0, 1)[None] - 127.5) / 127.5
        out = self.arcface.run(None, {self.arcface.get_inputs()[0].name: tensor})[0][0]
        return out / np.linalg.norm(out)


def readings(points: np.ndarray, shapes: dict[str, float], rotation: np.ndarray) -> dict[str, float]:
    """What mediapipe says about each factor, in the puppets' directions."""
    unit = np.linalg.norm(points[36] - points[45])

    def both(name: str) -> float:
        return (shapes[f"{name}Left"] + shapes[f"{name}Right"]) / 2

    right = shapes["eyeLookOutLeft"] + shapes["eyeLookInRight"] - shapes["eyeLookInLeft"] - shapes["eyeLookOutRight"]
    return {
        "lip gap": np.linalg.norm(points[62] - points[66]) / unit,
        "jawOpen": shapes["jawOpen"],
        "blink_l": shapes["eyeBlinkLeft"],
        "blink_r": shapes["eyeBlinkRight"],
        "gaze_x": right,
        "gaze_y": both("eyeLookUp") - both("eyeLookDown"),
        "smile": both("mouthSmile") - both("mouthFrown"),
        "mouth_round": shapes["mouthPucker"],
        "brow_raise": shapes["browInnerUp"] + both("browOuterUp") - both("browDown"),
        "yaw": np.degrees(np.arctan2(-rotation[2, 0], rotation[2, 2])),
        "pitch": np.degrees(np.arcsin(np.clip(-rotation[2, 1], -1, 1))),
        "roll": np.degrees(np.arctan2(rotation[0, 1], rotation[1, 1])),
    }


def truths(motion: np.ndarray, points: np.ndarray) -> dict[str, float]:
    out = {name: motion[index(name)] for name in ("gaze_x", "gaze_y", "smile", "mouth_round", "yaw", "pitch", "roll")}
    out |= {name: motion[index(name)] for name in ("blink_l", "blink_r")}
    out["brow_raise"] = (motion[index("brow_raise_l")] + motion[index("brow_raise_r")]) / 2
    out["lip gap"] = out["jawOpen"] = np.linalg.norm(points[62] - points[66]) / np.linalg.norm(points[36] - points[45])
    return out


def random_motion(n: int, generator: torch.Generator, yaw: float) -> torch.Tensor:
    """Everything moves at once: |yaw| up to ``yaw``, |pitch| and |roll| up to 20 degrees; half of the eyes blink."""
    motion = neutral(n)
    uniform = lambda low, high: low + (high - low) * torch.rand(n, generator=generator)  # noqa: E731
    spans = {"yaw": (-yaw, yaw), "pitch": (-20, 20), "roll": (-20, 20), "tx": (-0.05, 0.05), "ty": (-0.05, 0.05)}
    spans |= {"scale": (-0.1, 0.1), "mouth_open": (0, 1), "mouth_width": (-0.6, 0.6), "smile": (-0.5, 1)}
    spans |= {"gaze_x": (-1, 1), "gaze_y": (-1, 1)}
    for name, span in spans.items():
        motion[:, index(name)] = uniform(*span)
    motion[:, index("mouth_open")] **= 1.5
    # lips cannot be pursed and smiling at once
    motion[:, index("mouth_round")] = uniform(-1, 1).clamp(min=0) * (1 - 0.7 * motion[:, index("smile")].clamp(min=0))
    raised, blink = uniform(-0.6, 1), uniform(-1, 1).clamp(min=0)
    for side in "lr":
        motion[:, index(f"brow_raise_{side}")] = (raised + uniform(-0.2, 0.2)).clamp(-1, 1)
        motion[:, index(f"brow_furrow_{side}")] = uniform(-1, 1).clamp(min=0)
        motion[:, index(f"blink_{side}")] = torch.where(uniform(0, 1) < 0.8, blink, uniform(-1, 1).clamp(min=0))
    return motion


def to_uint8(frames: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray((frames * 255).round().byte().permute(0, 2, 3, 1).numpy())


def negatives(images: np.ndarray, points: np.ndarray, rng: np.random.Generator, cv2) -> dict[str, list[np.ndarray]]:
    """Pictures that are no faces: shuffled tiles, a blurred inside of the head, and noise of the same colours."""
    out = defaultdict(list)
    for image, face in zip(images, points, strict=True):
        tiles = image.reshape(8, 32, 8, 32, 3).transpose(0, 2, 1, 3, 4).reshape(64, 32, 32, 3)[rng.permutation(64)]
        out["shuffled"].append(tiles.reshape(8, 8, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(SIZE, SIZE, 3).copy())
        yy, xx = np.mgrid[:SIZE, :SIZE]
        (x, y), unit = face.mean(0), np.ptp(face[:, 0])
        mask = np.clip(5 - 5 * np.hypot((xx - x) / (0.72 * unit), (yy - y + 0.1 * unit) / (0.85 * unit)), 0, 1)[
            ..., None
        ]
        blurred = cv2.GaussianBlur(image, (0, 0), 0.28 * unit)
        out["blurred"].append((image * (1 - mask) + blurred * mask).astype(np.uint8))
        flat = image.reshape(-1, 3)[rng.permutation(SIZE * SIZE)]
        out["noise"].append(flat.reshape(image.shape).copy())
    return out


def correlation(a: list[float], b: list[float]) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 and np.std(a) > 0 and np.std(b) > 0 else float("nan")


def equal_error(same: np.ndarray, different: np.ndarray) -> float:
    cuts = np.sort(np.concatenate([same, different]))
    misses = np.searchsorted(np.sort(same), cuts) / len(same)
    accepts = 1 - np.searchsorted(np.sort(different), cuts) / len(different)
    return float(max(misses[i := int(np.argmin(np.abs(misses - accepts)))], accepts[i]))


def mixed(nets: Networks, people: int, motions: int, seed: int, yaw: float, use_dlib: bool) -> None:
    """Print the table for pictures in which everything moves at once."""
    generator = torch.Generator().manual_seed(seed)
    who = sample_identity(generator, people)
    rows = [i for i in range(people) for _ in range(motions)]
    motion = random_motion(len(rows), generator, yaw)
    drawn = render(who.pick(rows), motion, SIZE)
    images, truth = to_uint8(drawn.frames), drawn.landmarks.numpy()
    found = {"YuNet": [nets.detect(i) for i in images]}
    meshes = [nets.mesh(i) for i in images]
    found["mediapipe"] = [m is not None for m in meshes]
    if use_dlib and nets.dlib:
        others = [nets.points_dlib(i) for i in images]
        found["dlib"] = [o is not None for o in others]
    angle = motion[:, index("yaw")].abs().numpy()
    for limit in [b for b in (20, 30, 45) if b <= yaw]:
        inside = np.flatnonzero(angle <= limit)
        print(f"\n|yaw| <= {limit}: {len(inside)} frames")
        print(
            "  found %      " + "  ".join(f"{k} {100 * np.mean([v[i] for i in inside]):.1f}" for k, v in found.items())
        )
        reports = {"mediapipe": {i: meshes[i][0] for i in inside if meshes[i]}}
        if "dlib" in found:
            reports["dlib"] = {i: others[i] for i in inside if others[i] is not None}
        for name, points in reports.items():
            unit = {i: np.linalg.norm(truth[i, 36] - truth[i, 45]) for i in points}
            error = np.stack([np.linalg.norm(points[i] - truth[i], axis=1) / unit[i] for i in points]) * 100
            print(f"  {name} error %  " + "  ".join(f"{g} {error[:, list(r)].mean():.2f}" for g, r in GROUPS.items()))
        pairs = defaultdict(lambda: ([], []))
        for i in inside:
            if meshes[i]:
                read, true = readings(*meshes[i]), truths(motion[i].numpy(), truth[i])
                shut = max(true["blink_l"], true["blink_r"]) > 0.25
                for key in read:
                    if key.startswith("gaze") and shut:
                        continue  # a half-shut eye shows little of its gaze
                    name = "blink" if key.startswith("blink") else key
                    pairs[name][0].append(read[key])
                    pairs[name][1].append(true[key])
        print("  r            " + "  ".join(f"{k} {correlation(*v):.3f}" for k, v in pairs.items()))
        keep = [i for i in inside if meshes[i]]
        codes = np.stack([nets.embed(images[i], meshes[i][0]) for i in keep])
        person = np.array([rows[i] for i in keep])
        cosine = (codes @ codes.T)[np.triu_indices(len(keep), 1)]
        equal = (person[:, None] == person)[np.triu_indices(len(keep), 1)]
        rate = equal_error(cosine[equal], cosine[~equal])
        print(
            f"  ArcFace      same {cosine[equal].mean():.2f}  different {cosine[~equal].mean():.2f}  "
            f"EER {100 * rate:.1f} %"
        )
        level = np.abs(motion[keep, index("pitch")].numpy()) <= 10
        both = (level[:, None] & level)[np.triu_indices(len(keep), 1)]
        rate = equal_error(cosine[equal & both], cosine[~equal & both])
        print(f"               and |pitch| <= 10: {level.sum()} frames, EER {100 * rate:.1f} %")
    rng, step = np.random.default_rng(seed), max(1, len(images) // 100)
    print("\nno faces, found %")
    for name, pictures in negatives(images[::step], truth[::step], rng, nets.cv2).items():
        rates = [np.mean([nets.detect(p) for p in pictures]), np.mean([nets.mesh(p) is not None for p in pictures])]
        print(f"  {name:12s} YuNet {100 * rates[0]:.1f}  mediapipe {100 * rates[1]:.1f}  ({len(pictures)} pictures)")


def sweeps(nets: Networks, who: Identity, steps: int) -> None:
    """Print the mean correlation within an identity when one factor moves alone."""
    spans = {"lip gap": ("mouth_open", 0, 1), "jawOpen": ("mouth_open", 0, 1), "blink": ("blink", 0, 1)}
    spans |= {"gaze_x": ("gaze_x", -1, 1), "gaze_y": ("gaze_y", -1, 1), "smile": ("smile", 0, 1)}
    spans |= {"mouth_round": ("mouth_round", 0, 1), "brow_raise": ("brow_raise", -1, 1)}
    spans |= {"yaw": ("yaw", -30, 30), "pitch": ("pitch", -20, 20), "roll": ("roll", -30, 30)}
    print(f"\none axis at a time, r within an identity: mean (lowest) of {len(who)}")
    for reading, (name, low, high) in spans.items():
        values = torch.linspace(low, high, steps)
        columns = [name] if name not in ("blink", "brow_raise") else [f"{name}_l", f"{name}_r"]
        motion = neutral(steps)
        for column in columns:
            motion[:, index(column)] = values
        scores = []
        for i in range(len(who)):
            drawn = render(who.pick([i] * steps), motion, SIZE)
            read, true = [], []
            for image, points, value in zip(to_uint8(drawn.frames), drawn.landmarks.numpy(), values, strict=True):
                if (mesh := nets.mesh(image)) is None:
                    continue
                seen = readings(*mesh)
                seen["blink"] = (seen["blink_l"] + seen["blink_r"]) / 2
                read.append(seen[reading])
                gap = np.linalg.norm(points[62] - points[66])
                true.append(gap if name == "mouth_open" else float(value))
            scores.append(correlation(read, true))
        print(f"  {reading:12s} {np.nanmean(scores):.3f} ({np.nanmin(scores):.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=600, help="pictures in all")
    parser.add_argument("--people", type=int, default=50, help="identities; each has its share of the pictures")
    parser.add_argument("--seed", type=int, default=1000, help="draws identities and motion")
    parser.add_argument("--yaw", type=float, default=30, help="largest angle drawn, degrees")
    parser.add_argument("--sweeps", type=int, default=6, help="identities for the one-axis sweeps; 0 for none")
    parser.add_argument("--weights", type=Path, default=ROOT.parent / "shared" / "weights", help="the networks' files")
    parser.add_argument("--no-dlib", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    nets = Networks(args.weights)
    mixed(nets, args.people, args.frames // args.people, args.seed, args.yaw, not args.no_dlib)
    if args.sweeps:
        sweeps(nets, sample_identity(args.seed + 1, args.sweeps), 7)


if __name__ == "__main__":
    main()
