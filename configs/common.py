"""What the experiments share: the sections of a config with every field they may set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ml_collections

from darkjax.errors import UserError
from darkjax.nearest import did_you_mean
from darkjax.ops.augment import default_config

KINETICS_MEAN, KINETICS_STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)


def base() -> ml_collections.ConfigDict:
    """The top level. Stages are added by the experiment."""
    c = ml_collections.ConfigDict()
    c.seed = 0
    c.dtype = "auto"  # float32 on the CPU, bfloat16 elsewhere
    c.bn_group = 0  # examples normalised together by batch norm; 0 = the whole batch
    c.mesh = (-1, 1)  # devices along ("data", "model")
    c.sharding = ()  # ((regex of a parameter's path, (axis or None, ...)), ...)
    c.log_every = 10
    c.log_to = ("tensorboard",)  # and "wandb", "mlflow", besides metrics.jsonl
    c.eval_batch_size = 32
    c.report_clips = 12
    c.stages = ()
    c.data = data()
    return c


def data() -> ml_collections.ConfigDict:
    """Which records, which clips of them, and what is seen of a clip."""
    c = ml_collections.ConfigDict()
    c.dir = ""  # a folder written by darkjax.data.convert
    c.num_classes = 0  # checked against the card; 0 takes the card's
    c.split = "official"  # or "fold": leave the groups of one fold out of train_split; or "random"
    c.protocol = ""  # which official split, where the authors made several; "" is the first
    c.train_split = "train"
    c.eval_split = "test"
    c.fold = 1
    c.random_share = 0.2  # of every class, held out by split="random"
    c.random_seed = 0
    c.allow_leaky_split = False  # True: a random split of known groups, which every report says
    c.read = "mmap"  # "pread" on network file systems
    c.check_crc = False
    c.num_threads = 2
    c.workers = 0
    c.sources = ()  # ((folder, share of a batch, labelled), ...); folder "": dir. (): dir alone
    c.source_dir = ""  # a second folder, which data.sources calls "source"
    c.balance = "none"  # or equal turns of each "class", each "group", or both: "class_group"
    c.train_views = 1  # views of each clip of a training batch; batch_size counts views
    c.frames = 30
    c.stride = 1
    c.deltas = ()  # several strides: training draws one for a clip, views_clips take turns
    c.sampling = "dense"  # or "segments"
    c.size = (224, 224)
    c.crop = "resized"  # "random", "resized", "corners", "centre"
    c.scale = (0.7, 1.0)  # share of the largest window, for "resized"
    c.corner_scales = (1.0, 0.875, 0.75, 0.66)  # shares of its sides, for "corners"
    c.corner_distort = 1  # how many of them apart height and width may be
    c.centre = ()  # (height, width) of the middle of the frame, all that is looked at
    c.flip = False  # mirrored on the device instead: augment.flip
    c.channels = 3
    c.views_clips = 1  # 0: as many as the clip holds without overlap
    c.views_crops = 1
    c.synthetic = None  # options of the rendered dataset, drawn into dir when absent
    c.source_synthetic = None  # the same of the one drawn into source_dir
    return c


def synthetic(**options: object) -> ml_collections.ConfigDict:
    """Options of the rendered dataset (`darkjax.data.rendering.dataset.Synthetic`)."""
    return ml_collections.ConfigDict(options)


def demo_clips(**options: object) -> ml_collections.ConfigDict:
    """The rendered clips that every demo trains and is judged on: six actions in the dark.

    `options` are others of the rendered dataset (`domain`, `classes`, ...).
    """
    usual: dict[str, object] = {
        "clips_per_class": {"train": 120, "test": 40},
        "groups": {"train": 60, "test": 20},
        "frames": 24,
        "height": 64,
        "width": 80,
        "fps": 12,
        "seed": 0,
    }
    return synthetic(**(usual | options))


def optim(lr: float, weight_decay: float = 0.01) -> ml_collections.ConfigDict:
    """AdamW with a cosine schedule."""
    c = ml_collections.ConfigDict()
    c.name = "adamw"
    c.lr = lr
    c.schedule = "cosine"
    c.warmup_steps = 0
    c.final = 0.0
    c.betas = (0.9, 0.999)
    c.momentum = 0.9
    c.weight_decay = weight_decay
    c.decay_exclude = ()
    c.lr_scale = ()
    c.clip = 0.0
    return c


def stage(method: str, *, epochs: int, batch_size: int, lr: float) -> ml_collections.ConfigDict:
    """What every stage has, whatever its method."""
    c = ml_collections.ConfigDict()
    c.method = method  # one of darkjax.methods.METHODS, or package.module:make
    c.data = ml_collections.ConfigDict()  # what this stage sets instead of the config's data
    c.epochs = epochs
    c.steps = 0  # when set, instead of epochs
    c.batch_size = batch_size
    c.accumulate = 1
    c.optim = optim(lr)
    c.ema = 0.0
    c.freeze = ()  # regular expressions of parameter paths that are not trained
    c.init_from = ()  # ((stage, or folder of weights or of a run's stage, regex, replacement), ...)
    c.published = ()  # rules of the same form: the published weights that `pretrained` adds to them
    c.allow_random_frozen = False  # True: what is frozen may come from no rule, and stay random
    c.keep_best = "top-1"  # judge the best checkpoint by this metric of eval_split; "": the last
    c.eval_every = 1  # epochs
    c.save_every = 0  # steps; 0 = once an epoch
    c.label_smoothing = 0.0
    return c


def luminous(
    stage: ml_collections.ConfigDict, view: str, *, gamma: float = 1.8, enhance: str = "gic"
) -> None:
    """What a luminous pathway sees (`methods.base.luminous_view`), and how that is made.

    Flow of records (data.channels=6) is as they were made; the three fields are those of flow that
    is computed in the step.
    """
    # "dark", "gamma", "motion", "difference", "flow" or a method of ops.enhance
    stage.luminous_input = view
    stage.gamma = gamma
    stage.flow_method = "brox"  # or "tvl1"
    stage.flow_bound = 15.0  # pixels; what is faster is clipped
    stage.flow_enhance = enhance  # brightens what the flow is computed of; "" is as it is


def augment(**chances: float) -> ml_collections.ConfigDict:
    """Every augmentation at its default strength; those that are not named have a `p` of 0."""
    found = ml_collections.ConfigDict(default_config())
    for name in set(found) - {"border"}:
        found[name].p = chances.get(name, 0.0)
    return found


def light_augment(flip: float = 0.5) -> ml_collections.ConfigDict:
    """Mirroring alone; the other augmentations are there to be turned on by their `p`."""
    return augment(flip=flip)


def words(
    arg: str,
    groups: Mapping[str, Sequence[str]],
    refused: Sequence[tuple[tuple[str, ...], str]] = (),
) -> list[str]:
    """The words after the colon of `--config=file.py:words`, in the order in which they apply.

    Words are orthogonal: each belongs to one group, a group is one choice, and the order in which
    they are typed means nothing, because a config applies them in the order of its groups.

    Args:
      arg: comma-separated words; one that is given twice counts once.
      groups: what is chosen -> its words, in the order in which a config applies them.
      refused: `(words, why)`: words that cannot go together, or a single one that cannot be had.
        The reason follows a colon and says what to do instead.

    Raises:
      UserError: an unknown word, two words of one group, words that cannot go together; it quotes
        all that was typed.
    """
    typed = [word.strip() for word in arg.split(",") if word.strip()]
    known = [word for group in groups.values() for word in group]
    for word in typed:
        if word not in known:
            hint = did_you_mean(word, known, lead=": ")
            raise UserError(f"config argument {word!r} is not one of {', '.join(known)}{hint}")
    for group, members in groups.items():
        chosen = [word for word in members if word in typed]
        if len(chosen) > 1:
            raise UserError(
                f"config arguments {arg!r}: {' and '.join(chosen)} are both the {group}: give one"
            )
    for together, why in refused:
        if all(word in typed for word in together):
            what = "do not go together" if len(together) > 1 else "is not to be had"
            raise UserError(f"config arguments {arg!r}: {' and '.join(together)} {what}: {why}")
    return [word for word in known if word in typed]


def from_weights() -> ml_collections.FieldReference:
    """For `mean` and `std` of a stage: what its weights expect, or numbers that are typed."""
    return ml_collections.FieldReference("weights", field_type=object)


def pretrained(stage: ml_collections.ConfigDict) -> None:
    """The word `pretrained`: start from the published weights that the stage is meant for.

    They bring their preprocessing.
    """
    stage.init_from = (*stage.init_from, *stage.published)
    with stage.ignore_type():
        for field in ("mean", "std", "luminous_mean", "luminous_std"):
            if field in stage:
                stage[field] = from_weights()
