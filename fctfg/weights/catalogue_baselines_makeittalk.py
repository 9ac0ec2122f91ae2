"""The catalogue's entries for the MakeItTalk baseline: its networks, its tables of numbers, and what it borrows."""

from __future__ import annotations

from fctfg.weights.entries import Entry, File

_REPOSITORY = "https://github.com/yzhou359/MakeItTalk"
_RAW = "https://raw.githubusercontent.com/yzhou359/MakeItTalk/fad2fe466dc1ac3b6141b930c99b8f1298e3de00/src/"
_RESEMBLYZER = "https://github.com/resemble-ai/Resemblyzer"

MAKEITTALK: tuple[Entry, ...] = (
    Entry(
        "makeittalk",
        tuple(
            File(f"makeittalk/{name}.pth")
            for name in ("ckpt_autovc", "ckpt_content_branch", "ckpt_speaker_branch", "ckpt_116_i2i_comb")
        ),
        "the MakeItTalk baseline",
        "CC-BY-NC-4.0",
        _REPOSITORY,
        "README, 'Pre-trained Models'; put the four in a folder makeittalk",
    ),
    Entry(
        "makeittalk_data",
        (
            File(
                "makeittalk/obama_emb.txt",
                _RAW + "autovc/retrain_version/obama_emb.txt",
                sha256="92f3251844a551b28af3ccf09a3c2766a64b9e38cecccbff8860bf4389674470",
                size=6400,
            ),
            File(
                "makeittalk/MEAN_STD_AUTOVC_RETRAIN_MEL_AU.txt",
                _RAW + "dataset/utils/MEAN_STD_AUTOVC_RETRAIN_MEL_AU.txt",
                sha256="3904ca83b05cd7e84c28e07a9fd41319340ad9f948509ba5efb0779a8a2ac07d",
                size=1760,
            ),
            File(
                "makeittalk/STD_FACE_LANDMARKS.txt",
                _RAW + "dataset/utils/STD_FACE_LANDMARKS.txt",
                sha256="a9bbaab5b3c6c595b34d0aad37c8f09c1e3d78e1cad11b4a503d3993b84584b7",
                size=1501,
            ),
        ),
        "the MakeItTalk baseline: the voice it turns all others into, the scale of its sound, its average face",
        "CC-BY-NC-4.0",
        _REPOSITORY,
    ),
    Entry(
        "resemblyzer",
        (
            File(
                "resemblyzer/pretrained.pt",
                f"{_RESEMBLYZER}/raw/master/resemblyzer/pretrained.pt",
                sha256="39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e",
                size=17090379,
            ),
        ),
        "the MakeItTalk baseline: who speaks",
        "Apache-2.0",
        _RESEMBLYZER,
        "the package Resemblyzer 0.1.4 carries the same file; the package itself is not needed",
    ),
    Entry(
        "fan3d",
        (
            File(
                "3DFAN4-7835d9f11d.pth.tar",
                "https://www.adrianbulat.com/downloads/python-fan/3DFAN4-7835d9f11d.pth.tar",
            ),
        ),
        "the MakeItTalk baseline's landmarks (makeittalk-dlib can go without them)",
        "BSD-3-Clause (face-alignment)",
        "https://github.com/1adrianb/face-alignment",
    ),
)
