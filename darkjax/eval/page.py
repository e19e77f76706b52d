"""The report's HTML frame: one style sheet, the page, tables. Nothing is loaded from outside."""

from collections.abc import Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark;
  --bg: #ffffff; --panel: #f6f8fa; --ink: #1b1f24; --muted: #57606a; --line: #d0d7de;
  --accent: #0b5cad; --on-accent: #ffffff; --good: #1a7f37; --bad: #b3261e;
  --s0: #0b5cad; --s1: #c4500a; --s2: #00795a; --s3: #a03d83; --s4: #9a6700; --s5: #57606a; }
@media (prefers-color-scheme: dark) { :root {
  --bg: #0f1318; --panel: #171c23; --ink: #e6e9ed; --muted: #9aa4af; --line: #323a44;
  --accent: #5aa9f5; --on-accent: #0b1016; --good: #57c276; --bad: #ff8a80;
  --s0: #5aa9f5; --s1: #f5935a; --s2: #4cc9a0; --s3: #e08cc6; --s4: #d9b13b; --s5: #9aa4af; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 20px 64px; }
h1 { font-size: 26px; line-height: 1.2; margin: 8px 0 12px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 40px 0 12px; padding-bottom: 6px;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 16px; margin: 24px 0 8px; }
p, .note { margin: 6px 0 12px; } .note { color: var(--muted); font-size: 13.5px; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 0;
  font-size: 14px; }
dl.facts dt { color: var(--muted); } dl.facts dd { margin: 0; overflow-wrap: anywhere;
  min-width: 0; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  font-size: 13px; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: 12px;
  overflow-x: auto; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin: 0; }
.tiles > div { display: flex; flex-direction: column; background: var(--panel);
  border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; }
.tiles dt { order: 2; color: var(--muted); font-size: 13.5px; }
.tiles dd { margin: 0; font-size: 26px; font-weight: 600; line-height: 1.2; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(400px, 100%), 1fr));
  gap: 16px; }
figure { margin: 0; }
.chart { background: var(--panel); border: 1px solid var(--line); border-radius: 8px;
  padding: 12px 12px 6px; }
.chart figcaption { font-weight: 600; font-size: 14px; }
.chart svg { display: block; width: 100%; height: auto; }
svg text { font-size: 12px; fill: var(--muted); font-family: inherit; }
.axis { stroke: var(--muted); fill: none; } .grid { stroke: var(--line); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 14px; margin: 2px 0 6px;
  padding: 0; font-size: 13px; }
.key { display: inline-block; width: 16px; height: 3px; margin-right: 6px;
  vertical-align: middle; background: var(--s); }
.s0 { --s: var(--s0); } .s1 { --s: var(--s1); } .s2 { --s: var(--s2); }
.s3 { --s: var(--s3); } .s4 { --s: var(--s4); } .s5 { --s: var(--s5); }
.curve path { stroke: var(--s); stroke-width: 1.8; fill: none; stroke-linejoin: round; }
.curve circle { fill: var(--s); }
.scroll { overflow-x: auto; } svg.confusion { display: block; }
.confusion .empty { fill: var(--panel); stroke: var(--line); }
  .confusion .cell { fill: var(--accent); }
.confusion text { font-size: 12px; } .confusion .name { fill: var(--ink); font-size: 11.5px; }
.confusion .full, .confusion .light { text-anchor: middle; fill: var(--ink); }
.confusion .full { fill: var(--on-accent); } .confusion .small { font-size: 9.5px; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: 6px; }
th, td { padding: 4px 16px 4px 0; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: baseline; }
.text { text-align: left; }
td { white-space: nowrap; }
thead th { color: var(--muted); font-weight: 600; }
tbody th { font-weight: 400; }
.bar { display: inline-block; width: 80px; height: 8px; margin-left: 8px; border-radius: 4px;
  background: var(--line); overflow: hidden; }
.bar > span { display: block; height: 100%; background: var(--accent); }
.columns { display: flex; flex-wrap: wrap; gap: 24px 56px; align-items: flex-start; }
.clips { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr));
  gap: 16px; }
.clip { background: var(--panel); border: 1px solid var(--line); border-left: 4px solid var(--bad);
  border-radius: 8px; padding: 12px; break-inside: avoid; overflow-wrap: anywhere; }
.clip.right { border-left-color: var(--good); }
.clip figcaption { margin-bottom: 6px; font-size: 14px; }
.clip img { display: block; width: 100%; height: auto; border-radius: 3px; }
.clip .row { margin: 8px 0 2px; color: var(--muted); font-size: 12.5px; }
.verdict { font-weight: 600; color: var(--bad); } .right .verdict { color: var(--good); }
summary { cursor: pointer; font-weight: 600; margin: 8px 0; }
@media (max-width: 560px) { main { padding: 16px 12px 40px; }
  dl.facts { grid-template-columns: 1fr; }
  dl.facts dd { margin-bottom: 6px; } th, td { padding-right: 10px; } .bar { width: 40px; } }
@media print { body { font-size: 11pt; } main { max-width: none; padding: 0; }
  h2 { break-after: avoid; }
  figure, tr, .tiles { break-inside: avoid; } .scroll { overflow: visible; }
  svg.confusion { max-width: 100%; height: auto; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  details::details-content { content-visibility: visible; block-size: auto; } }
"""


def page(title: str, body: str, style: str = "") -> str:
    """A whole HTML document around ``body`` (already HTML); ``title`` is plain text.

    ``style`` is CSS after the common style sheet.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def section(title: str, body: str) -> str:
    """A part of the report with its heading; ``body`` is HTML."""
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>"


def table(
    caption: str, headers: Sequence[str], rows: Sequence[Sequence[str]], *, names: int = 1
) -> str:
    """A table whose first column heads the rows. Cells are HTML: escape them first.

    The first ``names`` columns are words and stand left, the others are numbers.
    """

    def sort(i: int) -> str:
        return ' class="text"' if i < names else ""

    def cell(i: int, text: str) -> str:
        return f"<td{sort(i)}>{text}</td>" if i else f'<th scope="row"{sort(i)}>{text}</th>'

    head = "".join(f'<th scope="col"{sort(i)}>{escape(h)}</th>' for i, h in enumerate(headers))
    body = "".join(
        "<tr>" + "".join(cell(i, text) for i, text in enumerate(row)) + "</tr>" for row in rows
    )
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def percent(share: float | None, *, bar: bool = False) -> str:
    """0.1234 -> "12.3 %", with a small bar on request; no number (None, NaN) is a dash."""
    if share is None or share != share:
        return "–"
    text = f"{100 * share:.1f} %"
    if not bar:
        return text
    return f'{text}<span class="bar"><span style="width:{100 * share:.1f}%"></span></span>'
