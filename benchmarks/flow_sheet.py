"""The picture of docs/flow.md: frames of clips, their flow image, and the flow in colours.

    python benchmarks/flow_sheet.py --records=THERMAL_FLOW,ARID_FLOW --out=docs/flow.jpg

`--records` are folders of `darkjax.data.flow`. A row for each clip, spread evenly over those of a
folder: a frame where much moves (brightened, if dark), the flow image that the records hold there,
and the same as the colour wheel shows it (red: to the right, then clockwise yellow, green, blue).
What is printed says which clip and frame a row is.
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image

from darkjax.data.records import Records
from darkjax.errors import UserError
from darkjax.eval.pictures import spread
from darkjax.ops import enhance, flow_image

HEIGHT, GAP = 120, 4
DARK = 30.0  # mean luma, 0 to 255


def main() -> None:
    """Draw, and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", required=True, help="folders with flow, joined by commas")
    parser.add_argument("--out", required=True)
    parser.add_argument("--clips", type=int, default=4, help="of each folder")
    args = parser.parse_args()
    rows = []
    for folder in args.records.split(","):
        with Records(folder) as records:
            rows += [row(records, int(n)) for n in spread(len(records), args.clips)]
    width = max(row.shape[1] for row in rows)
    canvas = np.full((len(rows) * (HEIGHT + GAP) - GAP, width, 3), 255, np.uint8)
    for n, cells in enumerate(rows):
        y = n * (HEIGHT + GAP)
        canvas[y : y + HEIGHT, : cells.shape[1]] = cells
    Image.fromarray(canvas).save(args.out, quality=85)


def row(records: Records, record: int) -> np.ndarray:
    """The cells of one clip, uint8 [HEIGHT, w, 3]."""
    if "flow" not in records.card["decode"]:
        raise UserError(f"expected records of darkjax.data.flow in {records.directory}")
    card = records.clips[int(records.meta["clip"][record])]
    video = records.read_frames(record, range(card["frames"] - 1))
    bound = records.card["decode"]["flow"]["bound"]
    flow = np.asarray(flow_image.from_image(video[..., 3:], bound))
    length = np.linalg.norm(flow, axis=-1)
    t = int(length.mean((1, 2)).argmax())
    frame = video[t, ..., :3].astype(np.float32) / 255
    if card["mean_luma"] < DARK:
        frame = np.asarray(enhance.gamma_correct(frame, 2.5))
    full = max(float(np.quantile(length[t], 0.99)), 0.5)
    print(f"{records.card['name']}: {card['id']}, frame {t}: {full:.1f} pixels are a full colour")
    cells = (np.rint(frame * 255), video[t, ..., 3:], flow_image.wheel(flow[t], full))
    gap = np.full((HEIGHT, GAP, 3), 255, np.uint8)
    return np.concatenate([part for cell in cells for part in (_sized(cell), gap)][:-1], 1)


def _sized(cell: np.ndarray) -> np.ndarray:
    width = round(cell.shape[1] * HEIGHT / cell.shape[0])
    picture = Image.fromarray(np.asarray(cell, np.uint8))
    return np.asarray(picture.resize((width, HEIGHT), Image.Resampling.BICUBIC))


if __name__ == "__main__":
    main()
