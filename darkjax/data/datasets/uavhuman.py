"""UAV-Human, Li et al., CVPR 2021: 155 actions from a drone; the fisheye videos."""

import dataclasses
import logging
import pathlib
import re

from darkjax.data.class_names import UAVHUMAN155
from darkjax.data.clip import Clip, deal_folds, printable
from darkjax.data.datasets.files import Files, need_root
from darkjax.data.datasets.tree import Tree, some
from darkjax.errors import UserError

log = logging.getLogger(__name__)
NAME = re.compile(r"P(\d+)S\d+G\d+B\d+H\d+UC\d+LC\d+A(\d+)R\d+_\d+")
SUBJECTS = 119


def _numbers(text: str) -> frozenset[int]:
    """`0,3-6` as a set."""
    spans = [[int(n) for n in part.split("-")] for part in text.split(",")]
    return frozenset(n for span in spans for n in range(span[0], span[-1] + 1))


# Subjects to train on, from the README of the authors' code ("Cross-Subject-v1", "-v2").
TRAIN = {
    "CSv1": _numbers(
        "0,2,5,6,7,8,10-21,25-30,32-40,42-53,55-57,59,61-65,67-71,73,76-90,98,100,102,103,105,106,"
        "110-112,114-118"
    ),
    "CSv2": _numbers(
        "0,3-6,8,10-12,14,16,18-22,24,26,29-32,35-40,43-47,49,52,54,56-57,59-64,66-67,69-75,77-81,"
        "83-84,86-89,91-97,99-104,106-115,117-118"
    ),
}


@dataclasses.dataclass(frozen=True)
class UavHumanFisheye(Files):
    """The fisheye videos by their released names; no list is needed.

    ```
    root/**/P070S10G20200B10H20UC022000LC021000A143R0_09141758.avi
    ```

    The label is the number after A, the group the subject, the number after P. The protocols are
    CSv1 and CSv2, two divisions of the 119 subjects into 89 to train on and 30 to test on.
    """

    name: str = "uavhuman_fisheye"
    domain: str = "visible"

    def class_names(self, root: pathlib.Path | None) -> tuple[str, ...]:
        """A000 to A154, as the files are numbered."""
        return UAVHUMAN155

    def protocols(self, root: pathlib.Path | None) -> tuple[str, ...]:
        """Both divisions of the subjects."""
        return tuple(TRAIN)

    def clips(self, root: pathlib.Path | None) -> list[Clip]:
        """Every video of such a name. UserError when there is none, or two have the same name."""
        tree = Tree(need_root(root, self.name))
        made: dict[str, Clip] = {}
        strange = []
        for path in tree.videos:
            name = pathlib.PurePosixPath(path).name
            match = NAME.fullmatch(pathlib.PurePosixPath(path).stem)
            if match is None:
                strange.append(path)
                continue
            subject, action = int(match[1]), int(match[2])
            if subject >= SUBJECTS or action >= len(UAVHUMAN155):
                raise UserError(
                    f"expected subjects 0 to {SUBJECTS - 1} and actions 0 to "
                    f"{len(UAVHUMAN155) - 1}; found {name} in {tree.root}"
                )
            if name in made:
                raise UserError(
                    f"expected each name once; found {made[name].path} and {path} in {tree.root}: "
                    "move one of them away"
                )
            sides = tuple("train" if subject in who else "test" for who in TRAIN.values())
            made[name] = Clip(
                printable(name), path, action, f"P{subject:03d}", "all", self.domain, assigned=sides
            )
        if not made:
            raise UserError(
                "expected videos named P…S…G…B…H…UC…LC…A…R…_…; found "
                f"{some(strange) if strange else 'none'} under {tree.root}: see --raw"
            )
        if strange:
            log.warning("%s: left out, not named as UAV-Human: %s", tree.root, some(strange))
        return deal_folds([made[name] for name in sorted(made)], "all")
