"""Rendered clips alone, judged on real dark ones: 150 clips of ARID's Jump to Walk.

    python -m darkjax.data.convert --dataset=arid_ee6222 --raw=ARID6 --out=records/arid6 \
        --short_side=120 --fps=15
    python -m darkjax.main --config=configs/real_arid6.py --config.data.dir=records/arid6

Renders 1,800 clips of the six actions (150 sessions, 64x80, three seconds, 12 frames a second),
trains the tiny R(2+1)D of `configs/lift_arid.py:demo` on them and judges every clip of `data.dir`,
none of which trained anything; chance is 0.167. A view is twelve frames, every second one: 6 a
second of rendered clips, 7.5 of real ones. `python benchmarks/real_arid6.py --help` trains one of
each and more.

Arguments after a colon, joined by commas, in any order; of each line one:
  plain_world, rich_world,   the rendered world without what docs/data.md lists as richer; without
  filmed_world               the last four of that list: cameras that follow, people far away, one
                             jump and low seats, people who sit down and turn as the real ones do;
                             without the last alone
  gamma, motion, difference  what the network sees: the brightened clip, that less its median over
                             time, or what changes from frame to frame (the default)
  flow                       or its optical flow, of records as the lines below make them
  short                      rendered clips of two seconds instead of three, and eight frames of
                             them instead of twelve
  finetune                   then eight epochs at a small rate on labelled real clips, the sessions
                             of `data.fold` (1 to 5) left out: only those are judged
  adapt                      3D-DiNet instead, the real clips as its target without their labels
  still                      a still frame of another clip over clips, as StillMix has it, that the
                             place be learnt less: `augment.still`
  validate                   judged on the official validation split, where the raw folder had its
                             clips (validate.txt); `finetune` then trains on all of the others. For
                             the last number alone: what is chosen is chosen without it
  full                       more clips, a wider network, longer: hours instead of an hour

Records for `flow`: rendered clips get theirs where they are drawn; the real ones are as high as
those, so that the same motion is about as many pixels.

    python -m darkjax.data.convert --dataset=arid_ee6222 --raw=ARID6 --out=records/arid6_small \
        --short_side=64 --fps=15
    python -m darkjax.data.flow --records=records/arid6_small --out=records/arid6_flow \
        --method=tvl1 --bound=6 --enhance=gic
    python -m darkjax.main --config=configs/real_arid6.py:flow \
        --config.data.dir=records/arid6_flow
"""

from __future__ import annotations

from collections.abc import Mapping

import ml_collections

from configs import common, dinet_infar, lift

RICH = {"approach": 0.6, "near": 0.5, "static": 0.7, "blocks": 0.6, "lines": 0.5}
FILMED = RICH | {"follow": 0.3, "far": 0.4, "other": 0.5}  # as the real clips are (docs/dinet.md)
NATURAL = FILMED | {"natural": 0.8}  # and as people in them move
WORLDS = {"plain_world": dict.fromkeys(RICH, 0.0), "rich_world": RICH, "filmed_world": FILMED}
INPUTS = ("gamma", "motion", "difference", "flow")
FLOW = {"method": "tvl1", "bound": 6.0, "enhance": "gic"}
WORDS = {
    "world": tuple(WORLDS),
    "input": INPUTS,
    "span": ("short",),
    "training": ("finetune", "adapt"),
    "judged": ("validate",),
    "length": ("full",),
    "static bias": ("still",),
}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The experiment, by the words of the module's docstring."""
    words = common.words(arg, WORDS)
    seen = next((word for word in words if word in INPUTS), "difference")
    c = lift.config("demo", {"demo": lift.demo}, classes=6)
    with c.unlocked():
        stage = c.teacher
        del c.teacher, c.student
        stage.luminous_input = seen
        c.data.synthetic = None
        named = [WORLDS[word] for word in words if word in WORLDS]
        c.data.source_synthetic = rendered(*named, seconds=2 if "short" in words else 3)
        if seen == "flow":
            c.data.channels, c.data.source_synthetic.flow = 6, ml_collections.ConfigDict(FLOW)
            stage.flow_method, stage.flow_bound = FLOW["method"], FLOW["bound"]
            # the flow image's zero, and what most of it is within
            stage.mean, stage.std = (128 / 255, 128 / 255, 0.0), (0.1, 0.1, 0.1)
        c.data.sources = (("source", 1.0, True),)
        c.data.train_split = c.data.eval_split = "train"
        c.data.frames, c.data.stride = 8 if "short" in words else 12, 2
        c.data.crop, c.data.scale = "resized", (0.6, 1.0)
        c.data.views_clips, c.data.views_crops = 10, 3
        c.stages = ("rendered",)
        stage.epochs, stage.eval_every, stage.save_every = 20, 0, 300
        c.rendered = stage
        if "still" in words:
            stage.augment.still = ml_collections.ConfigDict({"p": 0.5, "limit": 0.5})
        if "full" in words:
            stage.epochs, stage.model.width = 40, 32
            c.data.source_synthetic.clips_per_class.train = 1000
            c.data.source_synthetic.groups.train = 500
        if "validate" in words:
            c.data.eval_split = "validate"
        if "finetune" in words:
            c.finetune = finetune(stage, "official" if "validate" in words else "fold")
            c.stages = ("rendered", "finetune")
        elif "adapt" in words:
            c.adapt = adapt(stage, seen)
            c.stages = ("adapt",)
            del c.rendered
            c.data.sources = (("source", 0.5, True), ("", 0.5, False))
    c.lock()
    return c


def rendered(world: Mapping[str, float] = NATURAL, seconds: int = 3) -> ml_collections.ConfigDict:
    """300 clips of each action in 150 sessions; `world`: the shares that are richer."""
    size = {"frames": 12 * seconds, "height": 64, "width": 80, "fps": 12, "seed": 5}
    counts = {"clips_per_class": {"train": 300}, "groups": {"train": 150}}
    return common.synthetic(**counts, **size, **world)


def finetune(stage: ml_collections.ConfigDict, split: str) -> ml_collections.ConfigDict:
    """The same network, a little longer, on real clips: at ten times the rate, or longer still, it
    unlearns what it knew (docs/dinet.md) and learns the place."""
    s = stage.copy_and_resolve_references()
    s.init_from = (("rendered", r"(.*)", r"\1"),)
    s.epochs, s.batch_size = 8, 16
    s.optim.lr, s.optim.warmup_steps = 3e-5, 10
    s.data = ml_collections.ConfigDict({"sources": (), "split": split})
    return s


def adapt(stage: ml_collections.ConfigDict, seen: str) -> ml_collections.ConfigDict:
    """3D-DiNet with the same backbone and input."""
    s = dinet_infar.dinet("r2plus1d18")
    s.model = ml_collections.ConfigDict(stage.model.to_dict())
    s.published, s.mean, s.std, s.domain_head = (), stage.mean, stage.std, (64, 64)
    s.epochs, s.batch_size, s.eval_every, s.save_every = stage.epochs, 24, 0, 300
    # The paper's SGD hardly begins in so few steps; so the rows differ by the adaptation alone.
    s.optim = stage.optim.copy_and_resolve_references()
    s.optim.clip = 5.0
    s.lambda_max = 0.1  # at 1 the actions are hardly learnt in so few steps (docs/dinet.md)
    s.augment = stage.augment.copy_and_resolve_references()
    common.luminous(s, seen, gamma=stage.gamma)
    s.flow_method, s.flow_bound = stage.flow_method, stage.flow_bound
    return s
