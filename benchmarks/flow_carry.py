r"""Does a flow net carry from rendered clips to real ones better than pixels do? One table.

    python -m darkjax.data.convert --dataset=arid_ee6222 --raw=ARID6 --out=records/arid6 \
        --short_side=120
    python benchmarks/flow_carry.py --records=records/arid6 [--seeds=1] [--strides=4,5]

The tiny R(2+1)D of `configs/lift_arid.py:demo` (its teacher) is trained for 20 epochs on 1,800
rendered dark clips and judged on every clip of `--records`, none of which trained anything: so all
their sessions are left out. What it sees is pixels, pixels less the median over the clip, or the
flow image of the clip brightened by gamma, in its own scale or standardised clip by clip. Flow is
computed once, from a frame to the next: rendered clips have 12 of them a second and figures of half
the size, real ones 30, so the same motion is about as many pixels. Real clips are seen whole, 3 x 3
views, at the strides given.

Prints top-1, the mean over seeds (lowest to highest), also of the mean of two inputs' probabilities
(late fusion); 150 clips have a standard error of 0.04. Then, of the first seed, how many clips an
input has right that pixels have not, the other way, and McNemar's exact p.
What is finished in `--workdir` is not done again. `--steps=2 --clips=4` shows that it runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from darkjax import config as configs
from darkjax import experiment, process, program, sharding, trained
from darkjax.data import convert
from darkjax.data import flow as flows
from darkjax.data.catalog import get_dataset
from darkjax.data.records import Records
from darkjax.errors import UserError
from darkjax.eval import classify, statistics
from darkjax.methods import base, supervised
from darkjax.ops import enhance

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEMO = f"{ROOT}/configs/lift_arid.py:demo"
RECIPE = flows.Recipe("tvl1", bound=6.0, enhance="gic")
MIDDLE, SPREAD = (128 / 255, 128 / 255, 0.0), (0.1, 0.1, 0.1)  # of the flow image
INPUTS: dict[str, Mapping[str, Any]] = {
    "pixels": {"luminous_input": "gamma"},
    "pixels less their median": {"method": "flow_carry:less_median"},
    "flow": {"luminous_input": "flow", "mean": MIDDLE, "std": SPREAD},
    "flow, standardised": {"luminous_input": "flow"},
}
FUSED_OF = ("pixels less their median", "flow")
FUSED = " and ".join(FUSED_OF)


@dataclasses.dataclass(frozen=True, eq=False)
class LessMedian(supervised.Supervised):
    """Brightened clips less their median over time, about 0.5: what stands still is grey."""

    def view(self, video: jax.Array) -> jax.Array:
        bright = enhance.gamma_correct(base.colours(video), self.config.gamma)
        moving = bright - jnp.median(bright, axis=1, keepdims=True) + 0.5
        return base.normalise(moving, self.config.mean, self.config.std)


def less_median(config: Any, spec: base.Spec) -> LessMedian:
    """The method that `flow_carry:less_median` names."""
    made = supervised.make(config, spec)
    return LessMedian(config, spec, made.model)


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, print the table."""
    parser = program.Parser("benchmarks.flow_carry", __doc__)
    parser.add_argument("--records", required=True, help="real clips of the six actions")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--strides", default="4,5", help="of the real clips, joined by commas")
    parser.add_argument("--clips", type=int, default=300, help="rendered ones of a class")
    parser.add_argument("--steps", type=int, default=0, help="instead of 20 epochs")
    parser.add_argument("--workdir", default="runs/flow_carry")
    print("\n".join(run(parser.parse_args(argv))))
    return 0


def run(args: argparse.Namespace) -> list[str]:
    """Make the records, train every input with every seed, judge; the lines of the table."""
    try:
        strides = [int(word) for word in args.strides.split(",")]
    except ValueError:
        raise UserError(f"--strides={args.strides}: expected numbers joined by commas") from None
    process.quiet()
    drawn = rendered(args)
    real = with_flow(args.records, f"{args.workdir}/real-flow")
    found: dict[str, dict[str, list[float]]] = {name: {} for name in (*INPUTS, FUSED)}
    said: dict[tuple[str, int, int], classify.Predictions] = {}  # by input, stride and seed
    with Records(real) as records:
        for seed in range(args.seeds):
            for name in INPUTS:
                began = time.process_time()
                config, folder = trained_on(args, drawn, name, seed)
                row = found[name]
                top = experiment.once(config, str(folder))["numbers"]["top-1"]
                row.setdefault("rendered", []).append(top)
                for stride in strides:
                    said[name, stride, seed] = judged(config, folder, records, stride)
                spent = time.process_time() - began
                print(f"{folder.name}: {spent:.0f} s of CPU time", flush=True)
        clips = len(records)
    for (name, stride, seed), one in list(said.items()):
        if name == FUSED_OF[0]:
            mean = (one.probabilities + said[FUSED_OF[1], stride, seed].probabilities) / 2
            said[FUSED, stride, seed] = one._replace(probabilities=mean)
    for (name, stride, _), one in said.items():
        top = classify.summarise(one)["top-1"]
        found[name].setdefault(f"real, stride {stride}", []).append(top)
    heads = list(found["pixels"])
    lines = [f"{clips} real clips", "| input | " + " | ".join(heads) + " |"]
    lines.append("|---|" + "---|" * len(heads))
    for name, row in found.items():
        lines.append(f"| {name} | " + " | ".join(spread(row.get(h, [])) for h in heads) + " |")
    return [
        *lines,
        *(against(said, name, stride) for name in list(found)[1:] for stride in strides),
    ]


def against(
    said: Mapping[tuple[str, int, int], classify.Predictions], name: str, stride: int
) -> str:
    """Of seed 0: how many clips an input alone has right, and pixels alone, and McNemar's p."""
    ours, theirs = (
        said[key].probabilities.argmax(1) == said[key].label
        for key in ((name, stride, 0), ("pixels", stride, 0))
    )
    (_, theirs_alone), (ours_alone, _) = statistics.flips(ours, theirs).tolist()
    p = statistics.mcnemar(ours_alone, theirs_alone)
    flipped = f"{ours_alone} right that pixels have not, {theirs_alone} the other way"
    return f"{name}, stride {stride}: {flipped}, p {p:.3f}"


def rendered(args: argparse.Namespace) -> str:
    """The folder of the rendered clips with their flow."""
    dataset = get_dataset(
        "synthetic",
        clips_per_class={"train": args.clips, "test": min(args.clips, 20)},
        groups={"train": max(args.clips // 2, 1), "test": min(args.clips, 20)},
        frames=24,
        height=64,
        width=80,
        fps=12,
        seed=5,
    )
    folder = f"{args.workdir}/rendered"
    convert.convert(dataset, folder, workers=min(os.cpu_count() or 1, 8))
    return with_flow(folder, f"{folder}-flow")


def with_flow(folder: str, out: str) -> str:
    """The folder of the same clips with six channels."""
    with Records(folder) as records:
        flows.add(records, out, RECIPE)
    return out


def trained_on(
    args: argparse.Namespace, records: str, name: str, seed: int
) -> tuple[Any, pathlib.Path]:
    """The config of a training on one input, and the folder of its run."""
    c = configs.load(DEMO)
    with c.unlocked():
        c.stages, c.seed = ("teacher",), seed
        c.data.dir, c.data.channels, c.data.synthetic = records, 6, None
        c.data.stride = 2
        c.teacher.epochs, c.teacher.steps = 20, args.steps
        c.teacher.eval_every = 0
        c.teacher.update(dict(INPUTS[name]))
    return c, pathlib.Path(args.workdir, f"{name.replace(',', '').replace(' ', '_')}-{seed}")


def judged(
    config: Any, folder: pathlib.Path, records: Records, stride: int
) -> classify.Predictions:
    """What is said of all clips of `records`, 3 x 3 views of the whole frame."""
    resolved = configs.resolve(config)
    method, variables, classes = trained.load(
        resolved, "teacher", str(folder), records, elsewhere=True
    )
    data = configs.data_of(resolved, "teacher")
    data.crop, data.stride, data.views_clips, data.views_crops = "resized", stride, 3, 3
    mesh = sharding.make_mesh(resolved.mesh)
    rows, _ = classify.matched(records, np.arange(len(records)), classes)
    found = classify.predict(
        classify.make_predict(method, mesh),
        jax.device_put(variables, sharding.replicated(mesh)),
        records,
        rows,
        data,
        batch_size=resolved.eval_batch_size,
        mesh=mesh,
    )
    return classify.relabelled(found, records.classes, classes)


def spread(values: Sequence[float]) -> str:
    """Mean (lowest to highest)."""
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    program.run(main)
