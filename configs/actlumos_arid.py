"""ActLumos on ARID: the student learns without labels, the teacher from two views, then the student
from the teacher.

    python -m darkjax.data.convert --dataset=folder --raw=ARID --out=records/arid --short_side=128
    python -m darkjax.data.convert --dataset=dark48 --raw=Dark48 --out=records/dark48 \
        --short_side=128
    python -m darkjax.weights.convert --arch=r2plus1d34 --skip="head/.*" --out=weights/r2plus1d34 \
        --checkpoint=r2plus1d_34_clip32_ig65m_from_scratch-449a7af9.pth
    python -m darkjax.main --config=configs/actlumos_arid.py:pretrained \
        --config.data.dir=records/arid \
        --config.pretrain.data.sources="(('', 0.5, False), ('records/dark48', 0.5, False))"

Paper, top-1 on ARID v1.0 and v1.5: 96.92 and 88.27 %; without the stage without labels 95.75 and
87.36; that stage on ARID's clips alone 96.70 and 88.05, on Dark48's alone 96.15 and 87.76; MD-BERT
96.89 and 87.43. No recipe is published: what is trained here, and by which numbers, is our choice
(`darkjax/methods/actlumos.py`), and no such number is to be expected.

Arguments after a colon, joined by commas, in any order; of each line one:
  demo, arid6         small networks for two CPU cores: on rendered dark clips; on the 150 real
                      clips of a course subset, one fold's sessions left out, where all networks
                      begin from a stage of rendered clips (`rendered`)
  motion              every dark clip that a network sees is less its temporal median: what stands
                      still (the place) cannot be learnt (docs/actlumos.md); the paper's is dark
  scratch, ssl_only, kd_only, teacher_only
                      the paper's ablation of the student: neither stage before it, the one without
                      labels alone, the teacher alone; and the teacher without a student. By default
                      both
  md_bert             the teacher is MD-BERT: three views (dark, gamma 2.5, histogram-equalised),
                      sigmoid weights, no contrast
  pretrained          teacher and student begin from weights/r2plus1d34

Every other pair of words does what both say; not to be had are, beside two words of a line:

| | with | because |
|---|---|---|
| `demo`, `arid6` | `pretrained` | their network is smaller than the published one |
| `scratch`, `ssl_only` | `md_bert` | they have no teacher |
"""

from __future__ import annotations

import ml_collections

from configs import common, darklight_arid, pretrain_dark, real_arid6

# In the order in which they apply.
WORDS = {
    "data": ("demo", "arid6"),
    "teacher": ("md_bert",),
    "input": ("motion",),
    "weights": ("pretrained",),
    "student": ("scratch", "ssl_only", "kd_only", "teacher_only"),
}
TINY = "the network of {0} is smaller than the published one: leave out {0} or pretrained"
ALONE = "the student of {0} has no teacher: leave out {0} or md_bert"
REFUSED = (
    *(((data, "pretrained"), TINY.format(data)) for data in ("demo", "arid6")),
    *(((student, "md_bert"), ALONE.format(student)) for student in ("scratch", "ssl_only")),
)
# The stages of each row of the ablation, before and with the one that it is about.
ROWS = {
    "scratch": ("student",),
    "ssl_only": ("pretrain", "student"),
    "kd_only": ("teacher", "student"),
    "teacher_only": ("teacher",),
}
SMALL = {"variant": (1, 1, 1), "width": 16, "stem_mid": 12, "stem_kernel": 5, "first_stride": 2}
HEADLESS = r"(?!head/)(.*)"


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The experiment, by the words of the module's docstring."""
    words = common.words(arg, WORDS, REFUSED)
    c = common.base()
    c.stages = ("pretrain", "teacher", "student")
    c.data.num_classes = 11
    c.data.frames, c.data.size = 64, (112, 112)
    c.teacher, c.student = net(("dark", "msr")), net(("dark",))
    c.teacher.supcon.weight, c.teacher.model.fusion = 0.5, "softmax"
    c.pretrain = pretrain(c.student)
    taught(c)
    for word in words:
        if word in ROWS:
            only(c, ROWS[word])
        else:
            {f.__name__: f for f in (demo, arid6, md_bert, motion, pretrained)}[word](c)
    c.lock()
    return c


def net(views: tuple[str, ...]) -> ml_collections.ConfigDict:
    """A stage of R(2+1)D-34 and BERT that sees a clip as `views`."""
    s = common.stage("actlumos", epochs=50, batch_size=32, lr=1e-4)
    s.views, s.gamma = views, 2.5  # gamma of a view "gamma"
    s.model = darklight_arid.darklight().model
    s.model.fusion_reduction, s.model.fusion_kernel = 4, 1
    s.mean, s.std = common.KINETICS_MEAN, common.KINETICS_STD
    s.supcon = ml_collections.ConfigDict(
        {"weight": 0.0, "temperature": 0.1, "projection": (512, 128)}
    )
    s.distill = ml_collections.ConfigDict({"weight": 0.0, "temperature": 4.0})
    s.augment = common.light_augment()
    s.published = (("weights/r2plus1d34", HEADLESS, r"backbone/\1"),)
    return s


def pretrain(student: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Contrast without labels for the student's network, classifier apart."""
    s = common.stage("contrastive", epochs=100, batch_size=64, lr=1e-3)
    pretrain_dark.contrast(s)
    s.data.sources = ()  # unlabelled clips of several datasets: ((folder, share, False), ...)
    common.luminous(s, "dark")
    s.model = student.model
    s.mean, s.std = student.get_ref("mean"), student.get_ref("std")
    s.published = (("weights/r2plus1d34", HEADLESS, r"features/backbone/\1"),)
    student.init_from = (("pretrain", r"features/(.*)", r"\1"),)
    return s


def taught(c: ml_collections.ConfigDict) -> None:
    """The student follows the teacher, which is as its stage says."""
    s, t = c.student, c.teacher
    s.distill.weight = 1.0
    s.teacher = t.model
    s.teacher_views, s.teacher_mean, s.teacher_std = (
        t.get_ref(field) for field in ("views", "mean", "std")
    )
    s.init_from = (*s.init_from, ("teacher", r"(?!projection/)(.*)", r"teacher/\1"))


def only(c: ml_collections.ConfigDict, stages: tuple[str, ...]) -> None:
    """A row of the ablation: these stages, and `rendered` where there is one."""
    if "teacher" not in stages:
        c.student.distill.weight = 0.0
        for field in ("teacher", "teacher_views", "teacher_mean", "teacher_std"):
            del c.student[field]
    if "student" in stages:
        left_out = {"pretrain", "teacher"} - set(stages)
        c.student.init_from = tuple(r for r in c.student.init_from if r[0] not in left_out)
        if "pretrain" in left_out:  # then the student begins where that would have
            c.student.init_from += tuple(
                (source, regex, to.removeprefix("features/"))
                for source, regex, to in c.pretrain.init_from
            )
    c.stages = tuple(name for name in c.stages if name in (*stages, "rendered"))
    for name in {"pretrain", "teacher", "student"} - set(c.stages):
        del c[name]


def md_bert(c: ml_collections.ConfigDict) -> None:
    """MD-BERT as the teacher."""
    t = c.teacher
    t.views, t.supcon.weight = ("dark", "gamma", "he"), 0.0
    t.model.fusion, t.model.mask_prob = "sigmoid", 0.8


def motion(c: ml_collections.ConfigDict) -> None:
    """The clip less its median in the place of the dark clip, in every stage."""
    common.luminous(c.pretrain, "motion", gamma=c.student.gamma)
    for name in {"rendered", "teacher", "student"} & set(c.stages):
        c[name].views = tuple("motion" if view == "dark" else view for view in c[name].views)


def pretrained(c: ml_collections.ConfigDict) -> None:
    """IG-65M's R(2+1)D-34, before the stage without labels; the student alone has it from there."""
    for name in ("pretrain", "teacher"):
        common.pretrained(c[name])


def small(c: ml_collections.ConfigDict) -> None:
    """Networks that two CPU cores can train."""
    c.data.num_classes = 6
    c.data.frames, c.data.crop, c.data.views_crops = 8, "random", 3
    c.data.size = (56, 56)
    for s in (c.teacher, c.student):
        s.model.backbone = ml_collections.ConfigDict({**SMALL, "bn_momentum": 0.1})
        s.model.dropout = 0.2
        s.label_smoothing = 0.1
        s.supcon.projection = (64, 32)
    c.pretrain.projection = (64, 32)
    for name in c.stages:
        tiny(c[name])


def tiny(s: ml_collections.ConfigDict) -> None:
    """What all stages of small networks have."""
    s.published = ()
    s.mean = s.std = ()  # each view of each clip by its own mean and deviation
    s.optim.lr, s.optim.weight_decay, s.optim.clip = 3e-3, 0.05, 5.0
    s.augment.affine.p = 0.5
    s.eval_every, s.save_every = 0, 120
    s.keep_best = ""  # nothing is chosen by looking at the clips it is judged on


def demo(c: ml_collections.ConfigDict) -> None:
    """Rendered dark clips of six actions; as many of another seed without labels beside them."""
    small(c)
    c.data.synthetic = common.demo_clips()
    c.data.stride = 3
    p = c.pretrain
    p.data.sources = (("", 0.5, False), ("source", 0.5, False))
    p.data.source_synthetic = common.demo_clips(seed=1, clips_per_class={"train": 120},
                                                groups={"train": 60})  # fmt: skip
    for s, epochs, batch in ((p, 8, 48), (c.teacher, 40, 24), (c.student, 40, 24)):
        s.epochs, s.batch_size, s.optim.warmup_steps = epochs, batch, 60
    p.eval_every = 1


def arid6(c: ml_collections.ConfigDict) -> None:
    """150 real dark clips; `data.fold` 1 to 5 leaves that fold's sessions out.

    Before them `rendered`: the student's network on rendered clips with their labels, judged on all
    150 as no label of theirs is read. It begins the other stages.
    """
    small(c)
    c.data.split, c.data.eval_split, c.data.fold = "fold", "validate", 1
    c.data.stride, c.data.crop, c.data.scale = 3, "resized", (0.6, 1.0)
    c.data.views_clips = 3
    r = c.rendered = net(("dark",))
    r.model = c.student.model
    tiny(r)
    r.label_smoothing = 0.1
    r.data.sources = (("source", 1.0, True),)
    r.data.source_synthetic = real_arid6.rendered(real_arid6.RICH, seconds=2)
    r.data.split, r.data.train_split, r.data.eval_split = "official", "train", "train"
    c.stages = ("rendered", *c.stages)
    stages = ((r, 16, 24, 60), (c.pretrain, 30, 32, 20), (c.teacher, 15, 16, 20),
              (c.student, 15, 16, 20))  # fmt: skip
    for s, epochs, batch, warmup in stages:
        s.epochs, s.batch_size, s.optim.warmup_steps = epochs, batch, warmup
        if s is not r:  # ten times as much undoes what the rendered clips taught (docs/dinet.md)
            s.optim.lr = 1e-4 if s is c.pretrain else 3e-5
    c.pretrain.eval_every = 5
    c.pretrain.init_from = (("rendered", HEADLESS, r"features/\1"),)
    c.teacher.init_from = (("rendered", r"(.*)", r"\1"),)
    c.student.init_from += (("rendered", r"(head/.*)", r"\1"),)  # what `pretrain` has not
