"""Small material for the tests of the data code."""

import dataclasses
import fractions
import pathlib
from typing import Any

import numpy as np
import pytest

from darkjax.data.clip import Clip, deal_folds
from darkjax.data.convert import convert
from darkjax.data.decode import Video, write_video
from darkjax.errors import UserError


def noise(seed: int, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Frames no two pixels of which are alike by more than chance."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@dataclasses.dataclass(frozen=True)
class Noise:
    """A dataset without files: clip n is noise of seed n, of 5 to 9 frames of 10×12 pixels."""

    name: str = "noise"
    train: int = 20
    test: int = 6
    bad: tuple[int, ...] = ()
    channels: int = 3

    def class_names(self, root: pathlib.Path | None) -> tuple[str, ...]:
        return ("a", "b")

    def clips(self, root: pathlib.Path | None) -> list[Clip]:
        clips = [
            Clip(
                f"clip{n}", "", n % 2, f"group{n // 2}", "train", "dark" if n % 3 else "day", seed=n
            )
            for n in range(self.train)
        ]
        clips += [
            Clip(f"test{n}", "", n % 2, f"other{n}", "test", "dark", seed=100 + n)
            for n in range(self.test)
        ]
        return deal_folds(clips)

    def load(self, clip, root, *, short_side=None, max_frames=None) -> Video:
        if clip.seed in self.bad:
            raise UserError(f"clip {clip.seed} is bad on purpose")
        return Video(self.frames(clip.seed)[:max_frames], 25.0)

    def frames(self, seed: int) -> np.ndarray:
        return noise(seed, (5 + seed % 5, 10, 12, self.channels))


def converted(folders: pytest.TempPathFactory, dataset: Any, **options: Any) -> pathlib.Path:
    """A new folder with a dataset's records."""
    path = folders.mktemp("records")
    convert(dataset, path, **options)
    return path


def moving_ball(frames: int = 8, height: int = 32, width: int = 48) -> np.ndarray:
    """A smooth blob that crosses the picture: what a codec keeps well."""
    t, y, x = np.ogrid[:frames, :height, :width]
    blob = 220 * np.exp(-(((y - height / 2) / 8) ** 2) - ((x - 4 - 4 * t) / 8) ** 2)
    return np.repeat(blob[..., None], 3, -1).astype(np.uint8) + np.uint8(16)


def encode(
    path, frames, codec="libx264", pix_fmt="yuv420p", *, times=None, last=0, **options
) -> None:
    """A video of any codec and pixel format; uint8 [T, H, W, 3] or counts uint16 [T, H, W].

    `times` are milliseconds, and so is `last`, how long the last frame is there; `options` are the
    container's, or `codec_…` the codec's.
    """
    import av

    tick = fractions.Fraction(1, 1000)
    of_codec = {k.removeprefix("codec_"): v for k, v in options.items() if k.startswith("codec_")}
    options = {k: v for k, v in options.items() if not k.startswith("codec_")}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, 30)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.options = pix_fmt, of_codec
        if times is not None:
            stream.codec_context.time_base = stream.time_base = tick
        for number, frame in enumerate(frames):
            kind = "rgb24" if frame.ndim == 3 else pix_fmt
            picture = av.VideoFrame.from_ndarray(frame, format=kind)
            if times is not None:
                picture.pts, picture.time_base = times[number], tick
            container.mux(stream.encode(picture))
        packets = stream.encode()
        if last:
            packets[-1].duration = last
        container.mux(packets)


def rotate(path: pathlib.Path) -> None:
    """Have an upright mp4 say that it is to be turned clockwise, as a phone's does."""
    one, zero, minus = b"\0\1\0\0", b"\0\0\0\0", b"\xff\xff\0\0"
    upright = one + zero * 3 + one + zero * 3 + b"\x40\0\0\0"
    clockwise = zero + one + zero + minus + zero * 4 + b"\x40\0\0\0"
    content = path.read_bytes()
    assert content.count(upright) == 2  # of the movie and of the track
    at = content.rfind(upright)
    path.write_bytes(content[:at] + clockwise + content[at + len(upright) :])


def folder_of_videos(root: pathlib.Path, classes=("hug", "run"), per_class: int = 2) -> None:
    """root/CLASS/N.mp4, tiny."""
    for name in classes:
        (root / name).mkdir(parents=True)
        for n in range(per_class):
            write_video(root / name / f"{name}{n}.mp4", moving_ball(), 30)


def flip_byte(path: pathlib.Path, position: int) -> None:
    """Invert one byte of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(bytes(content))


__all__ = [
    "Noise", "converted", "encode", "flip_byte", "folder_of_videos", "moving_ball", "noise",
    "rotate",
]  # fmt: skip
