"""What `darkjax.tools.check_data` found, as text for people."""

from __future__ import annotations

from typing import Any

from darkjax import program

BAR = 40  # characters of the longest
Found = dict[str, Any]


def text(found: Found) -> str:
    """The report for people."""
    lines = [f"{found['directory']}: {found['name']}, {found['clips']} clips"]
    lines += _facts(found)
    lines += ["", *_table(found)]
    lines += ["", *_histogram(found["brightness"])]
    lines += ["", *(f"note: {line}" for line in found["notes"])]
    lines += [f"fault: {line}" for line in found["faults"]]
    read, clips = found["read"], found["clips"]
    lines.append(
        f"{program.counted(len(found['faults']), 'fault')}, "
        f"{program.counted(len(found['notes']), 'note')}; frames of "
        f"{'all' if read == clips else read} of {clips} clips were read"
    )
    return "\n".join(lines)


def _facts(found: Found) -> list[str]:
    if not found["sizes"]:
        return []
    official = found["official"]
    known = f"{official['clips']} clips of {official['classes']} classes" if official else "unknown"
    named = {"frames": "frames", "height": "height", "width": "width", "fps": "frames/s"}
    named["mean_luma"] = "mean luma"
    return [f"  {'official':<10} {known}"] + [
        f"  {name:<10} {low:g}" + (f" to {high:g}, median {middle:g}" if high > low else "")
        for name, (low, middle, high) in ((n, found["sizes"][k]) for k, n in named.items())
    ]


def _table(found: Found) -> list[str]:
    """Clips by class (rows) and part of each protocol (columns), the official where it differs."""
    published = (found["official"] or {}).get("splits", {})
    heads, columns = [], []
    for protocol, parts in found["counts"].items():
        for part, here in parts.items():
            wanted = published.get(protocol, {}).get(part, {})
            per_class = [*wanted.get("per_class", ()), *[None] * len(here["per_class"])]
            cells = [_cell(n, m) for n, m in zip(here["per_class"], per_class, strict=False)]
            cells += [_cell(here["clips"], wanted.get("clips")), str(here["bad"])]
            heads.append(f"{protocol}:{part}" if protocol else part)
            columns.append(cells)
    names = [*found["classes"], "clips", "bad"]
    wide = max(map(len, names))
    widths = [max(map(len, (h, *c))) for h, c in zip(heads, columns, strict=True)]
    rows = [heads, *zip(*columns, strict=True)]
    return [
        f"{name:<{wide}}" + "".join(f"  {c:>{w}}" for c, w in zip(row, widths, strict=True))
        for name, row in zip(["class", *names], rows, strict=True)
    ]


def _cell(count: int, wanted: int | None) -> str:
    return str(count) if wanted in (None, count) else f"{count} (official {wanted})"


def _histogram(brightness: Found) -> list[str]:
    lines = []
    edges = brightness["edges"]
    for part, counts in brightness["counts"].items():
        lines.append(f"mean luma of the clips of {part}")
        last = max((k for k, count in enumerate(counts) if count), default=0)
        for low, high, count in zip(edges, edges[1:], counts[: last + 1], strict=False):
            bar = "█" * -(-BAR * count // max(counts))
            lines.append(f"  {low:>3} to {high:>3}  {count:>6}  {bar}".rstrip())
    return lines
