"""Names and shapes of parameters as they were before, in `tests/golden`: checkpoints have them."""

import json
import os
import pathlib

from darkjax.optim import flatten

GOLDEN = pathlib.Path(__file__).parent / "golden"


def check(name, variables):
    """Compare with the file of that name, or write it where DARKJAX_WRITE_GOLDEN is set."""
    found = {
        f"{kind}/{path}": list(x.shape)
        for kind in ("params", "batch_stats")
        for path, x in flatten(variables.get(kind, {})).items()
    }
    path = GOLDEN / f"{name}.json"
    if os.environ.get("DARKJAX_WRITE_GOLDEN"):
        text = ",\n".join(f"{json.dumps(k)}: {v}" for k, v in sorted(found.items()))
        path.write_text("{\n" + text + "\n}\n")
    assert found == json.loads(path.read_text()), (
        "names or shapes changed, and checkpoints with them; if that is meant: "
        "DARKJAX_WRITE_GOLDEN=1 python -m pytest tests/models -m ''"
    )
