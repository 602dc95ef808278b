"""A recipe of the shape that clusters are used for: seeds, arms with rounds, transfers of several rounds."""

from ticketcli.launch.jobs import jobs_of
from ticketcli.recipe.recipe import parse_recipe
from ticketcli.stage import STAGES

STUDY = """
schema: 1
for_each: {seed: [0, 1, 2]}
defaults:
  prune: {rounds: 3, seed: $seed}
steps:
  dense: {stage: pretrain, data: digits, seed: $seed}
  dec: {stage: train-decoder, encoder: dense}
  ours: {stage: prune, encoder: dense, decoder: dec}
  random: {stage: prune, encoder: dense, lambda: 0, criterion: random, like: ours, rounds: 2}
  target:
    stage: transfer
    for_each: {arm: [dense, ours/2, ours/healed]}
    ticket: $arm
    data: digits
"""


def parse(text=STUDY, *overrides):
    configs = {name: spec.config for name, spec in STAGES.items()}
    return parse_recipe(text, configs, where="r", overrides=overrides)


def jobs(text=STUDY, *overrides):
    """Name -> job."""
    return {job.name: job for job in jobs_of(parse(text, *overrides))}
