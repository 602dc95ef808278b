import time

import torch

from ticketcli.bench.sampling import Samples, watched


def busy(work, seconds=0.4):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        work()


def test_forward_backward_and_optimiser_are_told_apart():
    net = torch.nn.Sequential(*(torch.nn.Linear(300, 300) for _ in range(4)))
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-9)
    x = torch.randn(300, 300)
    with watched() as found:
        busy(lambda: net(x))
    assert found.share("forward") > 0.8
    with watched() as found:
        loss = net(x).sum()
        busy(lambda: loss.backward(retain_graph=True))
    assert found.share("backward") > 0.8
    with watched() as found:
        busy(optimizer.step)
    assert found.share("optimiser") > 0.8


def test_what_is_no_work_is_charged_to_our_innermost_function():
    from ticketcli.tensors.seeds import permutation

    with watched() as found:
        busy(lambda: permutation(1, 200_000))
    assert found.share("other") > 0.8
    assert "seeds.py" in found.others.most_common(1)[0][0]


def test_nothing_seen_is_no_share():
    assert Samples().share("forward") == 0
