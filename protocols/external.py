"""``command:...``: a method that is a program of its own, in its own environment. Files in, one mp4 out."""

from __future__ import annotations

import os
import shlex
import signal
import string
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from fctfg import media
from fctfg.animation import Animation
from protocols.methods import MOTIONS, MethodError

PLACEHOLDERS = ("reference", "driving", "audio", "output")


class ExternalCommand:
    """A program run once a clip.

    The template is split as a shell splits words, and no shell is started. In each word ``{reference}`` becomes the
    path of a PNG, ``{driving}`` of an mp4 (25 fps, RGB-exact), ``{audio}`` of a 16 kHz mono wav, and ``{output}`` of
    the mp4 that the program must write (for instance
    ``command:/envs/old/bin/python infer.py --face {reference} --audio {audio} --out {output}``). Words of the form
    ``@name=NAME``, ``@first_frame=N``, ``@controls=lip,pose`` and ``@timeout=SECONDS`` before the program set what a
    class would declare.
    """

    kind = "method"

    def __init__(self, template: str) -> None:
        try:
            words = shlex.split(template)
        except ValueError as error:
            raise MethodError(f"command:{template}: cannot be split into words ({error})") from None
        options = {"name": "", "first_frame": "1", "controls": "lip", "timeout": "1800"}
        while words and words[0].startswith("@"):
            key, _, value = words.pop(0)[1:].partition("=")
            if key not in options:
                raise MethodError(f"command: unknown option @{key}; known are @{', @'.join(options)}")
            options[key] = value
        if not words:
            raise MethodError("command: names no program; write command:PROGRAM ARGS with {output} among the ARGS")
        used = {field for word in words for _, field, _, _ in _parse(word) if field}
        if "output" not in used or not used <= set(PLACEHOLDERS):
            raise MethodError(
                f"command:{template}: needs {{output}}, may use {{reference}} {{driving}} {{audio}}, and nothing else"
            )
        self.words, self.used = words, used
        self.name = options["name"] or Path(words[0]).stem
        self.controls = frozenset(m for m in options["controls"].split(",") if m in MOTIONS)
        self.description = f"external program: {' '.join(words)}"
        self.version = template
        try:
            self.first_frame, self.timeout = int(options["first_frame"]), float(options["timeout"])
        except ValueError as error:
            raise MethodError(f"command: {error}; @first_frame and @timeout are numbers") from None

    def animate(self, reference: np.ndarray, driving: np.ndarray, audio: np.ndarray) -> Animation:
        """Run the program on one clip. Raises MethodError with the program's own last line when it fails."""
        with tempfile.TemporaryDirectory(prefix="fctfg-") as folder:
            files = {name: Path(folder) / file for name, file in _FILES.items()}
            self._write_inputs(files, reference, driving, audio)
            argv = [word.format(**files) for word in self.words]
            self._run(argv, folder)
            if not files["output"].is_file():
                raise MethodError(f"{argv[0]} exited 0 but wrote no {{output}}; check that it writes to that path")
            return Animation(media.read_video(files["output"]), first_frame=self.first_frame)

    def _write_inputs(
        self, files: dict[str, Path], reference: np.ndarray, driving: np.ndarray, audio: np.ndarray
    ) -> None:
        from PIL import Image

        if "reference" in self.used:
            Image.fromarray(reference).save(files["reference"])
        if "driving" in self.used:
            media.write_video(files["driving"], driving, audio=audio, lossless=True)
        if "audio" in self.used:
            media.write_audio(files["audio"], audio)

    def _run(self, argv: list[str], folder: str) -> None:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # so that what the program itself started ends with it
            )
        except OSError as error:
            raise MethodError(f"cannot start {argv[0]}: {error.strerror}; give its full path") from None
        try:
            output, _ = process.communicate(timeout=self.timeout)
        except subprocess.TimeoutExpired:
            raise MethodError(f"{argv[0]} ran over {self.timeout:g} s and was stopped; raise @timeout") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode:
            last = next((line for line in reversed(output.strip().split("\n")) if line.strip()), "no output")
            raise MethodError(f"{argv[0]} exited {process.returncode}: {last.strip()[:200]}")


_FILES = {"reference": "reference.png", "driving": "driving.mp4", "audio": "audio.wav", "output": "output.mp4"}


def _parse(word: str) -> list[tuple]:
    try:
        return list(string.Formatter().parse(word))
    except ValueError as error:
        raise MethodError(f"command: word '{word}': {error}; write {{{{ and }}}} for literal braces") from None
