import pytest
import torch

from ticketcli.tensors.global_draws import global_draws

CPU = torch.device("cpu")


def test_what_is_drawn_inside_follows_from_the_key():
    drawn = []
    for key in (3, 3, 4):
        with global_draws(key, CPU):
            drawn.append(torch.rand(5))
        torch.rand(2)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_the_global_generator_is_as_before_even_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), global_draws(3, CPU):
        torch.rand(5)
        _ = 1 / 0
    assert torch.equal(torch.get_rng_state(), before)


def test_a_key_of_64_bits_will_do():
    with global_draws(2**64 - 1, CPU):
        torch.rand(1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_so_it_is_on_a_gpu():
    device, drawn = torch.device("cuda"), []
    before = torch.cuda.get_rng_state()
    for _ in range(2):
        with global_draws(3, device):
            drawn.append(torch.randperm(50, device=device))
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(torch.cuda.get_rng_state(), before)
