"""A pruning job on a random small network and sixty digits, without files."""

from itertools import islice

import torch

from ticketcli.data.sets import load_splits
from ticketcli.events import Note
from ticketcli.models.architectures import build_encoder
from ticketcli.models.decoder import build_decoder
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.recipe.transfer_config import TransferConfig
from ticketcli.stage import PRUNE, TRANSFER
from ticketcli.stages.job import Job
from ticketcli.stages.prune import prune
from ticketcli.stages.transfer import transfer
from ticketcli.tensors.files import copy_of, read_state, write_state
from ticketcli.training.yields import Loaded, Produced, Snapshot

DATA = {"name": "digits", "classes": [0, 1, 2], "per_class": 20}
SETTINGS = {"batch": 16, "lr": 0.02, "finetune": "2it", "recalibrate_bn": 0}


def encoder_input(n_classes=3):
    model = build_encoder("resnet_small", n_classes=n_classes, seed=0)
    normalization = load_splits("digits", classes=None, per_class=None, seed=0).normalization
    about = {
        "arch": "resnet_small",
        "image_size": 32,
        "class_names": [str(number) for number in range(n_classes)],
        "data": DATA,
        "normalization": {"mean": list(normalization.mean), "std": list(normalization.std)},
        "seed": 0,
    }
    return Loaded("dense", "dense", about, copy_of(model))


def decoder_input():
    encoder = build_encoder("resnet_small", n_classes=3, seed=0)
    decoder = build_decoder(encoder, image_size=32, hints=("layer3", "layer4"), width=1.0, seed=0)
    return Loaded(
        "dec", "decoder", {"image_size": 32, "hints": ["layer3", "layer4"], "width": 1.0, "t": 0.1}, copy_of(decoder)
    )


def prune_job(*, resume=None, inputs=None, **settings):
    config = PruneConfig.parse({**SETTINGS, **settings}, where="prune")
    inputs = inputs or {"encoder": encoder_input()}
    if config.rebuilds and "decoder" not in inputs:
        inputs["decoder"] = decoder_input()
    return Job(config, inputs, {}, PRUNE.units(config), None, resume, torch.device("cpu"))


def run_prune(**settings):
    """Unit name -> what it produced; and the number of training steps."""
    events = list(prune(prune_job(**settings)))
    produced = {event.unit: event for event in events if isinstance(event, Produced)}
    return produced, sum(isinstance(event, Snapshot) for event in events)


def cut_everywhere(settings, folder):
    """For each moment at which a pruning may be cut: the state that is saved there, and what is first made of it."""
    n = sum(isinstance(event, Snapshot) for event in prune(prune_job(**settings)))
    for at in range(1, n + 1):
        moments = (event for event in prune(prune_job(**settings)) if isinstance(event, Snapshot))
        captured = next(islice(moments, at - 1, None)).capture()
        write_state(folder / f"state-{at}", captured, about={})
        state = read_state(folder / f"state-{at}")[0]
        yield state, next(one for one in prune(prune_job(resume=state, **settings)) if isinstance(one, Produced))


SCENES = {"name": "scenes", "images": 12}
PIXELS = {"schedule": "tiny", "batch": 4, "epochs": "4it", "channels": 8, "recalibrate_bn": 32, "data": SCENES}


def transfer_job(ticket, *, resume=None, **settings):
    config = TransferConfig.parse({**PIXELS, **settings}, where="transfer")
    units = TRANSFER.units(config)
    return Job(config, {"ticket": ticket}, {}, units, None, resume, torch.device("cpu"), sample=6)


def run_transfer(ticket, **settings):
    """What was produced, the states after each step, and what was said."""
    produced, states, notes = None, [], []
    for event in transfer(transfer_job(ticket, **settings)):
        if isinstance(event, Produced):
            produced = event
        elif isinstance(event, Snapshot):
            states.append(event.capture)
        elif isinstance(event, Note):
            notes.append(event.text)
    return produced, states, notes
