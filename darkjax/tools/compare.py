"""Compare trained runs on one page: `python -m darkjax.tools.compare --help`.

    python -m darkjax.tools.compare runs/a runs/b --output=compare.html
    python -m darkjax.tools.compare runs/a/teacher runs/a/student runs/b/student
    python -m darkjax.tools.compare runs/a/student/eval-winter runs/b/student/eval-winter

Each RUN is the --workdir of a training, of which the last judged stage is taken, RUN/STAGE, or
RUN/STAGE/eval-NAME of darkjax.tools.evaluate. The page shows what differs in config and data, the
curves over each other, every class, which clips flipped and which way with McNemar's exact test,
and what does not match: clips are matched by name, classes too. Nothing of the runs is changed, and
no weights are read.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

from darkjax import files, program
from darkjax.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, print its gist."""
    parser = program.Parser("darkjax.tools.compare", __doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="two or more")
    parser.add_argument("--output", default="compare.html", help="the page (default: %(default)s)")
    args = parser.parse_args(argv)
    print("\n".join(compare(args.runs, args.output)))
    return 0


def compare(runs: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str]) -> list[str]:
    """Write the page of a comparison; returns it in a few lines.

    Raises:
      UserError: fewer than two runs, one that was not judged, nothing in common, or a page that
        cannot be written.
    """
    from darkjax.eval import compare as comparing
    from darkjax.eval import compare_page

    path = pathlib.Path(output)
    if path.suffix != ".html":
        raise UserError(f"--output={output}: expected a name that ends in .html")
    found = comparing.compare([os.fspath(run) for run in runs])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, compare_page.write(found))
    except OSError as e:
        raise UserError(f"--output={output} cannot be written: {e.strerror or e}") from e
    return [*compare_page.lines(found), f"written to {output}"]


if __name__ == "__main__":
    program.run(main)
