"""Single pictures, each a clip of one frame."""

import dataclasses
import pathlib

import numpy as np

from darkjax.data import images
from darkjax.data.clip import Clip, Count, Root, deal_folds, printable
from darkjax.data.datasets.files import need_root
from darkjax.data.decode import Video
from darkjax.data.resize import shrunk
from darkjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Images:
    """Pictures anywhere below a folder, each a clip of one frame; what Zero-DCE is trained on.

    One class, "image"; a group is a picture; five folds are dealt.
    """

    name: str = "images"
    domain: str = "visible"

    def class_names(self, root: pathlib.Path | None) -> tuple[str, ...]:
        """The one class."""
        return ("image",)

    def clips(self, root: pathlib.Path | None) -> list[Clip]:
        """Every picture file, sorted by path."""
        root = need_root(root, self.name)
        files = sorted(
            path.relative_to(root)
            for path in root.rglob("*")
            if path.suffix.lower() in images.SUFFIXES and not _hidden(path.relative_to(root))
        )
        if not files:
            raise UserError(
                f"expected pictures; found none under {root} ({', '.join(sorted(images.SUFFIXES))})"
            )
        paths = [file.as_posix() for file in files]
        pairs = [(printable(path), path) for path in paths]
        return deal_folds([Clip(n, path, 0, n, "train", self.domain) for n, path in pairs])

    def load(
        self, clip: Clip, root: Root, *, short_side: Count = None, max_frames: Count = None
    ) -> Video:
        """The picture as one frame of 8 bits, RGB; an alpha channel is dropped."""
        pixels = images.read_image(need_root(root, self.name) / clip.path).pixels
        return Video(shrunk(np.rint(pixels * 255).astype(np.uint8)[None], short_side), 0.0)


def _hidden(relative: pathlib.Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)
