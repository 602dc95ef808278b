"""Results tables from figures written down: a recipe, and what each of its steps measured."""

from pathlib import Path

from ticketcli.recipe.recipe import parse_recipe
from ticketcli.report.contrasts import make_contrasts
from ticketcli.report.provenance import provenance
from ticketcli.report.run import Report
from ticketcli.report.survey import Survey
from ticketcli.report.tables import make_table
from ticketcli.stage import STAGES
from ticketcli.store.manifest import UnitRecord
from ticketcli.store.run_folder import Run

CONFIGS = {name: spec.config for name, spec in STAGES.items()}
ENVIRONMENT = {
    "ticketcli": "0.1.0",
    "torch": "2.15.0",
    "device": "cpu",
    "machine": "x86_64",
    "cpu": "AVX2",
    "threads": 2,
}


def unit(metrics):
    return UnitRecord(
        key="", outputs=(), metrics=metrics, seconds=2.0, finished="2026-01-02T03:04:05+00:00", environment=ENVIRONMENT
    )


def transferred(top1, n=100):
    return {
        "task": unit(
            {"test": {"top1": top1, "correct": round(top1 * n), "n": n}, "sparsity": 0.5, "network_sparsity": 0.4}
        )
    }


def rounds(*healed, sparsities=(0.2, 0.36, 0.488)):
    """A pruning whose masks of round 0, 1, ... have these accuracies when healed."""
    units = {
        f"round-{number:02d}": unit(
            {"sparsity": sparsity, "network_sparsity": sparsity, "healed_before": {"top1": before, "sparsity": -1.0}}
        )
        for number, (sparsity, before) in enumerate(zip(sparsities, healed, strict=False), 1)
    }
    if len(healed) > len(units):
        units[f"healed-{len(units):02d}"] = unit({"healed_before": {"top1": healed[-1]}})
    return units


def report(text, units, *, run=Path("nowhere"), lacking=None):
    """The report of a recipe of which `units` are done, by step."""
    recipe = parse_recipe(text, CONFIGS, where="r")
    found = Survey(Run(run), units, lacking or {}, ())
    tables = tuple(make_table(name, config, recipe, found) for name, config in recipe.tables.items())
    return Report(tables, provenance(recipe, found, "ticket run r.yaml"), contrasts=make_contrasts(recipe, found))


def table(text, units, **kwargs):
    """Its first table."""
    return report(text, units, **kwargs).tables[0]
