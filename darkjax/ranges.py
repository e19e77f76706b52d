"""What every value of a config may be: a table from fields to checks, asked before anything else.

A field that is not in `TABLE` is refused, and a test asks for an entry for every field of every
config, so none is forgotten. Sections of models (`MODELS`) have the fields of the model's class,
checked by their types; whether they fit together is seen where the model is built.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import ml_collections

from darkjax import channels, loggers, methods, models
from darkjax.checks import (
    FLAG,
    LEVELS,
    NAME,
    NONE,
    PATTERNS,
    PLACED,
    POSITIVE,
    RISING,
    SCALED,
    SHARE,
    SIZE,
    SOME,
    SPAN,
    SPREADS,
    TAKEN,
    TEXT,
    Check,
    both,
    choice,
    each,
    either,
    integer,
    number,
    rule,
    word,
)
from darkjax.data.balance import BALANCES
from darkjax.data.records import READ
from darkjax.data.rendering.synthetic import DOMAINS
from darkjax.data.rendering.world import World
from darkjax.data.split import SPLITS
from darkjax.data.views import CROPS, SAMPLINGS
from darkjax.errors import UserError
from darkjax.methods import darklight, dinet, dtcm, enhancer, fusion, ir_dcl, lift
from darkjax.methods.base import LUMINOUS
from darkjax.models.code_layers import ACTIVATIONS
from darkjax.nearest import nearest
from darkjax.ops import enhance, flow, warp

LONGEST = 60  # characters of a wrong value that are shown


# Options of a rendered dataset: nothing but None at the field itself, or a section of these.
_RENDERED: dict[str, Check] = {
    "": Check("None, or a section of options", lambda v: v is None),
    ".classes": both("some names", each(NAME), SOME),
    ".clips_per_class.*": integer(1, 10**6),
    ".groups.*": integer(1, 10**6),
    ".frames": integer(1, 16384),
    ".height": integer(16, 16384),
    ".width": integer(16, 16384),
    ".fps": number(0.1, 1000),
    ".domain": word(*DOMAINS),
    ".flow.method": word(*flow.METHODS),
    ".flow.bound": POSITIVE,
    ".flow.enhance": word("", *enhance.METHODS),
    ".name": NAME,
    ".seed": integer(0, 2**31 - 1),
    **{f".{field.name}": SHARE for field in dataclasses.fields(World)},
}
# STAGE is any stage's section; a field that not all methods have stands under those that read it.
# `*` stands for any name.
_TABLE: dict[str, Check] = {
    "seed": integer(0, 2**31 - 1),
    "dtype": word("auto", "float32", "bfloat16"),
    "bn_group": integer(0),
    "mesh": each(integer(-1, 10**6), 2),
    "sharding": each(PLACED),
    "log_every": integer(1),
    "log_to": each(word(*loggers.PACKAGES)),
    "eval_batch_size": integer(1, 10**6),
    "report_clips": integer(0, 10**6),
    "stages": both(
        "at least one name, each once",
        each(NAME),
        Check("each once", lambda v: 0 < len(v) == len(set(v))),
    ),
    "rows": both("at least one name", each(NAME), SOME),
    "seeds": integer(1, 10**6),
    "data.dir": TEXT,
    "data.num_classes": integer(0, 10**6),
    "data.split": word(*SPLITS),
    "data.protocol": TEXT,
    "data.train_split": NAME,
    "data.eval_split": NAME,
    "data.fold": integer(0, 10**6),
    "data.random_share": number(0, 1, above=True),
    "data.random_seed": integer(0, 2**31 - 1),
    "data.allow_leaky_split": FLAG,
    "data.read": word(*READ),
    "data.check_crc": FLAG,
    "data.num_threads": integer(0, 1024),
    "data.workers": integer(0, 1024),
    "data.source_dir": TEXT,
    "data.sources": each(
        rule("(folder, share, labelled)", TEXT, number(0, 1, above=True), FLAG),
    ),
    "data.balance": word(*BALANCES),
    "data.train_views": integer(1, 64),
    "data.frames": integer(1, 16384),
    "data.stride": integer(1, 16384),
    "data.sampling": word(*SAMPLINGS),
    "data.deltas": each(integer(1, 16384)),
    "data.size": each(SIZE, 2),
    "data.crop": word(*CROPS),
    "data.scale": both(
        "(smallest, largest), above 0 and at most 1",
        each(number(0, 1, above=True), 2),
        RISING,
    ),
    "data.corner_scales": both(
        "some shares of the largest window, above 0 and at most 1",
        each(number(0, 1, above=True)),
        SOME,
    ),
    "data.corner_distort": integer(0, 1000),
    "data.centre": each(SIZE, 0, 2),
    "data.flip": FLAG,
    "data.channels": choice(1, 2, 3, 4, channels.WITH_FLOW),
    "data.views_clips": integer(0, 1000),
    "data.views_crops": choice(1, 3, 5, 10),
    **{
        f"data.{name}{field}": check
        for name in ("synthetic", "source_synthetic")
        for field, check in _RENDERED.items()
    },
    "STAGE.method": Check(
        f"{word(*methods.METHODS).text}, or package.module:function", methods.is_name
    ),
    "STAGE.dtype": word("float32", "bfloat16"),
    "STAGE.bn_group": integer(0),
    "STAGE.epochs": integer(1),
    "STAGE.steps": integer(0),
    "STAGE.batch_size": integer(1, 10**6),
    "STAGE.accumulate": integer(1, 10**6),
    "STAGE.ema": number(0, 1, below=True),
    "STAGE.freeze": PATTERNS,
    "STAGE.init_from": each(TAKEN),
    "STAGE.published": each(TAKEN),
    "STAGE.allow_random_frozen": FLAG,
    "STAGE.keep_best": TEXT,  # which names there are is known with the method: preflight
    "STAGE.eval_every": integer(0),
    "STAGE.save_every": integer(0),
    "STAGE.knn_k": integer(1, 10**6),
    "STAGE.probe_decay": number(0),
    "STAGE.label_smoothing": number(0, 1, below=True),
    "STAGE.optim.name": word("adamw", "adam", "sgd"),
    "STAGE.optim.lr": number(0, 1e38),
    "STAGE.optim.schedule": word("cosine", "constant", "dann"),
    "STAGE.optim.warmup_steps": integer(0),
    "STAGE.optim.final": SHARE,
    "STAGE.optim.betas": each(number(0, 1, below=True), 2),
    "STAGE.optim.momentum": number(0, 1, below=True),
    "STAGE.optim.weight_decay": number(0, 1000),
    "STAGE.optim.decay_exclude": PATTERNS,
    "STAGE.optim.lr_scale": SCALED,
    "STAGE.optim.clip": number(0),
    "supervised/lift/dinet/ir_dcl/contrastive.luminous_input": word(*LUMINOUS, *enhance.METHODS),
    "supervised/lift/dinet/ir_dcl/contrastive.flow_method": word(*flow.METHODS),
    "supervised/lift/dinet/ir_dcl/contrastive.flow_bound": POSITIVE,
    "supervised/lift/dinet/ir_dcl/contrastive.flow_enhance": word("", *enhance.METHODS),
    "lift.luminous_frozen": FLAG,
    "darklight/actlumos.views": each(word(*darklight.VIEWS), 1, 2, 3),
    "supervised/lift/dinet/ir_dcl/darklight/contrastive/actlumos.gamma": number(0, 100, above=True),
    "supervised/lift/dtcm/dinet/ir_dcl/darklight/contrastive/actlumos.mean": LEVELS,
    "supervised/lift/dtcm/dinet/ir_dcl/darklight/contrastive/actlumos.std": SPREADS,
    "lift.luminous_mean": LEVELS,
    "lift.luminous_std": SPREADS,
    "lift.pvit_freeze": word(*lift.PVIT_FREEZE),
    "lift.distill.on": word("pre_logits", "logits"),
    "actlumos.teacher_views": each(word(*darklight.VIEWS), 1, 2, 3),
    "actlumos.teacher_mean": LEVELS,
    "actlumos.teacher_std": SPREADS,
    "lift/actlumos.distill.weight": number(0),
    "actlumos.distill.temperature": POSITIVE,
    "actlumos.supcon.weight": number(0),
    "contrastive.temperature": POSITIVE,
    "actlumos.supcon.temperature": POSITIVE,
    "actlumos.supcon.projection": each(integer(1, 65536), 2),
    "contrastive.projection": each(integer(1, 65536), 2),
    "ir_dcl.alpha": number(0),
    "ir_dcl.neurons": integer(1, 10**6),
    "ir_dcl.code_bias": FLAG,
    "ir_dcl.dropout": number(0, 1, below=True),
    "ir_dcl.leftovers": word(*ir_dcl.LEFTOVERS),
    "ir_dcl.knn_gamma": POSITIVE,
    "ir_dcl.answer": word(*ir_dcl.ANSWERS),
    "fusion.weights.*": number(0),
    "fusion.filters": integer(1, 65536),
    "fusion.activation": word(*ACTIVATIONS),
    "fusion.answer": word(*fusion.ANSWERS),
    "fusion.knn_gamma": POSITIVE,
    "dtcm.enhancer_frozen": FLAG,
    "dtcm.objective": word(*dtcm.OBJECTIVES),
    "enhancer.objective": word(*enhancer.OBJECTIVES),
    "dtcm.alpha": number(0),
    "dinet.adapt": word(*dinet.ADAPT),
    "dinet.batch_norm": word(*dinet.BATCH_NORM),
    "dinet.domain_head": each(integer(1, 65536)),
    "dinet.lambda_max": number(0),
    "dinet.lambda_gamma": number(0),
    "dinet.lambda_start": number(0, 1, below=True),
    "dtcm/enhancer.w_stc": number(0),
    "dtcm/enhancer.w_col": number(0),
    "dtcm/enhancer.w_tv": number(0),
    "dtcm/enhancer.exposure": SHARE,
    "dtcm/enhancer.loss_form": word("paper", "code"),
    "STAGE.augment.flip.p": SHARE,
    "STAGE.augment.jitter.p": SHARE,
    "STAGE.augment.jitter.brightness": SHARE,
    "STAGE.augment.jitter.contrast": SHARE,
    "STAGE.augment.jitter.saturation": SHARE,
    "STAGE.augment.jitter.hue": number(0, 0.5),
    "STAGE.augment.affine.p": SHARE,
    "STAGE.augment.affine.degrees": number(0, 180),
    "STAGE.augment.affine.translate": SHARE,
    "STAGE.augment.affine.scale": SPAN,
    "STAGE.augment.affine.shear": number(0, 90, below=True),
    "STAGE.augment.optical.p": SHARE,
    "STAGE.augment.optical.limit": SHARE,
    "STAGE.augment.elastic.p": SHARE,
    "STAGE.augment.elastic.alpha": number(0),
    "STAGE.augment.elastic.sigma": number(0, 1000, above=True),
    "STAGE.augment.rain.p": SHARE,
    "STAGE.augment.rain.density": SHARE,
    "STAGE.augment.rain.length": number(0, 16384, above=True),
    "STAGE.augment.rain.brightness": SHARE,
    "STAGE.augment.rain.slant": number(0, 10),
    "STAGE.augment.frame_shuffle.p": SHARE,
    "STAGE.augment.frame_shuffle.window": integer(0, 16384),
    "STAGE.augment.still.p": SHARE,
    "STAGE.augment.still.limit": SHARE,
    "STAGE.augment.cutmix.p": SHARE,
    "STAGE.augment.cutmix.alpha": POSITIVE,
    "STAGE.augment.border": word(*warp.BORDERS),
}
TABLE = {
    f"{owner}.{field}" if field else owner: check
    for key, check in _TABLE.items()
    for owners, _, field in (key.partition("."),)
    for owner in owners.split("/")
}
# Sections whose fields are those of the model that their `name` names, by the stage's method.
MODELS = (
    "supervised.model", "lift.model", "dtcm.model", "dinet.model", "dtcm.enhancer",
    "enhancer.enhancer", "ir_dcl.model", "darklight.model",
    "contrastive.model", "actlumos.model", "actlumos.teacher",
)  # fmt: skip
STREAMS = "fusion.streams"  # sections of stages, by name
# Sections inside a model's, and the model whose fields they have (or the field that names it).
INSIDE = {"luminous": "luminous_net", "pvit": "vit", "backbone": "backbone_net"}
DEEP = ("depth", "repeats", "iterations", "stages", "enhance_repeats", "calibrate_repeats")
SHARES = ("dropout", "bert_dropout", "drop_path", "mask_prob", "bn_momentum")
ABOVE = ("bn_eps", "width", "mlp_ratio", "foe_ratio", "ratio")
SECTIONS = {key[:i] for key in TABLE for i in range(len(key)) if key[i] == "."} | set(MODELS)
SECTION = Check("a section of fields", lambda v: isinstance(v, ml_collections.ConfigDict))
MISSING = Check("to be there, in a whole section", lambda v: False)
STAGE = Check("a stage's section, with a method", lambda v: False)


class Field(NamedTuple):
    """A field of a config: where it is, what it may be, what it is, and what is known beside it."""

    path: str
    check: Check | None  # None: there is no such field
    value: Any
    known: frozenset[str]  # the names that the section may have
    model: bool = False  # one of a model's own fields


def walk(config: Any) -> Iterator[Field]:
    """Every field of a config, in its order; sections only where a value or nothing should be."""
    own = frozenset(key for key in TABLE if "." not in key) | {"data"}
    own = own | {"enhancers"} if "enhancers" in config else own - {"rows", "seeds"}
    for name, value in config.items():
        section = isinstance(value, ml_collections.ConfigDict)
        if name in ("data", "enhancers") and not section:
            yield Field(name, SECTION, value, own)
        elif name == "data":
            yield from _section(value, name, ("data",))
        elif name == "enhancers":  # of the matrix: stages by name
            for inner, stage in value.items():
                yield from _stage(stage, f"{name}.{inner}")
        elif section and name not in own:
            yield from _stage(value, name)
        elif name in _names(config.get("stages")):
            yield Field(name, STAGE, value, own)
        else:
            check = TABLE[name] if name in own else None
            yield Field(name, check, value, own | set(_names(config.get("stages"))))


def _names(stages: Any) -> tuple[str, ...]:
    return tuple(stages) if TABLE["stages"].holds(stages) else ()


def _stage(stage: Any, path: str) -> Iterator[Field]:
    """The fields of a stage's section."""
    method = stage.get("method") if isinstance(stage, ml_collections.ConfigDict) else None
    if method is None:
        yield Field(path, STAGE, stage, frozenset())
    elif not TABLE["STAGE.method"].holds(method):
        yield Field(f"{path}.method", TABLE["STAGE.method"], method, frozenset())
    elif models.is_outside(method):  # it has fields of its own, which it checks itself
        own = path.count(".") + 1
        found = _section(stage, path, ("STAGE",))
        yield from (f for f in found if f.check is not None or f.path.count(".") > own)
    else:
        yield from _section(stage, path, ("STAGE", method))


def _section(section: Any, path: str, keys: Sequence[str]) -> Iterator[Field]:
    """The fields of a section that stands in the table under any of `keys`."""
    known = frozenset(
        k.removeprefix(f"{key}.").partition(".")[0]
        for key in keys
        for k in (*TABLE, *MODELS)
        if k.startswith(f"{key}.")
    ) | ({"data"} if "STAGE" in keys else frozenset())
    for name, value in section.items():
        here, tries = f"{path}.{name}", [f"{key}.{name}" for key in keys]
        inner = isinstance(value, ml_collections.ConfigDict)
        if inner and any(t in MODELS for t in tries):
            yield from _model(value, here, value.get("name"))
        elif inner and name == "data" and "STAGE" in keys:
            yield from _section(value, here, ("data",))
        elif inner and f"{keys[-1]}.{name}" == STREAMS:
            for stream, stage in value.items():
                yield from _stage(stage, f"{here}.{stream}")
        elif inner and any(t in SECTIONS for t in tries):
            yield from _section(value, here, tries)
        else:
            entries = [TABLE[t] for t in (*tries, *(f"{key}.*" for key in keys)) if t in TABLE]
            entries += [SECTION for t in tries if t in SECTIONS or t == "STAGE.data"]
            yield Field(here, entries[0] if entries else None, value, known)
    if path == "data" or path.endswith(".optim"):  # read before anything could say what is missing
        for name in sorted(known - set(section)):
            yield Field(f"{path}.{name}", MISSING, None, known)


def _model(section: Any, path: str, model: Any) -> Iterator[Field]:
    """The fields of a model's section."""
    names = Check(
        f"{word(*models.ARCHITECTURES).text}, or package.module:Class",
        lambda v: type(v) is str and (v in models.ARCHITECTURES or models.is_outside(v)),
    )
    if not names.holds(model):
        yield Field(f"{path}.name", names, model, frozenset(), True)
        return
    checks = model_fields(model)
    for name, value in section.items():
        here = f"{path}.{name}"
        if name == "name":
            yield Field(here, names, value, frozenset(), True)
        elif name in INSIDE and name in checks and isinstance(value, ml_collections.ConfigDict):
            inner = INSIDE[name]
            default = models.default(model, inner)
            yield from _model(value, here, section.get(inner, default) if default else inner)
        else:
            yield Field(here, checks.get(name), value, frozenset(checks), True)


@functools.cache
def model_fields(name: str) -> dict[str, Check]:
    """What the fields of a model may be, by the types of its class."""
    model = models.class_of(name)
    hints = typing.get_type_hints(model)
    return {
        field: _of_type(field, hints[field], model.__dataclass_fields__[field].default)
        for field in sorted(models.fields_of(name))
    }


def _of_type(field: str, hint: Any, default: Any) -> Check:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return either(*(_of_type(field, part, default) for part in parts))
    if origin is tuple:
        checks = [_of_type(field, part, default) for part in parts if part is not ...]
        if len(set(parts) - {...}) == 1:
            return each(checks[0], *(() if ... in parts else (len(parts),)))
        return rule(f"({', '.join(c.text for c in checks)})", *checks)
    known = {
        dict: SECTION,
        int: integer(0 if default == 0 else 1, 512 if field in DEEP else 65536),
        float: SHARE if field in SHARES else number(0, 1000, above=field in ABOVE),
        bool: FLAG,
        str: NAME,
        types.NoneType: NONE,
    }
    return known.get(origin or hint, Check("nothing a config can say", lambda v: False))


def check(config: Any) -> None:
    """Compare every value of a config with what it may be.

    Raises:
      UserError: the first field that is not known (with the nearest that is) or whose value is
        none it may have.
    """
    for field in walk(config):
        if field.check is None:
            section = field.path.rpartition(".")[0]
            anew = f" (or --config.{section}=NAME, which begins the section anew)"
            said = unknown(config, field.path, field.known)
            raise UserError(said + (anew if field.model else ""))
        if not field.check.holds(field.value):
            raise UserError(wrong(field.path, field.check, field.value))


def wrong(path: str, expected: Check, found: Any) -> str:
    """What is said of a wrong value."""
    if isinstance(found, ml_collections.ConfigDict):
        return f"{path} is a section ({', '.join(found)}): expected {expected.text}"
    return f"{path}={shown(found)}: expected {expected.text}"


def shown(value: Any) -> str:
    """A value in one line, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def unknown(config: Any, path: str, known: Iterable[str] = (), whole: str = "") -> str:
    """What is said of a field that is not there: the nearest one, or all of its section.

    `path` is what is there up to its last part, `whole` is all that was asked for.
    """
    section, _, last = path.rpartition(".")
    beside = sorted({*known, *paths(config, section)} - {last})
    near = nearest(last, beside, 0.7)
    rest = whole.removeprefix(path)
    found = [f"{section}.{near}{rest}".lstrip(".")] if near else _like(whole or path, config)
    if found:
        return f"the config has no field {path}: did you mean {' or '.join(found)}?"
    return f"the config has no field {path}: {section or 'it'} has {', '.join(beside)}"


def paths(config: Any, section: str | None = None) -> list[str]:
    """The paths of every section and value, or the names in one section."""
    if section is not None:
        for part in filter(None, section.split(".")):
            config = config[part]
        return list(config)
    found = []
    for name, value in config.items():
        found.append(name)
        if isinstance(value, ml_collections.ConfigDict):
            found += [f"{name}.{inner}" for inner in paths(value)]
    return found


def _like(path: str, config: Any) -> list[str]:
    """Up to two fields whose last parts read most like the whole of `path`."""
    count, places = path.count(".") + 1, [p for p in paths(config) if p != path]
    scores = {
        place: difflib.SequenceMatcher(None, path, ".".join(place.split(".")[-count:])).ratio()
        for place in places
    }
    best = max(scores.values(), default=0.0)
    return [place for place, score in scores.items() if score == best >= 0.7][:2]
