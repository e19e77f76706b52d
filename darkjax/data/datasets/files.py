"""What datasets of video files have in common: their root, and how a clip is decoded."""

import pathlib
from typing import Any

from darkjax.data import images, sequences
from darkjax.data.clip import Clip, Root
from darkjax.data.decode import Video, read_video
from darkjax.errors import UserError


def need_root(root: pathlib.Path | None, name: str) -> pathlib.Path:
    """The folder of the dataset `name`. UserError when none was given or it is not there."""
    if root is None:
        raise UserError(f"dataset {name!r} is read from files: give their folder with --raw=DIR")
    root = pathlib.Path(root)
    if not root.is_dir():
        raise UserError(f"expected the folder of dataset {name!r}; found none at {root}: see --raw")
    return root


class Files:
    """A dataset whose clips are video files under a root."""

    name: str

    def load(self, clip: Clip, root: Root, **how: Any) -> Video:
        """Decode the clip's file, or its part of it; `how`: options of `decode.read_video`."""
        path = need_root(root, self.name) / clip.path
        moving = path.suffix.lower() in images.MOVING
        read = sequences.read_moving if moving else read_video
        return read(path, start=clip.start, end=clip.end, **how)
