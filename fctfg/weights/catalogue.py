"""The catalogue: every file of somebody else's that a column or a baseline needs, as data.

Sums are of the files named, not of the archive they come in: measured on the file, or published by its host (torch hub
puts the first digits in the name) and agreeing wherever they are pinned publicly. None: no sum is known. A file without
an address is one that no program can fetch (a shared drive, a form): its entry names the project's page.
"""

from __future__ import annotations

from fctfg.weights.catalogue_baselines_makeittalk import MAKEITTALK
from fctfg.weights.catalogue_model import MODEL
from fctfg.weights.entries import Entry, File, WeightsError

_LIPSYNC = "http://www.robots.ox.ac.uk/~vgg/software/lipsync/data/"
_FAN = "https://www.adrianbulat.com/downloads/python-fan/"
_TORCHVISION = "https://download.pytorch.org/models/"
_BUFFALO = "https://github.com/deepinsight/insightface/releases/download/v0.7/buffalo_"
_INSIGHTFACE = {"licence": "non-commercial research only", "page": "https://github.com/deepinsight/insightface"}
_WAV2LIP = {
    "licence": "research and personal use only (trained on LRS2)",
    "page": "https://github.com/Rudrabha/Wav2Lip",
    "how": "README, 'Getting the weights'",
}

CATALOGUE: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "dlib68",
            (
                File(
                    "shape_predictor_68_face_landmarks.dat",
                    "http://dlib.net/files/shape_predictor_68_face_landmarks.dat.bz2",
                    sha256="fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
                    size=99693937,
                ),
            ),
            "LMD with dlib's 68 points (lmd_*_dlib)",
            "trained on iBUG 300-W: non-commercial",
            "http://dlib.net/files/",
            "or: pip install face_recognition_models, which carries it",
        ),
        Entry(
            "fan",
            (
                File(
                    "2DFAN4-11f355bf06.pth.tar",
                    _FAN + "2DFAN4-11f355bf06.pth.tar",
                    sha256="11f355bf0693120222f5955ce3f9dc8fb5763ebb30a47d7906e509490d32e4aa",
                ),
                File(
                    "2DFAN4-cd938726ad.zip",
                    _FAN + "2DFAN4-cd938726ad.zip",
                    sha256="cd938726adb1f15f361263cce2db9cb820c42585fa8796ec72ce19107f369a46",
                ),
            ),
            "LMD with FAN's 68 points (lmd_*_fan); the first file for face-alignment 1.5, the second for 1.4",
            "BSD-3-Clause (face-alignment)",
            "https://github.com/1adrianb/face-alignment",
            any_of=True,
        ),
        Entry(
            "s3fd",
            (
                File(
                    "sfd_face.pth",
                    _LIPSYNC.replace("http:", "https:") + "sfd_face.pth",
                    sha256="d54a87c2b7543b64729c9a25eafd188da15fd3f6e02f0ecec76ae1b30d86c491",
                    size=89844381,
                ),
                File(
                    "s3fd-619a316812.pth",
                    _FAN + "s3fd-619a316812.pth",
                    sha256="619a31681264d3f7f7fc7a16a42cbbe8b23f31a256f75a366e5a1bcd59b33543",
                ),
            ),
            "face boxes of the official LSE pipeline (lse_*_official), face crops by name (--detector s3fd); the "
            "second file is face-alignment's copy",
            "MIT (syncnet_python), BSD-3-Clause (face-alignment)",
            "https://github.com/joonson/syncnet_python",
            any_of=True,
        ),
        Entry(
            "syncnet",
            (
                File(
                    "syncnet_v2.model",
                    _LIPSYNC + "syncnet_v2.model",
                    sha256="961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
                    size=54573114,
                ),
            ),
            "LSE-C and LSE-D (every lse_* column)",
            "MIT (syncnet_python)",
            "https://github.com/joonson/syncnet_python",
        ),
        Entry(
            "yunet",
            (
                File(
                    "face_detection_yunet_2023mar.onnx",
                    "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/"
                    "face_detection_yunet_2023mar.onnx",
                    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
                    size=232589,
                ),
            ),
            "face boxes (lse_*_yunet, lmd_mouth_106, face crops, identity)",
            "MIT",
            "https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet",
        ),
        Entry(
            "alexnet",
            (
                File(
                    "alexnet-owt-7be5be79.pth",
                    _TORCHVISION + "alexnet-owt-7be5be79.pth",
                    sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
                    size=244408911,
                ),
                File(
                    "alexnet_features.pth",
                    sha256="1454cf628f565bb39c929b4ab19c33d8c662292055b946c48daaeb6ccaf8811d",
                    size=9882965,
                ),
            ),
            "LPIPS-alex (lpips_alex); the second file is the trunk alone, features.* of the first",
            "BSD-3-Clause (torchvision), ImageNet's terms",
            "https://pytorch.org/vision/stable/models/alexnet.html",
            any_of=True,
        ),
        Entry(
            "vgg16",
            (
                File(
                    "vgg16-397923af.pth",
                    _TORCHVISION + "vgg16-397923af.pth",
                    sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
                    size=553433881,
                ),
                File(
                    "vgg16_features.pth",
                    sha256="c6202c684b82fdf2f7007873bcf40b1238e1565f688e2e541c96d8090c79c130",
                    size=58867381,
                ),
            ),
            "LPIPS-vgg (lpips_vgg), perceptual losses; the second file is the trunk alone, features.* of the first",
            "BSD-3-Clause (torchvision), ImageNet's terms",
            "https://pytorch.org/vision/stable/models/vgg.html",
            any_of=True,
        ),
        Entry(
            "arcface_r50",
            (
                File(
                    "w600k_r50.onnx",
                    _BUFFALO + "l.zip",
                    "w600k_r50.onnx",
                    "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
                ),
            ),
            "identity similarity, ArcFace ResNet-50",
            **_INSIGHTFACE,
        ),
        Entry(
            "arcface_mbf",
            (
                File(
                    "w600k_mbf.onnx",
                    _BUFFALO + "s.zip",
                    "w600k_mbf.onnx",
                    "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f",
                    13616099,
                ),
            ),
            "identity similarity, ArcFace MobileFaceNet",
            **_INSIGHTFACE,
        ),
        Entry(
            "landmarks106",
            (
                File(
                    "2d106det.onnx",
                    _BUFFALO + "s.zip",
                    "2d106det.onnx",
                    "f001b856447c413801ef5c42091ed0cd516fcd21f2d6b79635b1e733a7109dbf",
                    5030888,
                ),
            ),
            "lmd_mouth_106 (insightface's 106 points)",
            **_INSIGHTFACE,
        ),
        Entry(
            "face_landmarker",
            (
                File(
                    "face_landmarker.task",
                    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/"
                    "face_landmarker.task",
                    sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
                    size=3758596,
                ),
            ),
            "motion columns: pose, blink, gaze, mouth opening (mediapipe)",
            "Apache-2.0",
            "https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker",
        ),
        Entry(
            "inception",
            (
                File(
                    "weights-inception-2015-12-05-6726825d.pth",
                    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
                    "weights-inception-2015-12-05-6726825d.pth",
                    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
                    size=95628359,
                ),
            ),
            "FID (fid)",
            "Apache-2.0",
            "https://github.com/toshas/torch-fidelity",
        ),
        Entry(
            "wav2lip",
            (
                File(
                    "wav2lip.pth",
                    sha256="b78b681b68ad9fe6c6fb1debc6ff43ad05834a8af8a62ffc4167b7b34ef63c37",
                    size=435807851,
                ),
            ),
            "the Wav2Lip baseline, FC-TFG's audio encoder (import wav2lip-audio)",
            **_WAV2LIP,
        ),
        Entry(
            "wav2lip_gan",
            (
                File(
                    "wav2lip_gan.pth",
                    sha256="ca9ab7b7b812c0e80a6e70a5977c545a1e8a365a6c49d5e533023c034d7ac3d8",
                    size=435801865,
                ),
            ),
            "the Wav2Lip + GAN baseline",
            **_WAV2LIP,
        ),
        Entry(
            "lipsync_expert",
            (
                File(
                    "lipsync_expert.pth",
                    sha256="9b9936c721696446eeed353032cab242a8cf0eed8c46cde540366f6ae5493be5",
                    size=197357631,
                ),
            ),
            "Wav2Lip's sync expert, for FC-TFG's sync loss (import sync-expert)",
            **_WAV2LIP,
        ),
        Entry(
            "pc_avs",
            tuple(File(f"pc_avs/latest_net_{net}.pth") for net in ("G", "V", "E", "A_sync")),
            "the PC-AVS baseline",
            "CC-BY-4.0",
            "https://github.com/Hangz-nju-cuhk/Talking-Face_PC-AVS",
            "README, 'Download the pre-trained checkpoints' (demo.zip); unpack it into a folder pc_avs",
        ),
        Entry(
            "audio2head",
            (File("audio2head.pth.tar"),),
            "the Audio2Head baseline",
            "none stated",
            "https://github.com/wangsuzhen/Audio2Head",
            "README, 'Pretrained Checkpoint'",
        ),
        *MAKEITTALK,
        *MODEL,
    )
}


def entry(name: str) -> Entry:
    """The catalogue's entry; WeightsError names the known ones."""
    if name not in CATALOGUE:
        raise WeightsError(f"no weights are called '{name}'; known are {', '.join(CATALOGUE)}")
    return CATALOGUE[name]
