"""Reading and writing video and sound: the one way pixels and samples enter and leave the project.

Everything goes through PyAV (FFmpeg inside); no ffmpeg program is called and no picture takes a detour through files.
Video is RGB uint8 at a constant frame rate, sound is mono float32 at one sample rate, both on the clip's clock: time 0
is the presentation time of the first video frame (for a file without video, 0 of the container's edited timeline).
"""

from fctfg.media.audio import iter_audio, read_audio
from fctfg.media.container import MediaError, MediaInfo, probe
from fctfg.media.pixels import Box, resize
from fctfg.media.video import count_frames, iter_video, read_video
from fctfg.media.writer import write_audio, write_video

__all__ = [
    "Box",
    "MediaError",
    "MediaInfo",
    "count_frames",
    "iter_audio",
    "iter_video",
    "probe",
    "read_audio",
    "read_video",
    "resize",
    "write_audio",
    "write_video",
]
