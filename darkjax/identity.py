"""What a stage's weights depend on, flat, so that what an earlier run left can be compared.

A checkpoint, `done.json` and everything computed from them carry an identity: the seed, the
stage's whole section, how the data is read, the data's digest and, for each source of `init_from`,
a mark of the weights it gave. Taking it up again with another identity is refused, and what
changed is named. What may change is listed here with the reason; whatever is not listed counts.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from darkjax import checkpoint
from darkjax import config as configs
from darkjax.weights import card

FORMAT = 4  # raise it when a field is added: older records are compared by what they have

# Fields (STAGE stands for the stage's name) that no weight depends on.
MAY_CHANGE: dict[str, str] = {
    "log_every": "how often numbers are written down",
    "log_to": "where numbers are written down besides",
    "report_clips": "what the report shows",
    "eval_batch_size": "how many clips are judged at a time: the numbers are the same",
    "mesh": "the same program on other devices: equal but for the order of sums",
    "sharding": "where arrays lie",
    "stages": "each stage is compared by itself, with the weights it begins from",
    "dtype": "resolved and compared as STAGE.dtype",
    "bn_group": "compared as STAGE.bn_group",
    "data.source_dir": "the digest of the sources is compared instead",
    "data.source_synthetic": "how a source is drawn when it is not there: the digest is of it",
    "data.sources": "the digest is of all of them, with their shares",
    "data.dir": "the data's digest is compared instead: a folder may move",
    "data.synthetic": "how clips are drawn when there are none: the digest is of what was drawn",
    "data.num_classes": "checked against the card, whose classes are part of the digest",
    "data.read": "the same bytes by another system call",
    "data.check_crc": "the same bytes, checked",
    "data.num_threads": "a batch is a function of (seed, step)",
    "data.allow_leaky_split": "whether a run may begin; not which clips it takes",
    "data.workers": "a batch is a function of (seed, step)",
    "STAGE.save_every": "when the same weights are written",
    "STAGE.published": "what the word `pretrained` adds to `init_from`, which counts",
    "STAGE.allow_random_frozen": "whether a stage may begin; not what it computes",
}
# Of the evaluation: may change too, unless `keep_best` lets it choose the weights.
EVALUATION = ("data.eval_split", "data.views_clips", "data.views_crops", "STAGE.eval_every")
LENGTH = ("STAGE.epochs", "STAGE.steps")  # what --extend may raise

Flat = dict[str, Any]


def of(config: Any, name: str, digest: str, origins: Mapping[str, str | None]) -> Flat:
    """The identity of stage `name` of a resolved config, as JSON gives it back.

    Args:
      config: resolved.
      name: of the stage.
      digest: of the data that the stage is trained on (`sources.digest`).
      origins: `origin` of each source of the stage's `init_from`.
    """
    settings = {k: v for k, v in config.to_dict().items() if not _is_stage(v)}
    stage = {k: v for k, v in config[name].to_dict().items() if k != "data"}
    data = configs.data_of(config, name).to_dict()
    every = flat({**settings, "data": data, name: stage})
    free = {_path(p, name) for p in MAY_CHANGE}
    if not config[name].keep_best:
        free |= {_path(p, name) for p in EVALUATION}
    kept = {
        k: v for k, v in every.items() if not any(k == f or k.startswith(f"{f}.") for f in free)
    }
    marks = {f"{name}.init_from[{source}]": mark for source, mark in origins.items()}
    return json.loads(json.dumps({"format": FORMAT, **kept, "data.digest": digest, **marks}))


def of_meta(meta: Mapping[str, Any], name: str) -> Flat:
    """The identity in a checkpoint's meta; of one written before there were any, what it has."""
    if "identity" in meta:
        return dict(meta["identity"])
    config = json.loads(meta["config"])
    kept = {k: config[k] for k in ("data", name) if isinstance(config.get(k), dict)}
    return {**flat(kept), "seed": meta["seed"], "data.digest": meta["data"]}


def of_done(done: Mapping[str, Any]) -> Flat:
    """The identity in a `done.json`, also of one written before there were any."""
    return dict(done["identity"]) if "identity" in done else flat(done)


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """What differs, by path: `"0.003, now 0.5"`.

    A record of an older format is compared by the fields that both have, and a source that is no
    longer there (now None) is not compared: its weights are in the checkpoint.
    """
    whole = before.get("format") == now["format"]
    paths = before.keys() | now.keys() if whole else before.keys() & now.keys()
    gone = {k for k, v in now.items() if v is None and "init_from[" in k}
    return {
        k: f"{_short(before.get(k, 'not set'))}, now {_short(now.get(k, 'not set'))}"
        for k in sorted(paths - gone - {"format"})
        if before.get(k, ...) != now.get(k, ...)
    }


def only_length(changed: Mapping[str, str], name: str) -> bool:
    """Whether the length of the training is all that differs."""
    return bool(changed) and changed.keys() <= {_path(p, name) for p in LENGTH}


def told(changed: Mapping[str, str]) -> str:
    """The changes in one line."""
    return "; ".join(f"{path} ({what})" for path, what in changed.items())


def origin(folder: str) -> str | None:
    """A mark of the weights that a source of `init_from` gives; None when it is not there."""
    if card.is_weights(folder):
        return card.read(folder).source["sha256"]
    inner = os.path.join(folder, "checkpoints")
    inner = inner if os.path.isdir(inner) else folder
    if not os.path.isdir(inner) or not any(entry.isdigit() for entry in os.listdir(inner)):
        return None
    meta = checkpoint.read_meta(inner)
    content = json.dumps([meta.get("identity", meta.get("config")), meta["step"]], sort_keys=True)
    return f"step {meta['step']}, {hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _is_stage(value: Any) -> bool:
    return isinstance(value, dict) and "method" in value


def _path(pattern: str, name: str) -> str:
    return re.sub(r"^STAGE\.", f"{name}.", pattern)


def flat(tree: Mapping[str, Any], prefix: str = "") -> Flat:
    """Values by dotted path."""
    found: Flat = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _short(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value):
        return f"{value[:12]}…"  # a digest: nobody compares all of it
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
