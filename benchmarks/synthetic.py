"""Is the rendered data dark like ARID, and does it need motion? Prints three tables.

    python benchmarks/synthetic.py [--real DIR_OF_MP4] [--train 80] [--test 40] [--fps 12]

1. Top-1 of ridge classifiers on the mean frame and on frame differences, six ARID classes, trained
   on 12 groups and tested on 8 others. The first must stay near chance (0.167), the second not.
2. Brightness and noise of rendered dark clips, and of real clips when a folder is given.
3. Clips rendered per second by one process.
"""

from __future__ import annotations

import argparse
import pathlib
import time
from collections.abc import Callable

import numpy as np

from darkjax.data.rendering.synthetic import Recipe, recipes, render

CLASSES = ("Jump", "Run", "Sit", "Stand", "Turn", "Walk")
GREY = np.array([0.299, 0.587, 0.114], np.float32)
QUANTILES = (0.1, 0.5, 0.9)


def shrink(frames: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Block means of [T, H, W] to [T, rows, columns]; what does not fit is cut off."""
    t, h, w = frames.shape
    cut = frames[:, : h // rows * rows, : w // columns * columns]
    return cut.reshape(t, rows, h // rows, columns, w // columns).mean((2, 4))


def mean_frame(video: np.ndarray) -> np.ndarray:
    """The mean luma frame, block-averaged to 16 x 20, standardised. [320]"""
    small = shrink((video @ GREY).mean(0, keepdims=True), 16, 20)[0]
    return ((small - small.mean()) / (small.std() + 1e-6)).ravel()


def differences(video: np.ndarray) -> np.ndarray:
    """How much each place changes, when, and how fast: magnitudes of frame differences.

    Each clip is brought to mean brightness 1 first. [8 · 8 · 10 + T - 1 + T // 2]
    """
    small = shrink(video @ GREY, 8, 10)
    full = shrink(video @ GREY, 32, 40)
    full = full / (full.mean() + 1e-6)
    change = np.abs(np.diff(full, axis=0))
    energy = change.mean((1, 2))
    place = shrink(change, 8, 10)
    parts = [p.mean(0).ravel() for p in np.array_split(place, 8)]
    rhythm = np.abs(np.fft.rfft(energy - energy.mean()))[1:]
    signed = np.diff(small, axis=0)
    trend = signed[len(signed) // 4 : -(len(signed) // 4)].sum(0).ravel() / (small.mean() + 1e-6)
    scale = energy.mean() + 1e-6
    return np.concatenate([*(p / scale for p in parts), energy / scale, rhythm / scale, trend])


def ridge_accuracy(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], penalty: float
) -> float:
    """Top-1 of one-hot ridge regression in its dual form on standardised features [N, F]."""
    mean, std = train[0].mean(0), train[0].std(0) + 1e-6
    a, b = ((x - mean) / std for x in (train[0], test[0]))
    labels = np.eye(train[1].max() + 1)[train[1]]
    kernel = a @ a.T + penalty * a.shape[1] * np.eye(len(a))
    scores = b @ (a.T @ np.linalg.solve(kernel, labels - labels.mean(0)))
    return float((scores.argmax(1) == test[1]).mean())


def ridge_table(
    clips: list[Recipe], features: dict[str, Callable[[np.ndarray], np.ndarray]], **size: float
) -> dict[str, float]:
    """Render every clip once, then top-1 on the test split of one ridge classifier per feature."""
    rows: dict[str, list[np.ndarray]] = {name: [] for name in features}
    for clip in clips:
        made = render(clip.action, seed=clip.seed, group=clip.group_index, want_flow=False, **size)
        for name, function in features.items():
            rows[name].append(function(made.video))
    labels = np.array([c.label for c in clips])
    split = np.array([c.split == "train" for c in clips])
    out = {}
    for name, values in rows.items():
        x = np.stack(values)
        out[name] = ridge_accuracy((x[split], labels[split]), (x[~split], labels[~split]), 1.0)
    return out


def statistics(video: np.ndarray) -> dict[str, float]:
    """Brightness, noise and detail of one clip [T, H, W, 3], in grey levels."""
    luma = video.astype(np.float32) @ GREY
    change = np.abs(np.diff(luma, axis=0))
    middle = luma[:: max(len(luma) // 4, 1)]
    return {
        "mean luma": luma.mean(),
        "1 % quantile": np.quantile(luma, 0.01),
        "50 % quantile": np.quantile(luma, 0.5),
        "99 % quantile": np.quantile(luma, 0.99),
        "|frame difference| median": np.median(change),
        "|frame difference| 75 %": np.quantile(change, 0.75),
        "|frame difference| 90 %": np.quantile(change, 0.9),
        "noise sigma (median pixel)": np.median(np.sqrt((change**2).mean(0) / 2)),
        "share of zero pixels": (video.max(-1) == 0).mean(),
        "gradient |dx|+|dy|": np.abs(np.diff(middle, axis=2)).mean()
        + np.abs(np.diff(middle, axis=1)).mean(),
        "chroma |R-G|": np.abs(video[..., 0].astype(np.float32) - video[..., 1]).mean(),
    }


def read_real(folder: pathlib.Path, count: int, frames: int) -> list[np.ndarray]:
    """The first frames of ``count`` mp4 files spread over the folder."""
    import av

    files = sorted(folder.rglob("*.mp4"))
    out = []
    for path in files[:: max(len(files) // count, 1)][:count]:
        with av.open(str(path)) as container:
            seen = zip(range(frames), container.decode(video=0), strict=False)
            out.append(np.stack([f.to_ndarray(format="rgb24") for _, f in seen]))
    return out


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=pathlib.Path, help="a folder of real dark mp4 clips")
    parser.add_argument("--train", type=int, default=80, help="clips per class")
    parser.add_argument("--test", type=int, default=40, help="clips per class")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--fps", type=float, default=12.0)
    args = parser.parse_args()

    clips = recipes(
        CLASSES,
        clips_per_class={"train": args.train, "test": args.test},
        groups={"train": 12, "test": 8},
        seed=0,
    )
    begin = time.perf_counter()
    table = ridge_table(
        clips,
        {"mean frame": mean_frame, "frame differences": differences},
        frames=args.frames,
        height=64,
        width=80,
        fps=args.fps,
    )
    seconds = time.perf_counter() - begin
    print(f"ridge, {len(CLASSES)} classes (chance {1 / len(CLASSES):.3f}), groups disjoint")
    for name, top1 in table.items():
        print(f"  {name:<20} top1@1x1 {top1:.3f}")

    sample = clips[:: max(len(clips) // 80, 1)]
    size = {"frames": 32, "height": 120, "width": 160, "fps": 30.0}
    made = (
        render(c.action, seed=c.seed, group=c.group_index, want_flow=False, **size) for c in sample
    )
    columns = {"rendered": [statistics(m.video) for m in made]}
    if args.real:
        columns["real"] = [statistics(v) for v in read_real(args.real, 80, 32)]
    print("quantiles 10 / 50 / 90 % over clips".ljust(32) + "".join(f"{c:>24}" for c in columns))
    for key in columns["rendered"][0]:
        cells = [np.quantile([row[key] for row in rows], QUANTILES) for rows in columns.values()]
        texts = [" ".join(f"{value:7.2f}" for value in c) for c in cells]
        print(f"  {key:<30}" + "".join(f"{text:>24}" for text in texts))
    print(f"rate: {len(clips) / seconds:.1f} clips/s of {args.frames}x64x80, features included")


if __name__ == "__main__":
    main()
