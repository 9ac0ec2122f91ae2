"""The catalogue's entries for FC-TFG's own networks: what its training can start from and what its losses look at."""

from __future__ import annotations

from fctfg.weights.entries import Entry, File

_FACEXLIB = "https://github.com/xinntao/facexlib/releases/download/v0.1.0/recognition_arcface_ir_se50.pth"

MODEL: tuple[Entry, ...] = (
    Entry(
        "vgg19",
        (
            File(
                "vgg19-dcbb9e9d.pth",
                "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
                sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
                size=574673361,
            ),
        ),
        "FC-TFG's perceptual loss (import vgg19)",
        "BSD-3-Clause (torchvision), ImageNet's terms",
        "https://pytorch.org/vision/stable/models/vgg.html",
    ),
    Entry(
        "ir_se50",
        tuple(
            File(name, url, None, "a035c768259b98ab1ce0e646312f48b9e1e218197a0f80ac6765e88f8b6ddf28", 175367323)
            for name, url in (("model_ir_se50.pth", None), (_FACEXLIB.rpartition("/")[2], _FACEXLIB))
        ),
        "identity loss, start of pSp's encoder (import arcface); the second file is facexlib's copy of the first",
        "MIT (InsightFace_Pytorch)",
        "https://github.com/TreB1eN/InsightFace_Pytorch",
        any_of=True,
    ),
    Entry(
        "stylegan2",
        (
            File("550000.pt"),
            File(
                "stylegan2-ffhq-config-f.pt",
                sha256="bae494ef77e32a9cd1792a81a3c167692a0e64f6bcd8b06592ff42917e2ed46e",
                size=381462551,
            ),
        ),
        "a generator of FFHQ faces at 256, or at 1024 (import stylegan2); neither is of VoxCeleb2",
        "MIT (rosinality), NVIDIA's for the converted second, FFHQ's terms",
        "https://github.com/rosinality/stylegan2-pytorch",
        "README, 'Pretrained Checkpoints'; the second: pixel2style2pixel's README, 'FFHQ StyleGAN'",
        any_of=True,
    ),
    Entry(
        "psp",
        (
            File(
                "psp_ffhq_encode.pt",
                sha256="f786ac5cf18fcdbc5c57c9f3f12cbedca69381fbdf5694dd132294e3133749d7",
                size=1201489451,
            ),
        ),
        "pSp's encoder of FFHQ faces for a 1024 generator (import psp)",
        "MIT, FFHQ's terms",
        "https://github.com/eladrich/pixel2style2pixel",
        "README, 'Pretrained Models', StyleGAN Inversion",
    ),
    Entry(
        "hyperstyle",
        (File("hyperstyle_ffhq.pt"),),
        "HyperStyle's hypernetwork of FFHQ faces for a 1024 generator (import hyperstyle)",
        "MIT, FFHQ's terms",
        "https://github.com/yuval-alaluf/hyperstyle",
        "README, 'Pretrained HyperStyle Models', Human Faces",
    ),
)
