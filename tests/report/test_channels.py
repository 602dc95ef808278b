"""What `inspect` says of a round in which channels fell."""

from ticketcli.report.channels import channels_table

CHANNELS = {"kept": 25, "of": 48, "layers": {"conv1": {"kept": 9, "of": 16}, "conv2": {"kept": 16, "of": 32}}}
COST = {"parameters": 269722, "parameters_left": 116485, "macs": 40551040, "macs_left": 17778304}
SELECTION = {
    "steps": 300, "at_one": 0.25, "at_zero": 0.0, "loss_first": 1.5, "loss_last": 0.75,
    "knockoff": {"kind": "permute", "mean_gap": 0.0123, "mmd_partial": 0.5},
}  # fmt: skip


def test_channels_are_counted_by_layer_with_what_they_save():
    told = channels_table({"channels": CHANNELS, "cost": COST})
    assert told.startswith(
        "25 of 48 channels are left; compacted 116,485 of 269,722 weights, 17.8 of 40.6 M multiply-adds an image"
    )
    assert [line.split() for line in told.splitlines()[3:]] == [["conv1", "9", "16"], ["conv2", "16", "32"]]


def test_a_selection_says_whether_it_chose_and_what_its_controls_lack():
    told = channels_table({"channels": CHANNELS, "selection": SELECTION})
    assert "selected in 300 steps, loss 1.5 to 0.75; 25.0% of the gates at 1, 0.0% at 0" in told
    assert "controls (permute): mean gap 0.0123, mmd partial 0.5" in told


def test_single_weights_have_no_channels():
    assert channels_table({"sparsity": 0.2}) == ""
