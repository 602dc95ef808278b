"""The paper's network at the paper's size, a few steps of each stage: real parts, random weights, small folders."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models

from tests.cli.command_line import ticket
from ticketcli.store.codec import read_mask
from ticketcli.store.run_folder import Run
from ticketcli.tensors.files import read_checkpoint

RECIPE = """
schema: 1
defaults:
  train-decoder: {batch: 4, epochs: 2it}
  prune: {batch: 4, rounds: 2, finetune: 2it, heal: 0ep, recalibrate_bn: 4}
steps:
  dense: {stage: import, source: WEIGHTS, arch: resnet50, data: {name: "folder:photos", validation: 0.25}}
  decoder: {stage: train-decoder, encoder: dense, width: 0.25}
  ours: {stage: prune, encoder: dense, decoder: decoder}
  back: {stage: rewind, ticket: ours/2}
  worth: {stage: evaluate, of: back, decoder: decoder}
"""


@pytest.fixture
def photos(tmp_path):
    """Sixteen JPEGs of two classes, of other sizes and shapes than the network's."""
    draw = np.random.default_rng(0)
    for split, n in (("train", 6), ("val", 2)):
        for label in ("cat", "dog"):
            folder = tmp_path / "data/photos" / split / label
            folder.mkdir(parents=True)
            for number in range(n):
                coarse = draw.integers(0, 255, (12, 15, 3), dtype=np.uint8)
                Image.fromarray(coarse).resize((300, 260)).save(folder / f"{number}.jpg")
    return tmp_path / "data"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_resnet_50_goes_through_every_stage_at_224_pixels(tmp_path, photos):
    torch.manual_seed(0)
    torch.save(models.resnet50(num_classes=2).state_dict(), tmp_path / "theirs.pth")
    (tmp_path / "r.yaml").write_text(RECIPE.replace("WEIGHTS", str(tmp_path / "theirs.pth")))
    result = ticket("run", tmp_path / "r.yaml", "--run", tmp_path / "run", "--data-dir", photos, "--json")
    assert result.code == 0, result
    assert "25,557,032" not in result.err  # of 1000 classes; this one has two
    assert "peak memory" in result.err
    run = Run(tmp_path / "run")
    mask, _ = read_mask(tmp_path / "run/ours/round-02.mask.safetensors")
    assert mask.total == 23_445_504  # every convolution but the stem
    assert mask.kept == round(0.8 * round(0.8 * mask.total))
    values = read_checkpoint(tmp_path / "run/back/ticket.safetensors").tensors
    theirs = torch.load(tmp_path / "theirs.pth", weights_only=True)
    for name, alive in mask.items():
        living = torch.from_numpy(alive.copy())
        assert torch.equal(values[name][living], theirs[name][living])
        assert not values[name][~living].any()
    found = json.loads((tmp_path / "run/worth/metrics.json").read_text())
    assert found["macs"] > 4e9
    assert "psnr" in found
    assert {unit.environment["peak_memory"] > 0 for unit in run.manifest("ours").units.values()} == {True}
