"""The datasets the project knows, by name.

A dataset is a small object with `name`, `class_names(root)`, `clips(root)` and
`load(clip, root)`; one whose authors split the same clips several times also has
`protocols(root)`. Class names live in `class_names` and nowhere else. A new dataset is a new class
in a file of `datasets/` and one line in `DATASETS`.
"""

import dataclasses
import functools
import pathlib
from typing import Any, Protocol, runtime_checkable

from darkjax.data.class_names import ARID11, INFAR12
from darkjax.data.clip import Clip, Count, Root, deal_folds
from darkjax.data.datasets.arid import Arid, AridEE6222, AridUG2
from darkjax.data.datasets.classed import Arid15, IitrIar, Infar, Xd145
from darkjax.data.datasets.dark48 import Dark48
from darkjax.data.datasets.folder import Folder
from darkjax.data.datasets.frames import Frames
from darkjax.data.datasets.hmdb51 import Hmdb51
from darkjax.data.datasets.pictures import Images
from darkjax.data.datasets.table import Table
from darkjax.data.datasets.tfds import PREFIX, Tfds
from darkjax.data.datasets.uavhuman import UavHumanFisheye
from darkjax.data.datasets.ucf101 import Ucf101
from darkjax.data.decode import Video
from darkjax.data.rendering.dataset import Synthetic
from darkjax.errors import UserError
from darkjax.nearest import did_you_mean

__all__ = ["ARID11", "DATASETS", "INFAR12", "Clip", "Dataset", "deal_folds", "get_dataset"]


@runtime_checkable
class Dataset(Protocol):
    """What the conversion needs to know of a dataset."""

    @property
    def name(self) -> str:
        """Of the dataset and its shards."""
        ...

    def class_names(self, root: pathlib.Path | None) -> tuple[str, ...]:
        """Class names; a label is an index into them."""
        ...

    def clips(self, root: pathlib.Path | None) -> list[Clip]:
        """Every clip of every split, in a fixed order."""
        ...

    def load(
        self, clip: Clip, root: Root, *, short_side: Count = None, max_frames: Count = None
    ) -> Video:
        """The frames of one clip; UserError says what is wrong with a bad file."""
        ...


DATASETS: dict[str, type] = {
    "arid": Arid,
    "arid15": Arid15,
    "arid_ee6222": AridEE6222,
    "arid_ug2": AridUG2,
    "csv": Table,
    "dark48": Dark48,
    "folder": Folder,
    "frames": Frames,
    "hmdb51": Hmdb51,
    "iitr_iar": IitrIar,
    "images": Images,
    "infar": Infar,
    "synthetic": Synthetic,
    "uavhuman_fisheye": UavHumanFisheye,
    "ucf101": Ucf101,
    "xd145": Xd145,
}


def protocols_of(dataset: Dataset, root: pathlib.Path | None) -> tuple[str, ...]:
    """Names of the official splits of the same clips, in the order of `Clip.assigned`.

    Empty for a dataset with one split, or none.
    """
    asked = getattr(dataset, "protocols", None)
    return () if asked is None else tuple(asked(root))


def get_dataset(name: str, **options: Any) -> Dataset:
    """The dataset called `name`, with its options (fields of its class).

    `tfds:NAME` is one of TensorFlow Datasets.

    Raises:
      UserError: no dataset or no option of that name; the nearest name is suggested.
    """
    made: Any = DATASETS.get(name)
    if name.startswith(PREFIX):
        made = functools.partial(Tfds, name.removeprefix(PREFIX))
    if made is None:
        raise UserError(
            f"expected a dataset out of {', '.join(sorted(DATASETS))} or {PREFIX}NAME; "
            f"found {name!r}{_nearest(name, DATASETS)}"
        )
    fields = dataclasses.fields(getattr(made, "func", made))
    known = {f.name for f in fields} - {"name", "builder"}
    for option in options:
        if option not in known:
            raise UserError(
                f"dataset {name!r} has no option {option!r}{_nearest(option, known)}; "
                f"it has {', '.join(sorted(known)) or 'none'}"
            )
    return made(**options)


def _nearest(name: str, known: Any) -> str:
    return did_you_mean(name, known, lead="; ", cutoff=0.4)
