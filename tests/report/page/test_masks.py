"""Layers and overlaps from mask files of known content."""

import numpy as np
import pytest

from tests.report.page.test_families import subject
from tests.report.sweep import ENVIRONMENT
from ticketcli.report.page.layers import layers
from ticketcli.report.page.masks import Masks, in_order
from ticketcli.report.page.overlaps import overlaps
from ticketcli.report.page.section import Names, Shown
from ticketcli.store.codec import write_mask
from ticketcli.store.manifest import Artifact, FileRecord, UnitRecord
from ticketcli.store.mask import Mask
from ticketcli.store.run_folder import Run

TEXT = """
schema: 1
for_each: {seed: [0, 1]}
defaults: {prune: {encoder: dense, lambda: 0, rounds: 2, seed: $seed}}
steps:
  dense: {stage: pretrain, data: digits, seed: $seed}
  ours: {stage: prune}
  other: {stage: prune, rewind: none}
"""


def living(first, second):
    """A mask of two layers of 20 and 10 weights of which the given ones live."""
    arrays = {"layer2.conv": np.zeros((20, 1), bool), "layer10.conv": np.zeros((10, 1), bool)}
    arrays["layer2.conv"][list(first)] = True
    arrays["layer10.conv"][list(second)] = True
    return Mask(arrays)


@pytest.fixture
def made(tmp_path):
    """Builds a run of the masks that are given by step, a round each."""
    from dataclasses import replace

    def build(**steps):
        units = {}
        for step, masks in steps.items():
            name = f"{step[:-1]}@seed={step[-1]}"
            folder = tmp_path / name
            folder.mkdir()
            units[name] = {}
            for number, mask in enumerate(masks, 1):
                path = folder / f"round-{number:02d}.mask.safetensors"
                write_mask(path, mask, {})
                artifact = Artifact(
                    name=str(number), kind="ticket", files={"mask": FileRecord.of(path, base=folder)}, about={}
                )
                units[name][f"round-{number:02d}"] = UnitRecord(
                    key="", outputs=(artifact,), metrics={"sparsity": mask.sparsity}, seconds=1.0,
                    finished="2026-01-02T03:04:05+00:00", environment=ENVIRONMENT,
                )  # fmt: skip
        one = subject(TEXT, units)
        run = Run(tmp_path)
        return replace(one, run=run, found=replace(one.found, run=run))

    return build


def test_shares_are_of_each_layer_in_the_order_of_the_network_and_means_over_seeds(made):
    one = made(ours0=[living(range(10), range(10))], ours1=[living(range(20), range(4))])
    figure = layers(one, Masks(one), Names()).figures[0]
    assert figure.drawing.columns == ("layer2.conv", "layer10.conv")
    assert figure.drawing.values == ((0.75, pytest.approx(0.7)),)
    assert dict(figure.facts)["n"] == "2"


def test_a_layer_that_is_all_masked_is_marked_and_named_even_in_one_seed_of_two(made):
    one = made(ours0=[living(range(10), [])], ours1=[living(range(10), range(5))])
    figure = layers(one, Masks(one), Names()).figures[0]
    assert figure.drawing.crossed == {(0, 1)}
    assert "ours, round 1: layer10.conv" in figure.caption
    assert "No layer has collapsed" not in figure.caption


def test_no_cross_where_something_lives(made):
    one = made(ours0=[living([3], [4])])
    figure = layers(one, Masks(one), Names()).figures[0]
    assert not figure.drawing.crossed
    assert "No layer has collapsed" in figure.caption


def test_norms_that_fall_with_their_channels_are_no_layers(made):
    channels = Mask(
        {**living(range(10), range(5)), "layer2.bn.weight": np.arange(20) < 10, "layer2.bn.bias": np.arange(20) < 10}
    )
    one = made(ours0=[living(range(10), range(5))], other0=[channels])
    figure = layers(one, Masks(one), Names()).figures[0]
    assert figure.drawing.columns == ("layer2.conv", "layer10.conv")
    assert len(figure.drawing.rows) == 2
    (other,) = [arm for arm in one.arms if arm.name == "other"]
    assert sum(size for _, size in Masks(one).layers((other.number, "0", 1)).values()) == 70


def test_arms_share_what_they_share_seed_by_seed(made):
    one = made(
        ours0=[living(range(10), range(5))], other0=[living(range(5, 15), range(5))],
        ours1=[living(range(2, 12), range(5))], other1=[living(range(2, 12), range(5))],
    )  # fmt: skip
    section = overlaps(one, Masks(one), Names())
    (row,) = section.figures[0].rows
    assert row[:3] == ("ours", "other", f"{(10 / 20 + 1) / 2:.1%}")
    assert section.figures[0].drawing.values[0] == (None, 0.75)
    seeds = next(block for block in section.blocks if isinstance(block, Shown))
    assert [line[:4] for line in seeds.grid.rows] == [("ours", "1", "1", "76.5%"), ("other", "1", "1", "66.7%")]


def test_rounds_are_nested_and_where_they_are_not_it_is_said(made):
    nested = made(ours0=[living(range(10), range(5)), living(range(5), range(5))])
    assert "lies within the earlier ones" in overlaps(nested, Masks(nested), Names()).figures[-1].caption


def test_rounds_that_are_not_nested_are_told(made):
    torn = made(ours0=[living(range(10), range(5)), living(range(5, 15), range(5))])
    assert "had dropped!" in overlaps(torn, Masks(torn), Names()).figures[-1].caption


def test_a_mask_that_is_gone_is_told_once_and_the_others_are_shown(made):
    one = made(
        ours0=[living(range(10), range(5)), living(range(5), range(5))], other0=[living(range(10), range(5))] * 2
    )
    masks = Masks(one)
    masks.paths[0, "0", 1].unlink()
    assert len(layers(one, masks, Names()).figures) == 2
    section = overlaps(one, masks, Names())
    assert section.figures
    (told,) = masks.told()
    assert told.startswith("ours, replicate 0, round 1: ")


def test_masks_that_were_left_behind_are_told_an_arm_a_line(made):
    """A run whose manifests were carried elsewhere without most of its masks."""
    masks = Masks(made(ours0=[living(range(10), range(5))] * 2, ours1=[living(range(10), range(5))] * 2))
    for path in masks.paths.values():
        path.unlink()
    for place in masks.paths:
        assert masks.layers(place) is None
    assert masks.told() == ["ours, replicates 0, 1, rounds 1, 2: no such file"]


def test_layers_come_in_the_order_of_their_numbers():
    names = ["layer10.0.conv1", "layer2.1.conv2", "layer2.0.downsample.0", "layer2.0.conv1", "conv1"]
    assert sorted(names, key=in_order) == [
        "conv1", "layer2.0.conv1", "layer2.0.downsample.0", "layer2.1.conv2", "layer10.0.conv1",
    ]  # fmt: skip
