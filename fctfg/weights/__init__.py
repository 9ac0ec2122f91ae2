"""Third-party weights: what exists, where it is officially, where it is here, and whether it is the right file.

    python -m fctfg.weights list
    python -m fctfg.weights fetch syncnet s3fd
    python -m fctfg.weights verify
    python -m fctfg.weights import psp psp_vox.pt      (see ``fctfg.weights.importing``)

Nothing is downloaded unless ``fetch`` is asked. A file is looked for in this order: the folders of ``FCTFG_WEIGHTS``
(separated as in PATH), the user's cache (``~/.cache/fctfg/weights``; ``XDG_CACHE_HOME`` is respected), and the places
where other packages keep theirs: torch hub's checkpoints, insightface's models, the face_recognition_models package.
"""

from fctfg.weights.catalogue import CATALOGUE, Entry, File, WeightsError, entry
from fctfg.weights.download import check, doubt, fetch
from fctfg.weights.load import check_state, load_state_dict
from fctfg.weights.lookup import MissingWeights, cache_folder, find, locate, missing, require, sha256

__all__ = [
    "CATALOGUE",
    "Entry",
    "File",
    "MissingWeights",
    "WeightsError",
    "cache_folder",
    "check",
    "check_state",
    "doubt",
    "entry",
    "fetch",
    "find",
    "load_state_dict",
    "locate",
    "missing",
    "require",
    "sha256",
]
