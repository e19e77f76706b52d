"""What datasets of video files have in common: their root, and how a clip is decoded."""

import pathlib

import numpy as np

from darkjax.data import images
from darkjax.data.clip import Clip, Count, Root
from darkjax.data.decode import Video, read_video
from darkjax.data.resize import resize_clip
from darkjax.errors import UserError


def need_root(root: pathlib.Path | None, name: str) -> pathlib.Path:
    if root is None:
        raise UserError(f"dataset {name!r} is read from files: give their folder with --raw=DIR")
    root = pathlib.Path(root)
    if not root.is_dir():
        raise UserError(f"expected the folder of dataset {name!r}; found none at {root}: see --raw")
    return root


class Files:
    """A dataset whose clips are video files under a root."""

    name: str

    def load(
        self, clip: Clip, root: Root, *, short_side: Count = None, max_frames: Count = None
    ) -> Video:
        """Decode the clip's file (`decode.read_video`)."""
        path = need_root(root, self.name) / clip.path
        if path.suffix.lower() not in images.MOVING:
            return read_video(path, short_side=short_side, max_frames=max_frames)
        frames, fps = images.read_all(path, max_frames)
        if len(frames) < 2:
            raise UserError(f"expected at least 2 frames, decoded {len(frames)} in {path}")
        return Video(shrunk(frames, short_side), fps)


def shrunk(frames: np.ndarray, short_side: int | None) -> np.ndarray:
    """Frames [T, H, W, C] with this short side, the aspect kept."""
    if short_side is None:
        return frames
    height, width = frames.shape[1:3]
    scale = short_side / min(height, width)
    return resize_clip(frames, (round(height * scale), round(width * scale)))
