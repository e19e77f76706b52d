"""Whether converted clips are what they should be: `python -m darkjax.tools.check_data DIR`.

    python -m darkjax.tools.check_data records/arid
    python -m darkjax.tools.check_data records/ucf101 --sample=1000 --json=ucf101.json

Says and compares, for every official split of the clips, and for their folds:

    counts       clips of each split and class, with what the dataset's authors count
    unreadable   files that could not be converted, records that cannot be read
    black        no value above --black_max in any frame
    frozen       no frame differs from the first (a note: none differs for more than a second)
    duplicates   clips with the same frames, or made of the same file; on both sides of a split?
    groups       recordings with clips on both sides of a split
    folds        what a guess by how common classes are is worth when each fold is left out
    brightness   a histogram of the clips' mean luma, by split

A dark clip is not a black one: a clip of ARID with a mean luma of 0.4 shows somebody waving when it
is made 30 times brighter. So only the brightest value counts, and that of 172 clips of ARID is
never below 26. Every frame is read; with --sample=N those of N clips drawn by chance. What is known
without reading (counts, same files, groups, brightness) is always said of all. Checksums and
indices are for `python -m darkjax.data.convert --verify DIR`.

The exit code is 1 when there is a fault, 2 when there is nothing to check. A note is no fault:
groups on both sides of a split that was published like that, a clip twice on the same side.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from darkjax import files, program
from darkjax.data import contents, prior
from darkjax.data.datasets import official
from darkjax.data.progress import Progress
from darkjax.data.records import Records
from darkjax.errors import UserError
from darkjax.eval import check_text

# Of these the published splits put clips of one group on both sides: ARID's sessions (its lists),
# HMDB51's films, whose clips of other classes are on the other side; InfAR, XD145 and Dark-48 were
# split by chance.
GROUPS_SHARED = frozenset(
    {"arid", "arid15", "arid_ug2", "arid_ee6222", "dark48", "hmdb51", "infar", "xd145"}
)
EDGES = (0, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)  # of luma; most data here is dark
SHOWN = 5  # names in a line
MISLED = 0.75  # of a guess by the shares in all clips: less is a note

Found = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the report; 1 when there is a fault."""
    args = _parser().parse_args(argv)
    # Not mapped: all that was read would count as this program's memory.
    with Records(args.directory, read="pread") as records:
        found = check(records, sample=args.sample, black_max=args.black_max)
    if args.json:
        try:
            files.write_json(args.json, found)
        except OSError as error:
            raise UserError(f"--json={args.json}: {error.strerror or error}") from error
    print(check_text.text(found))
    return 1 if found["faults"] else 0


def _parser() -> program.Parser:
    parser = program.Parser("darkjax.tools.check_data", __doc__)
    parser.add_argument("directory", metavar="DIR", help="records, as the conversion wrote them")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="read only N clips")
    parser.add_argument("--json", metavar="FILE", help="write all of it there, with every name")
    parser.add_argument("--black_max", type=float, default=8, help="of 255 (default: 8)")
    return parser


def check(records: Records, *, sample: int = 0, black_max: float = 8) -> Found:
    """Everything the report says, for JSON. Reads the frames of all clips, or of `sample` of them.

    Returns:
      `faults` and `notes` are lines of text; clips are named by their ids.
    """
    seen, unreadable = _read(records, sample)
    rows = {int(row): records.clips[row] for row in records.meta["clip"]}
    black = [row for row, content in seen.items() if content.brightest <= black_max]
    still = {row: c.still for row, c in seen.items() if c.still > max(rows[row]["fps"], 1)}
    frozen = [row for row, content in seen.items() if content.still == rows[row]["frames"]]
    same = contents.alike({row: content.sha256 for row, content in seen.items()})
    same += contents.alike(contents.source_keys(records))
    found: Found = {
        "directory": str(records.directory),
        "name": records.card["name"],
        "digest": records.digest,
        "clips": len(rows),
        "classes": list(records.classes),
        "decode": records.card["decode"],
        "sizes": _sizes(list(rows.values())),
        "read": len(seen) + len(unreadable),
        "official": official.official(records.card["name"]),
        "counts": _counts(records),
        "bad": records.card["bad"],
        "unreadable": unreadable,
        "black": _ids(records, black),
        "frozen": _ids(records, frozen),
        "still": {rows[row]["id"]: still[row] for row in sorted(still.keys() - set(frozen))},
        "brightness": _brightness(records),
        "faults": [],
        "notes": [],
    }
    _say_counts(found)
    _say(found, "faults", "bad files", [entry["path"] for entry in found["bad"]])
    _say(found, "faults", "records that cannot be read", [u["id"] for u in unreadable])
    _say(found, "faults", "black clips", found["black"])
    _say(found, "faults", "frozen clips", found["frozen"])
    stops = [f"{name} ({count} frames)" for name, count in found["still"].items()]
    _say(found, "notes", "clips that stand still for more than a second", stops)
    _say_duplicates(found, records, contents.merged(same))
    _say_groups(found, records)
    _say_folds(found)
    return found


def _read(
    records: Records, sample: int
) -> tuple[dict[int, contents.Content], list[dict[str, str]]]:
    """By row of the card: what the clips show; and which could not be read."""
    if sample < 0:
        raise UserError(f"--sample={sample}: expected a number of clips, or 0 for all")
    numbers = np.arange(len(records))
    if 0 < sample < len(records):
        numbers = np.sort(np.random.default_rng(0).choice(len(records), sample, replace=False))
    progress = Progress(len(numbers), "clips")
    seen, unreadable = {}, []
    try:
        for done, number in enumerate(numbers.tolist(), 1):
            row = int(records.meta["clip"][number])
            try:
                seen[row] = contents.of(records, number)
            except UserError as error:
                unreadable.append({"id": records.clips[row]["id"], "reason": str(error)})
            progress.update(done, f", {len(unreadable)} unreadable" if unreadable else "")
    finally:
        progress.close()
    return seen, unreadable


def _sizes(rows: Sequence[Mapping[str, Any]]) -> Found:
    """Smallest, median and largest of what is counted for every clip."""
    if not rows:
        return {}
    return {
        name: [float(q) for q in np.quantile([row[name] for row in rows], (0, 0.5, 1))]
        for name in ("frames", "height", "width", "fps", "mean_luma")
    }


def _counts(records: Records) -> dict[str, dict[str, Found]]:
    """Of each protocol, and of the folds, and their parts: clips, bad ones, frames, clips of every
    class."""
    counts: dict[str, dict[str, Found]] = {}
    splits = records.protocols or ("",)
    for number, protocol in enumerate((*splits, "folds")):
        parts: dict[str, Found] = {}
        for row in records.clips:
            if protocol == "folds":
                part = str(row["fold"]) if row["fold"] > 0 else ""
            else:
                part = row["assigned"][number] if records.protocols else row["split"]
            one = parts.setdefault(
                part, {"clips": 0, "bad": 0, "frames": 0, "per_class": [0] * len(records.classes)}
            )
            good = row["shard"] >= 0
            one["clips" if good else "bad"] += 1
            one["frames"] += row["frames"]
            one["per_class"][row["label"]] += good
        parts.pop("", None)  # what a protocol leaves out, clips of no fold
        if parts or protocol in splits:
            counts[protocol] = dict(sorted(parts.items()))
    return counts


def _brightness(records: Records) -> Found:
    """How many clips of each part of the first protocol have a mean luma in each interval."""
    (_, parts), *_ = contents.sides(records).items()
    luma: dict[str, list[float]] = collections.defaultdict(list)
    for row, part in parts.items():
        luma[part].append(records.clips[row]["mean_luma"])
    counts = {part: np.histogram(v, EDGES)[0].tolist() for part, v in sorted(luma.items())}
    return {"edges": list(EDGES), "counts": counts}


# What is wrong ------------------------------------------------------------------------------


def _say(found: Found, kind: str, what: str, names: Sequence[str]) -> None:
    """A line under `kind`, when there is any name."""
    if names:
        found[kind].append(f"{len(names)} {what}: {_short(names)}")


def _short(names: Sequence[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f", … ({rest} more)" if rest > 0 else "")


def _ids(records: Records, rows: Iterable[int]) -> list[str]:
    return [records.clips[row]["id"] for row in sorted(rows)]


def _say_counts(found: Found) -> None:
    """Differences from what the authors count; a bad file is missed too."""
    published = found["official"]
    if published is None:
        return
    faults, classes = found["faults"], found["classes"]
    if len(classes) != published["classes"]:
        faults.append(f"{len(classes)} classes; official: {published['classes']}")
    if found["clips"] != published["clips"]:
        faults.append(f"{found['clips']} clips; official: {published['clips']}")
    for protocol, parts in published["splits"].items():
        for part, wanted in parts.items():
            here = found["counts"].get(protocol, {}).get(part)
            named = _named(protocol, part)
            if here is None:
                faults.append(f"no clips of {named}; official: {wanted['clips']}")
            elif here["clips"] != wanted["clips"]:
                faults.append(f"{here['clips']} clips of {named}; official: {wanted['clips']}")
            if here is not None and "per_class" in wanted:
                pairs = zip(classes, here["per_class"], wanted["per_class"], strict=False)
                wrong = [f"{name} {n} (official {m})" for name, n, m in pairs if n != m]
                _say(found, "faults", f"classes of {named} with other counts", wrong)


def _say_duplicates(found: Found, records: Records, same: Sequence[Sequence[int]]) -> None:
    found["duplicates"] = [_ids(records, rows) for rows in same]
    sets = [" = ".join(ids) for ids in found["duplicates"]]
    labels = [{records.clips[row]["label"] for row in rows} for rows in same]
    told = {number for number, of in enumerate(labels) if len(of) > 1}
    _say(found, "faults", "sets of equal clips of several classes", [sets[n] for n in sorted(told)])
    for protocol, parts in contents.sides(records).items():
        for pair, numbers in contents.across(parts, same).items():
            named = " and ".join(_named(protocol, part) for part in pair)
            _say(found, "faults", f"sets of equal clips in {named}", [sets[n] for n in numbers])
            told |= set(numbers)
    rest = [s for n, s in enumerate(sets) if n not in told]
    _say(found, "notes", "sets of equal clips on the same side of every split", rest)


def _say_groups(found: Found, records: Records) -> None:
    clips: dict[str, list[int]] = collections.defaultdict(list)
    for row in records.clips:
        if row["shard"] >= 0:
            clips[row["group"]].append(row["clip"])
    names = list(clips)
    found["groups"] = {"count": len(names), "across": []}
    for protocol, parts in contents.sides(records).items():
        for pair, numbers in contents.across(parts, clips.values()).items():
            across = {"protocol": protocol, "parts": pair, "groups": [names[n] for n in numbers]}
            found["groups"]["across"].append(across)
            published = protocol != "folds" and found["name"] in GROUPS_SHARED
            what = f"of {len(names)} groups have clips in {_named(protocol, pair[0])} and "
            what += _named(protocol, pair[1]) + (" (published like that)" if published else "")
            _say(found, "notes" if published else "faults", what, across["groups"])


def _say_folds(found: Found) -> None:
    """Whether who is trained on the other folds is misled by how common their classes are."""
    folds = found["counts"].get("folds", {})
    counts = [part["per_class"] for part in folds.values() if part["clips"]]
    if len(counts) < 2:
        return
    guess = prior.left_out(np.array(counts))
    found["guess"] = guess._asdict()
    if guess.share < MISLED * guess.whole:
        found["notes"].append(
            f"with a fold left out a guess by the shares of the other folds' classes is right for "
            f"{guess.share:.3f} of its clips, the most common class for {guess.common:.3f}, by the "
            f"shares in all clips {guess.whole:.3f}: what learns how common classes are falls "
            "below chance (data.balance=class has them equally common)"
        )


def _named(protocol: str, part: str) -> str:
    """`train`, `train of split 2`, `fold 3`."""
    if protocol == "folds":
        return f"fold {part}"
    return f"{part} of split {protocol}" if protocol else part


if __name__ == "__main__":
    program.run(main)
