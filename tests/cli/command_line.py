"""A command line to call in-process, and a small real run to look at."""

import contextlib
import io
import sys
from pathlib import Path

from ticketcli.cli.app import main

TINY = """
schema: 1
defaults:
  pretrain: {batch: 16, epochs: 2ep, milestones: [], lr: 0.05}
  train-decoder: {batch: 16, epochs: 1ep, milestones: []}
  prune: {batch: 16, lr: 0.02, finetune: 2it, rounds: 3, recalibrate_bn: 32}
  transfer: {batch: 16, epochs: 2ep, milestones: [], lr: 0.02}
for_each: {seed: [0]}
steps:
  dense: {stage: pretrain, data: {name: digits, classes: [0, 1, 2], per_class: 20}, keep: [0ep, 3it], seed: $seed}
  dec: {stage: train-decoder, encoder: dense}
  ours: {stage: prune, encoder: dense, decoder: dec}
  plain: {stage: prune, encoder: dense, lambda: 0}
  imp: {stage: prune, encoder: dense, lambda: 0, rewind: none}
  fresh: {stage: prune, encoder: dense, lambda: 0, rewind: init}
  early: {stage: prune, encoder: dense, lambda: 0, rewind: dense/3it}
  random: {stage: prune, encoder: dense, lambda: 0, criterion: random, like: ours, finetune: 0ep, heal: 2it}
  uniform: {stage: prune, encoder: dense, lambda: 0, criterion: random, finetune: 0ep, heal: 0ep}
  untrained: {stage: prune, encoder: dense, lambda: 0, finetune: 0ep, heal: 2it}
  back: {stage: rewind, ticket: ours/2}
  back_early: {stage: rewind, ticket: ours/2, to: dense/3it, recalibrate_bn: 32}
  target:
    stage: transfer
    for_each: {arm: [dense, ours/3, imp/3, ours/healed]}
    ticket: $arm
    data: {name: digits, classes: [5, 6]}
  worth: {stage: evaluate, of: ours/healed, decoder: dec}
  again: {stage: evaluate, of: target, for_each: {arm: [ours/3]}}
report: {table: target, rows: arm, over: seed, compare: [ours/3, imp/3]}
"""


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def ticket(*arguments):
    """Run a command in this process; what it prints, and its exit code."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["ticket", *map(str, arguments)]
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as done:
        code = done.code or 0
    finally:
        sys.argv = before
    return Result(code, out.getvalue(), err.getvalue())


def digests(run):
    """step/output/role -> content digest, over all that a run holds."""
    return {
        f"{step}/{name}/{role}": file.content
        for step in run.steps()
        for name, artifact in run.manifest(step).artifacts().items()
        for role, file in artifact.files.items()
    }


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
