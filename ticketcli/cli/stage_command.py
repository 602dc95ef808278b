"""The stage commands: flags generated from the stage's config type, then plan, execute, print."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from ticketcli.board import require_tensorboard
from ticketcli.cli import process
from ticketcli.cli.completion import outputs, words
from ticketcli.cli.drive import drive
from ticketcli.data.sources import Sources
from ticketcli.errors import InputMissing
from ticketcli.launch.member import began
from ticketcli.launch.torchrun import Several
from ticketcli.plan import Step, find_by_kind, make_step, plan_step, recorded_step
from ticketcli.recipe.config import Flag
from ticketcli.recipe.configs import flat_fields
from ticketcli.recipe.recipe import check_own_name
from ticketcli.recipe.strict_yaml import load_yaml
from ticketcli.stage import STAGES, StageSpec
from ticketcli.store.run_folder import Run

_SEPARATOR = "."
_BROKEN = "data.broken"


def command(name: str) -> Any:
    """The command of the stage `name`, one flag for each field of its config type."""
    spec = STAGES[name]
    return process.lone_command(name, _callback(spec), text=_help(spec))


def _help(spec: StageSpec) -> str:
    return (
        f"{spec.summary}\n\nIt works in the run folder: inputs are found there by kind, or named by flag as STEP, "
        "STEP/OUTPUT or FILE."
    )


def _callback(spec: StageSpec) -> Callable[..., None]:
    fields = flat_fields(spec.config)
    python_names = {f"field_{index}": key for index, key in enumerate(fields)}

    def run_stage(**given: Any) -> None:
        named = {python_names[name]: value for name, value in given.items() if name in python_names}
        settings = {name: value for name, value in given.items() if name not in python_names}
        if settings.pop("skip_bad", False):
            named[_BROKEN] = named[_BROKEN] or "skip"
        _run(spec, _values(named, fields), **settings)

    parameters = [
        inspect.Parameter(
            python_name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_flag(key, fields[key], spec)
        )
        for python_name, key in python_names.items()
    ]
    name_option = Annotated[
        str, typer.Option("--name", help="The step's name, and its folder's.", rich_help_panel="Process")
    ]
    for python_name, annotation, default in (
        ("name", name_option, spec.name),
        ("run", process.RunOption, Path("run")),
        ("device", process.DeviceOption, "auto"),
        ("resume", process.ResumeOption, "auto"),
        ("save_every", process.SaveOption, 60.0),
        ("max_minutes", process.MaxMinutesOption, None),
        ("data_dir", process.DataDirOption, process.DATA_DIR),
        ("download", process.DownloadOption, False),
        ("workers", process.WorkersOption, None),
        *([("skip_bad", process.SkipBadOption, False)] if _BROKEN in fields else []),
        ("tensorboard", process.TensorBoardOption, False),
        ("break_lock", process.BreakLockOption, False),
        ("nproc", process.NprocOption, 1),
        ("dry_run", process.DryRunOption, False),
        ("as_json", process.JsonOption, False),
        ("quiet", process.QuietOption, False),
    ):
        parameters.append(
            inspect.Parameter(python_name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        )
    run_stage.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run_stage.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run_stage


def _flag(key: str, field: Any, spec: StageSpec) -> Any:
    default = field.get_default(call_default_factory=True)
    shown = ""
    if not field.is_required() and default not in (None, "", ()):
        shown = ",".join(str(item) for item in default) if isinstance(default, tuple) else str(default)
    text = str(field.description or "")
    notes = [", ".join(choices)] if (choices := _choices(field)) else []
    if field.is_required() and _SEPARATOR not in key:
        notes.append("required")
    elif shown:
        notes.append(f"default: {shown}")
    text += f" ({'; '.join(notes)})" if notes else ""
    offered = _completer(key, field, spec)
    if key == spec.argument:
        argument = typer.Argument(metavar=key.upper(), help=text, show_default=False, autocompletion=offered)
        return Annotated[str | None, argument]
    further = [f"--{mark.name}" for mark in field.metadata if isinstance(mark, Flag)]
    metavar = "VALUE" if default is None or default == "" or field.is_required() else _metavar(default)
    return Annotated[
        str | None,
        typer.Option(
            f"--{key.replace('_', '-')}",
            *further,
            metavar=metavar,
            help=text,
            show_default=False,
            autocompletion=offered,
        ),
    ]


def _completer(key: str, field: Any, spec: StageSpec) -> Callable[..., Any] | None:
    """What Tab offers as the flag's value: the words that it takes, or the run's outputs that fit."""
    mark = spec.config.references().get(key)
    if mark is not None:
        return outputs(*mark.kinds, besides=mark.words)
    if field.annotation is bool:
        return words("true", "false")
    return words(*choices) if (choices := _choices(field)) else None


def _choices(field: Any) -> tuple[str, ...]:
    """The words that a field takes, where it takes no others; of an optional one too."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if get_origin(kind) is Literal:
            return tuple(map(str, get_args(kind)))
    return ()


def _metavar(default: object) -> str:
    if isinstance(default, bool):
        return "true|false"
    if isinstance(default, tuple):
        return "A,B,..."
    return {"int": "N", "float": "X", "Duration": "10ep|200it"}.get(type(default).__name__, "VALUE")


def _values(given: Mapping[str, str | None], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Flags as a recipe would have them: YAML values, and dotted keys as mappings."""
    values: dict[str, Any] = {}
    for key, text in given.items():
        if text is None:
            continue
        outer, _, inner = key.partition(_SEPARATOR)
        if not inner:
            values[outer] = _value(key, text, fields[key])
            continue
        known = values.setdefault(outer, {})
        if isinstance(known, str):
            known = values[outer] = {"name": known}
        known[inner] = _value(key, text, fields[key])
    return values


def _value(key: str, text: str, field: Any) -> object:
    """Words are taken as they stand (a step's name may hold commas), lists and tables with or without brackets."""
    if field.annotation is str:
        return text
    if "dict" in str(field.annotation):
        text = text if text.startswith("{") else f"{{{text}}}"
    elif "tuple" in str(field.annotation) and not text.startswith("["):
        text = f"[{text}]"
    return load_yaml(text, where=f"--{key}")


def _run(
    spec: StageSpec,
    values: dict[str, Any],
    *,
    name: str,
    run: Path,
    device: str,
    resume: str,
    save_every: float,
    max_minutes: float | None,
    data_dir: Path,
    download: bool,
    workers: int | None,
    tensorboard: bool,
    break_lock: bool,
    nproc: int,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    started = began()
    if tensorboard:
        require_tensorboard()
    folder = Run(run)
    check_own_name(name, "--name")
    recorded = recorded_step(folder, name)
    needed = spec.required(spec.config.parse(values, where=spec.name))  # told first: a setting that is wrong
    for role, mark in spec.config.references().items():
        if values.get(role) or mark.series or mark.words or role not in needed:
            continue
        known = getattr(recorded.config, role) if recorded is not None and recorded.stage == spec.name else ""
        values[role] = known or find_by_kind(folder, mark.kinds, role=role, skip=name)
    step = make_step(name, spec, values)

    def plan() -> Step:
        return plan_step(step, folder, lambda other: _producer(folder, other))

    if dry_run:
        _foretell(plan(), folder, resume, as_json)
        return
    drive(
        name,
        folder,
        plan,
        device=device,
        resume=resume,
        save_every=save_every,
        quiet=quiet,
        sources=Sources(data_dir, download, workers),
        tensorboard=tensorboard,
        break_lock=break_lock,
        max_minutes=max_minutes,
        started=started,
        several=Several(nproc),
    )
    manifest = folder.manifest(name)
    assert manifest is not None
    units = {unit: record.metrics for unit, record in manifest.units.items()}
    if as_json:
        print(json.dumps({"step": name, "folder": str(folder.step_folder(name)), "units": units}))
    else:
        from ticketcli.report.units import units_table

        print(units_table(manifest))


def _foretell(step: Step, run: Run, resume: str, as_json: bool) -> None:
    """What the command would find of the step, and the refusal that it would end with."""
    if resume == "never":
        step = step.anew()
    found = {"step": step.name, "folder": str(run.step_folder(step.name)), "state": step.state, "why": step.why}
    print(json.dumps(found) if as_json else f"{step.name}: {step.state}, {step.why}")
    if resume == "must":
        step.require_resumable(run)


def _producer(run: Run, name: str) -> Step | None:
    """The plan of a step of the run, from its recorded config; None where the run has no such step."""
    step = recorded_step(run, name)
    if step is None:
        raise InputMissing(
            f"no step '{name}' in this run",
            where=str(run.root),
            hint="steps here: " + (", ".join(run.steps()) or "none yet"),
        )
    return plan_step(step, run, lambda other: _producer(run, other))
