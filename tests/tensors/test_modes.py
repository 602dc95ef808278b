import pytest
from torch import nn

from ticketcli.tensors.modes import evaluating


def test_every_part_gets_its_own_mode_back():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm2d(3))).train()
    network[1].eval()
    with evaluating(network):
        assert not any(part.training for part in network.modules())
    assert [part.training for part in network.modules()] == [True, True, False, False]


def test_modes_come_back_after_an_error_too():
    network = nn.Linear(1, 1).train()
    with pytest.raises(ValueError, match="broken"), evaluating(network):
        raise ValueError("broken")
    assert network.training
