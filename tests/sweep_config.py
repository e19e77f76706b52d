"""A run of seconds, for tests of many runs: a network that compiles at once, a few tiny clips."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).parent))

from configs import common


def get_config(arg: str = ""):
    """One stage, `only`; two with the word `two`."""
    import tiny_run

    c = common.base()
    c.data = tiny_run.config(pathlib.Path("")).data
    c.data.dir, c.data.frames, c.data.crop = "", 12, "centre"
    c.data.synthetic.clips_per_class = {"train": 4, "test": 2}
    c.eval_batch_size, c.report_clips, c.log_every = 8, 0, 1
    c.stages = ("first", "only") if arg == "two" else ("only",)
    for name in c.stages:
        c[name] = stage = common.stage("supervised", epochs=1, batch_size=8, lr=3e-2)
        common.luminous(stage, "dark")
        stage.mean = stage.std = ()
        stage.steps, stage.keep_best, stage.eval_every = 2, "", 0
        stage.model = {"name": "outside.net:Net"}
        stage.augment = common.light_augment()
    return c.lock()
