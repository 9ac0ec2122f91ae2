"""Methods: what animates a reference, and how to name one on the command line.

    fctfg                    the model of the paper (fctfg.method)
    truth                    a control (see baselines.controls)
    videos:DIR               ready-made videos named by clip id; the way most results come
    command:PROGRAM ARGS     an external program in its own environment: files in, mp4 out
    package.module:Class     a class of your own; it needs no base class, only the shape of Method

``python -m protocols.methods`` lists them. Names are resolved lazily: listing imports no torch.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import importlib
import inspect
import sys
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from fctfg.animation import Animation

CONTROLS = ("truth", "reencode", "still", "shuffled-audio")

#: name -> "module:Class"; nothing is imported until a method is used.
REGISTRY: dict[str, str] = {
    "fctfg": "fctfg.method:FCTFG",
    "fctfg-refined": "fctfg.method:FCTFGRefined",
    "fctfg-other-sound": "fctfg.method:FCTFGOtherSound",
    "wav2lip": "baselines.wav2lip:Wav2Lip",
    "wav2lip-gan": "baselines.wav2lip:Wav2LipGAN",
    "wav2lip-full-video": "baselines.wav2lip:Wav2LipFullVideo",
    "wav2lip-gan-full-video": "baselines.wav2lip:Wav2LipGANFullVideo",
    "makeittalk": "baselines.makeittalk:MakeItTalk",
    "makeittalk-dlib": "baselines.makeittalk:MakeItTalkDlib",
    "pc-avs": "baselines.pc_avs:PCAVS",
    "pc-avs-dlib": "baselines.pc_avs:PCAVSDlib",
    "pc-avs-vox": "baselines.pc_avs:PCAVSVox",
    "audio2head": "baselines.audio2head:Audio2Head",
    "truth": "baselines.controls:Truth",
    "reencode": "baselines.controls:Reencode",
    "still": "baselines.controls:Still",
    "shuffled-audio": "baselines.controls:ShuffledAudio",
}

#: what a method may claim to control; the left half of the paper's Table 1
MOTIONS = ("lip", "pose", "blink", "gaze")


class MethodError(ValueError):
    """A method that cannot be had or failed on a clip; the message is one line and says what to do."""


@runtime_checkable
class Method(Protocol):
    """What animates a reference. Satisfied by shape; nothing needs to be inherited.

    ``name``: shown in tables and file names. ``controls``: which of lip, pose, blink, gaze follow the driving inputs.

    Optional attributes: ``kind`` ("method" unless it says "control"), ``description``, ``version`` (raise it when the
    results change; for classes without one, the source file's hash is used), ``weights`` (list of files, recorded by
    hash), ``unofficial`` (why the weights are not known to be the authors', "" where they are: such rows stand apart in
    every table and are never bold), ``trained_on`` ("puppets" where the weights saw nothing else: its rows of other
    data stand apart likewise), ``audio_of = "another-speaker"`` (the protocol then hands over, and scores with,
    another person's sound), ``device`` (set to the run's device before the first clip when the attribute exists).
    """

    name: str
    controls: frozenset[str]

    def animate(self, reference: np.ndarray, driving: np.ndarray, audio: np.ndarray) -> Animation:
        """Animate ``reference`` (256, 256, 3) uint8 RGB to follow ``driving`` (n, 256, 256, 3) uint8 at 25 fps and
        ``audio``, mono float32 in [-1, 1] at 16 kHz, whose sample 0 sounds when ``driving[0]`` is shown.
        """


def load(spec: str, name: str | None = None) -> Any:
    """The method that ``spec`` names, built. ``name`` overrides the name shown in tables.

    Raises MethodError: an unknown name (the known ones are listed), a class that cannot be imported or built.
    """
    kind, colon, rest = spec.partition(":")
    if kind == "videos" and colon:
        from protocols.ready_made import ReadyMadeVideos

        method: Any = ReadyMadeVideos(rest)
    elif kind == "command" and colon:
        from protocols.external import ExternalCommand

        method = ExternalCommand(rest)
    elif spec in REGISTRY:
        method = _build(REGISTRY[spec])
    elif colon and rest.isidentifier():
        method = _build(spec)
    else:
        close = difflib.get_close_matches(spec, REGISTRY, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise MethodError(
            f"unknown method '{spec}': {hint}known are {', '.join(REGISTRY)}, "
            "and videos:DIR, command:PROGRAM, module:Class"
        )
    _check(method, spec)
    if name:
        method.name = name
    return method


def describe(method: Any, spec: str) -> dict:
    """What run.json says of a method, and all of it that generated frames depend on."""
    from fctfg.weights import sha256

    return {
        "name": method.name,
        "spec": spec,
        "kind": getattr(method, "kind", "method"),
        "controls": [m for m in MOTIONS if m in method.controls],
        "description": getattr(method, "description", "") or _first_line(method),
        "version": str(getattr(method, "version", None) or _source_sha256(method)),
        "weights": {Path(file).name: sha256(file) for file in getattr(method, "weights", ())},
        "unofficial": getattr(method, "unofficial", ""),
        "trained_on": getattr(method, "trained_on", ""),
        "audio_of": getattr(method, "audio_of", "the-clip"),
    }


def _build(target: str) -> Any:
    module_name, _, class_name = target.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # a class of the user's own lies in the current folder
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise MethodError(
            f"method '{target}': cannot import {module_name} ({error}); run from its folder or install it"
        ) from None
    try:
        cls = getattr(module, class_name)
    except AttributeError:
        raise MethodError(f"method '{target}': {module_name} has no class {class_name}") from None
    from fctfg.weights import WeightsError

    try:
        return cls()
    except WeightsError as error:  # says already what is missing and what to do
        raise MethodError(f"{getattr(cls, 'name', class_name)}: {error}") from None
    except (TypeError, ValueError, OSError, RuntimeError) as error:
        raise MethodError(f"method '{target}': {class_name}() failed: {one_line(error)}") from None


def _check(method: Any, spec: str) -> None:
    if not hasattr(method, "recording") and not callable(getattr(method, "animate", None)):
        raise MethodError(f"method '{spec}': has no animate(reference, driving, audio); see protocols.methods.Method")
    for attribute in ("name", "controls"):
        if not hasattr(method, attribute):
            raise MethodError(f"method '{spec}': has no attribute '{attribute}'; see protocols.methods.Method")
    unknown = set(method.controls) - set(MOTIONS)
    if unknown:
        raise MethodError(f"method '{spec}': controls {sorted(unknown)} unknown; choose from {', '.join(MOTIONS)}")


def _source_sha256(method: Any) -> str:
    try:
        return hashlib.sha256(Path(inspect.getfile(type(method))).read_bytes()).hexdigest()
    except (TypeError, OSError):  # built at a prompt: no source file to go by
        return "unversioned"


def _first_line(method: Any) -> str:
    return (inspect.getdoc(type(method)) or "").split("\n")[0]


def one_line(error: BaseException) -> str:
    """An exception as one line for a row."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."


def main(argv: list[str] | None = None) -> int:
    """List the methods."""
    parser = argparse.ArgumentParser(
        prog="python -m protocols.methods",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(argv)
    rows = [(n, *_listed(n)) for n in REGISTRY]
    rows.append(("videos:DIR", "", "ready-made videos in DIR, named by clip id (DIR/manifest.json for the odd cases)"))
    rows.append(("command:...", "", "an external program; {reference} {driving} {audio} {output} stand for its files"))
    rows.append(("module:Class", "", "a class of your own with name, controls and animate()"))
    for name, controls, text in rows:
        print(f"{name:24} {controls:22} {text}")
    return 0


def _listed(name: str) -> tuple[str, str]:
    module_name, _, class_name = REGISTRY[name].partition(":")
    cls = getattr(importlib.import_module(module_name), class_name)
    text = getattr(cls, "description", "") or (inspect.getdoc(cls) or "").split("\n")[0]
    return ",".join(m for m in MOTIONS if m in cls.controls) or "-", text


if __name__ == "__main__":
    sys.exit(main())
