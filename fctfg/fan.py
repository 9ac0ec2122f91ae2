"""face-alignment's 68-point network (FAN) with files that are here, where the package would go and download its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fctfg import weights


def open_fan(points: Path, boxes: Path, device: str = "cpu") -> Any:
    """``face_alignment.FaceAlignment`` for 2-D points: ``points``, a 2DFAN-4 state dict; ``boxes``, its S3FD file.

    Needs face-alignment 1.5 (the extra ``fan``). WeightsError, RuntimeError: a file that is not what it should be.
    """
    import face_alignment
    import torch
    from face_alignment.models import FAN

    class Local(face_alignment.FaceAlignment):
        def _load_native(
            self, network_name: str, network_size: int, device: str, dtype: torch.dtype
        ) -> torch.nn.Module:
            net = FAN(network_size)
            net.load_state_dict(weights.load_state_dict(points))
            return net.to(device, dtype=dtype).eval()

    return Local(
        face_alignment.LandmarksType.TWO_D,
        device=device,
        flip_input=False,
        face_detector="sfd",
        face_detector_kwargs={"path_to_detector": str(boxes)},
        compile=False,
    )
