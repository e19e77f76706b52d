"""The rendered dataset: clips that are drawn, so that everything runs without a download."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping

import numpy as np

from darkjax.data.clip import Clip, Count, Root, deal_folds
from darkjax.data.decode import Video
from darkjax.data.rendering import synthetic
from darkjax.data.rendering import world as worlds
from darkjax.errors import UserError

ACTIONS = ("Jump", "Run", "Sit", "Stand", "Turn", "Walk")


@dataclasses.dataclass(frozen=True, repr=False)
class Synthetic:
    """Clips drawn by `darkjax.data.rendering.synthetic`, in its classes, groups and light.

    Attributes:
      classes: the actions, in label order.
      clips_per_class: clips of each class in each split.
      groups: recording groups in each split; no group is in two splits.
      frames, height, width, fps: of every clip; sizes in pixels.
      domain: the light the clips are seen in, one of the renderer's names.
      seed: of the whole dataset.
      approach, near, static, blocks, lines, follow, far, other, natural: shares of the clips in
        which the world is richer (`rendering.world.World`).
    """

    name: str = "synthetic"
    classes: tuple[str, ...] = ACTIONS
    clips_per_class: Mapping[str, int] = dataclasses.field(
        default_factory=lambda: {"train": 80, "test": 20}
    )
    groups: Mapping[str, int] = dataclasses.field(default_factory=lambda: {"train": 8, "test": 4})
    frames: int = 48
    height: int = 120
    width: int = 160
    fps: float = 30.0
    domain: str = "dark"
    seed: int = 0
    approach: float = 0.0
    near: float = 0.0
    static: float = 0.0
    blocks: float = 0.0
    lines: float = 0.0
    follow: float = 0.0
    far: float = 0.0
    other: float = 0.0
    natural: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be rendered before anything is drawn."""
        synthetic.check(
            self.domain,
            seed=self.seed,
            group=0,
            frames=self.frames,
            height=self.height,
            width=self.width,
            fps=self.fps,
        )
        _ = self.world  # its shares

    def __repr__(self) -> str:
        """Of the richer world only what is asked for: shards that were drawn before are known by
        this text, and are those of a world without it."""
        plain = dataclasses.asdict(worlds.PLAIN)
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        shown = {k: v for k, v in own.items() if k not in plain or v != plain[k]}
        return f"Synthetic({', '.join(f'{k}={v!r}' for k, v in shown.items())})"

    @property
    def world(self) -> worlds.World:
        """How rich it is."""
        return worlds.World(
            *(getattr(self, field.name) for field in dataclasses.fields(worlds.World))
        )

    @property
    def sha256(self) -> str | None:
        """Of what makes the world richer, for the card; None of a plain one."""
        if self.world == worlds.PLAIN:
            return None
        return hashlib.sha256(repr(self.world).encode()).hexdigest()

    def class_names(self, root: pathlib.Path | None = None) -> tuple[str, ...]:
        """The actions, in label order; `root` is not used."""
        return tuple(self.classes)

    def clips(self, root: pathlib.Path | None = None) -> list[Clip]:
        """One clip per recipe of the renderer; training groups are dealt into five folds."""
        recipes = synthetic.recipes(
            tuple(self.classes),
            clips_per_class=dict(self.clips_per_class),
            groups=dict(self.groups),
            seed=self.seed,
        )
        clips = [
            Clip(
                id=recipe.id,
                path="",
                label=self.classes.index(recipe.action),
                group=recipe.group,
                split=recipe.split,
                domain=self.domain,
                seed=recipe.seed,
                group_index=recipe.group_index,
            )
            for recipe in recipes
        ]
        return deal_folds(clips)

    def load(
        self, clip: Clip, root: Root = None, *, short_side: Count = None, max_frames: Count = None
    ) -> Video:
        """Render one clip. `short_side` must be None or the rendered one: nothing is resized."""
        if short_side not in (None, min(self.height, self.width)):
            raise UserError(
                f"expected a rendered clip's own short side {min(self.height, self.width)}; found "
                f"--short_side={short_side}: give --height and --width instead"
            )
        drawn = self.render(clip, self.frames if max_frames is None else max_frames)
        return Video(np.asarray(drawn.video), float(drawn.fps))

    def render(self, clip: Clip, frames: int) -> synthetic.Rendered:
        """One clip and the truth about it, at most that many frames; without its flow."""
        return synthetic.render(
            self.classes[clip.label],
            seed=clip.seed,
            group=clip.group_index,
            frames=min(self.frames, frames),
            height=self.height,
            width=self.width,
            fps=self.fps,
            domain=self.domain,
            want_flow=False,
            world=self.world,
        )
