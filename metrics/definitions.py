"""Every metric variant: its name, what it is, and whose definition that is. Plain data: importing it loads no torch."""

from __future__ import annotations

from metrics.definition import Metric

_WANG = "Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 2004"
_MULTI = "Wang, Simoncelli, Bovik, Asilomar 2003; weights and pooling of github.com/VainF/pytorch-msssim"
_CHEN = "Chen, Maddox, Duan, Xu, CVPR 2019 (ATVGnet)"
_DLIB = "metrics.landmark_backends:dlib_missing"
_FAN = "metrics.landmark_backends:fan_missing"
_EAT = "Gan et al., ICCV 2023 (EAT); yuangan/evaluation_eat, test_lmd.py and utils_crop.py"

PICTURES = (
    Metric(
        "ssim_wang_rgb", "SSIM", "image", "", "[-1, 1]", "higher", _WANG,
        "SSIM of full RGB frames: Gaussian window 11, sigma 1.5, K .01/.03, range 255, windows inside the frame; "
        "mean over channels, then frames.",
    ),
    Metric(
        "ssim_wang_luma", "SSIM (luma)", "image", "", "[-1, 1]", "higher", _WANG,
        "SSIM with the same window on BT.601 luma rounded to whole levels; mean over frames.",
    ),
    Metric(
        "ssim_skimage_default", "SSIM (7x7)", "image", "", "[-1, 1]", "higher",
        "scikit-image structural_similarity, default options",
        "SSIM of full RGB frames with a 7x7 uniform window and sample covariance; mean over channels, then frames.",
    ),
    Metric(
        "ms_ssim_wang_rgb", "MS-SSIM", "image", "", "[0, 1]", "higher", _MULTI,
        "Five-scale SSIM of full RGB frames above 160 pixels; mean over channels, then frames.",
    ),
    Metric(
        "psnr_rgb", "PSNR", "image", "dB", "[0, inf]", "higher", "10 log10(255^2 / MSE)",
        "PSNR per frame from the squared error over all pixels and channels; mean over the frames where it is finite.",
    ),
    Metric(
        "l1_rgb", "L1", "image", "", "[0, 1]", "lower", "mean absolute difference",
        "Mean absolute difference over all pixels and channels, levels scaled to [0, 1]; mean over frames.",
    ),
    Metric(
        "lmd_mouth_dlib", "LMD", "landmarks", "px at 256", "[0, inf)", "lower", _CHEN,
        "Mean distance of the 20 mouth points (dlib, 68-point predictor) after each image's mouth centroid is removed, "
        "in pixels of a 256-pixel frame; mean over the frames where both show a face.",
        requires=_DLIB,
    ),
    Metric(
        "lmd_mouth_fan", "LMD (FAN)", "landmarks", "px at 256", "[0, inf)", "lower",
        f"{_CHEN}; points of Bulat, Tzimiropoulos, ICCV 2017",
        "As lmd_mouth_dlib, with S3FD boxes and 2D-FAN-4 points (no flipped second pass).",
        requires=_FAN,
    ),
    Metric(
        "lmd_atvgnet_dlib", "LMD (sum)", "landmarks", "px at 256", "[0, inf)", "lower",
        "lelechen63/ATVGnet, evaluation_matrix.py",
        "The sum, not the mean, over the 20 centred mouth points (dlib), as the ATVGnet code reduces it.",
        requires=_DLIB,
    ),
    Metric(
        "lmd_face_dlib", "F-LMD", "landmarks", "px at 256", "[0, inf)", "lower",
        "yuangan/evaluation_eat, test_lmd.py (without its alignment to a template)",
        "As lmd_mouth_dlib, for all 68 points after their centroid is removed.",
        requires=_DLIB,
    ),
    Metric(
        "lmd_mouth_106", "LMD (106)", "landmarks", "px at 256", "[0, inf)", "lower",
        f"{_CHEN}; points of github.com/deepinsight/insightface, 2d106det",
        "As lmd_mouth_dlib, with YuNet boxes and points 52 to 71 of insightface's 106, the same twenty of the mouth.",
        requires="metrics.landmark_106:missing",
    ),
    Metric(
        "lmd_eat_mouth_dlib", "M-LMD (EAT)", "landmarks", "px at 128", "[0, inf)", "lower", _EAT,
        "Each frame is brought onto a 128-pixel template by its nose and eyes (similarity); mean distance of dlib's 20 "
        "mouth points in the pictures so aligned, centroids removed; mean over the frames where both show a face.",
        requires=_DLIB,
    ),
    Metric(
        "lmd_eat_face_dlib", "F-LMD (EAT)", "landmarks", "px at 128", "[0, inf)", "lower", _EAT,
        "As lmd_eat_mouth_dlib, for all 68 points after their centroid is removed.",
        requires=_DLIB,
    ),
)  # fmt: skip

_CHUNG = (
    "Chung, Zisserman, ACCV workshops 2016 (joonson/syncnet_python); Prajwal et al., ACM MM 2020 (Rudrabha/Wav2Lip)"
)
_NUMBERS = {
    # number: (column, better, range, unit, what it is)
    "c": ("LSE-C", "higher", "[0, inf)", "", "Median minus minimum over 31 offsets of the mean SyncNet distance"),
    "d": ("LSE-D", "lower", "[0, inf)", "", "Least over 31 offsets of the mean SyncNet distance"),
    "lag": ("lag", "lower", "[0, 15]", "frames", "Size of the offset at which the mean SyncNet distance is least"),
}
_VARIANTS = {
    "official": "faces tracked and cropped as the published scripts for real videos do, missing speech counted as 0",
    "valid": "the same crop, each offset averaged over the windows that have speech there, no zeros",
}
_DETECTORS = {"": ("S3FD", "s3fd"), "_yunet": ("YuNet", "yunet"), "_dlib": ("dlib's HOG", "dlib")}

SYNC = (
    *(
        Metric(
            f"lse_{number}_{variant}{suffix}",
            column + ("" if variant == "official" and not suffix else f" ({variant}{suffix.replace('_', ', ')})"),
            "sync", unit, span, better, _CHUNG,
            f"{what}; {how}; faces found by {detector}; mean over tracks.",
            requires=f"metrics.sync_requirements:{requires}",
        )
        for variant, how in _VARIANTS.items()
        for suffix, (detector, requires) in _DETECTORS.items()
        for number, (column, better, span, unit, what) in _NUMBERS.items()
    ),
    *(
        Metric(
            f"lse_{number}_lrs", f"{column} (lrs)", "sync", unit, span, better, _CHUNG,
            f"{what}; the whole frame squashed to 224x224, as the published script for LRS2 does.",
            requires="metrics.sync_requirements:lrs",
        )
        for number, (column, better, span, unit, what) in _NUMBERS.items()
    ),
)  # fmt: skip

_ZHANG = "Zhang, Isola, Efros, Shechtman, Wang, CVPR 2018; heads v0.1 of the package lpips"
_DENG = "Deng, Guo, Xue, Zafeiriou, CVPR 2019; networks and template of github.com/deepinsight/insightface"
_FACES = "mediapipe FaceLandmarker (Apache-2.0), blendshapes and head transform"
_MOTION = {
    # factor: (heading, unit of the error, range of the error, what it is)
    "yaw": ("yaw", "degree", "[0, 180]", "head yaw"),
    "pitch": ("pitch", "degree", "[0, 180]", "head pitch"),
    "roll": ("roll", "degree", "[0, 180]", "head roll"),
    "blink_left": ("blink left", "", "[0, 1]", "blendshape eyeBlinkLeft (the person's left eye)"),
    "blink_right": ("blink right", "", "[0, 1]", "blendshape eyeBlinkRight (the person's right eye)"),
    "blink": ("blink", "", "[0, 1]", "mean of both eyes' blink blendshapes"),
    "gaze_x": ("gaze x", "", "[0, 2]", "horizontal gaze in the head, from the eyeLook blendshapes"),
    "gaze_y": ("gaze y", "", "[0, 2]", "vertical gaze in the head, from the eyeLook blendshapes"),
    "mouth": ("mouth", "eye distances", "[0, inf)", "3-D gap of the inner lips over the outer eye corners' distance"),
    "jaw": ("jaw", "", "[0, 1]", "blendshape jawOpen, a second opinion on the mouth"),
}
FACES = (
    Metric(
        "lpips_alex", "LPIPS", "perceptual", "", "[0, inf)", "lower", _ZHANG,
        "LPIPS v0.1 with the AlexNet trunk on whole RGB frames; mean over frames.",
        requires="metrics.perceptual:alex_unavailable",
    ),
    Metric(
        "lpips_vgg", "LPIPS (VGG)", "perceptual", "", "[0, inf)", "lower", _ZHANG,
        "LPIPS v0.1 with the VGG-16 trunk on whole RGB frames; mean over frames.",
        requires="metrics.perceptual:vgg_unavailable",
    ),
    *(
        Metric(
            f"csim_{prefix}arcface_{net}", f"CSIM{heading}{network}", "identity", "", "[-1, 1]", "higher", _DENG,
            f"Cosine between ArcFace ({long}) embeddings of the generated frame and {against}; five YuNet points, "
            "similarity transform to 112x112; mean over the frames where both show a face.",
            requires=f"metrics.identity:{net}_unavailable",
        )
        for net, network, long in (("r50", "", "w600k_r50"), ("mbf", " (MBF)", "w600k_mbf"))
        for prefix, heading, against in (
            ("", "", "the true frame of the same time"),
            ("source_", " source", "the clip's reference frame"),
        )
    ),
    *(
        Metric(
            f"motion_{factor}_{number}", f"{heading} {sign}", "motion", unit if number == "mae" else "",
            span if number == "mae" else "[-1, 1]", better, _FACES,
            f"{kind} between generated and driving {what}, over the frames where both show a face"
            + ("." if number == "mae" else "; undefined where the driving one hardly moves."),
            requires="metrics.motion:unavailable",
        )
        for factor, (heading, unit, span, what) in _MOTION.items()
        for number, sign, better, kind in (
            ("r", "r", "higher", "Pearson correlation"),
            ("mae", "error", "lower", "Mean absolute difference"),
        )
    ),
    Metric(
        "fid", "FID", "distribution", "", "[0, inf)", "lower",
        "Heusel et al., NeurIPS 2017; definition of github.com/toshas/torch-fidelity",
        "Frechet distance of the set of every fifth generated frame from the set of true frames of the same times, in "
        "Inception v3 (2015) pool3 features; one value per run, none per clip.",
        requires="metrics.distribution:unavailable",
    ),
)  # fmt: skip

ALL = (*PICTURES, *SYNC, *FACES)
