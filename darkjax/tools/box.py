"""A finished run as a box that `darkjax.load` opens: `python -m darkjax.tools.box RUN`.

    python -m darkjax.main --config=configs/real_arid6.py --config.data.dir=records/arid6 \\
        --workdir=runs/real
    python -m darkjax.tools.box runs/real --out=box

writes `weights.npz`, `config.json` and a card: what it was trained on, its licence, its accuracy
by class and brightness on clips that it never saw, what it cannot do. Only of a run that was
trained on rendered clips alone: nothing that is shipped was learnt from real people. Without --out
it becomes the box of this installation, `darkjax.load("box")`.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from darkjax import boxed, loaded, program
from darkjax import config as configs
from darkjax.data.rendering.world import World
from darkjax.data.sources import OTHER
from darkjax.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Write the box."""
    parser = program.Parser("darkjax.tools.box", __doc__)
    parser.add_argument("run", help="a run's folder, or RUN/STAGE")
    parser.add_argument("--out", default=str(boxed.SHIPPED), help="(default: the shipped box)")
    parser.add_argument("--note", default="", help="for the card: how it was chosen, and of what")
    args = parser.parse_args(argv)
    model = loaded.load(args.run)
    only_rendered(model)
    results = pathlib.Path(model.where, "results.json")
    if not results.exists():
        raise UserError(f"{model.where} was not judged: run darkjax.main with --mode=evaluate")
    out = pathlib.Path(args.out)
    size = boxed.write(model, out, card(model, configs.read_json(results), args.note))
    print(f"{out}: {size / 2**20:.2f} MiB of weights, {len(model.classes)} classes")
    return 0


def only_rendered(model: loaded.Model) -> None:
    """Refuse what was trained on clips that were not rendered, or began from other weights."""
    data, stage = configs.data_of(model.config, pathlib.Path(model.where).name), model.config
    section = stage[pathlib.Path(model.where).name]
    if section.init_from:
        raise UserError(
            f"{model.where} began from {section.init_from[0][0]}: a box is of one stage"
        )
    known = {folder for folder, _, _ in data.sources}
    drawn = known == {OTHER} and data.source_synthetic is not None
    drawn = drawn or (not known and data.synthetic is not None)
    if not drawn:
        raise UserError(
            f"{model.where} was trained on {data.dir or 'clips'} that were not rendered: a box is "
            "of rendered clips alone (configs/real_arid6.py without finetune or adapt)"
        )


def card(model: loaded.Model, results: dict[str, Any], note: str = "") -> str:
    """The text beside the weights; `note` stands below the accuracy."""
    data = configs.data_of(model.config, pathlib.Path(model.where).name)
    world = data.source_synthetic if data.sources else data.synthetic
    shares = [
        f"{field.name}={world[field.name]}"
        for field in dataclasses.fields(World)
        if field.name in world
    ]
    numbers = results["numbers"]
    lines = [
        "# A small network for dark videos",
        "",
        f"Classes: {', '.join(model.classes)}. Trained on clips that this library rendered and on "
        "nothing else: no real person is in its training data.",
        f"Rendered world: {', '.join(shares) or 'plain'}. Licence: Apache-2.0, as the library.",
        "",
        f"## {results['name']}",
        "",
        f"top-1 {numbers['top-1']:.3f} of {numbers['n']:.0f} clips, chance "
        f"{1 / len(model.classes):.3f}.{f' {note}' if note else ''}",
        "",
        "| class | recall | clips |",
        "|---|---|---|",
        *(
            f"| {name} | {row[k] / max(sum(row), 1):.3f} | {sum(row)} |"
            for k, (name, row) in enumerate(
                zip(results["classes"], results["confusion"], strict=True)
            )
        ),
        "",
        "| brightness | accuracy |",
        "|---|---|",
        *(f"| {row['name']} third | {row['accuracy']:.3f} |" for row in results["brightness"]),
        "",
        "## What it cannot do",
        "",
        "It knows these classes alone and names one of them for any video, also for one that shows "
        "none or several people. It was never trained on real video: expect the errors above, and "
        "more on other cameras. It is no basis for decisions about people.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    program.run(main)
