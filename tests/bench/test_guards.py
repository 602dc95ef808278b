"""Guards of speed that no clock decides: how often data are read, what is allocated, what help loads."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch

from ticketcli.bench.memory import extra_memory
from ticketcli.store.codec import pack, unpack
from ticketcli.store.mask import Mask
from ticketcli.tensors import bracket, select

N = 2_000_000
MODULES_OF_HELP = 330  # 312 as this was written, of which typer and rich are most
OWN_OF_HELP = 8


@pytest.fixture(scope="module")
def layers():
    draw = torch.Generator().manual_seed(0)
    weights = {f"layer{k}": torch.randn(N // 4, generator=draw) for k in range(4)}
    return weights, Mask.full(dict.fromkeys(weights, (N // 4,)))


def reads(monkeypatch, work):
    """How many values were handed out, over all values there are; samples do not count."""
    seen = []
    right = bracket.bits_of
    monkeypatch.setattr(bracket, "bits_of", lambda piece: seen.append(piece.numel()) or right(piece))
    work()
    return sum(seen) / N


def test_selection_reads_the_weights_once_and_a_sample(layers, monkeypatch):
    weights, mask = layers
    sample = 1 / 13  # of two million; of more weights it is a smaller share
    assert reads(monkeypatch, lambda: select.drop_smallest(weights, mask, fraction=0.2)) == pytest.approx(
        1 + sample, 1e-3
    )


def test_real_weights_never_need_the_histograms(layers, monkeypatch):
    weights, mask = layers
    monkeypatch.setattr(select, "_by_histograms", None)
    for fraction in (0.01, 0.2, 0.5, 0.9):
        select.drop_smallest(weights, mask, fraction=fraction)


def test_the_histograms_read_three_times(layers, monkeypatch):
    weights, mask = layers
    seen, right = [], select._magnitude_bits
    monkeypatch.setattr(select, "_magnitude_bits", lambda chunk: seen.append(chunk.numel()) or right(chunk))
    select._by_histograms(weights, mask, N // 5)
    assert sum(seen) == 3 * N


def test_selection_holds_a_twentieth_of_the_data_beside_the_new_mask():
    n = 30_000_000
    weights = {f"w{k}": torch.randn(n // 10, generator=torch.Generator().manual_seed(k)) for k in range(10)}
    mask = Mask.full(dict.fromkeys(weights, (n // 10,)))
    assert extra_memory(lambda: select.drop_smallest(weights, mask, fraction=0.5)) - n < 0.05 * 4 * n


def largest_array(work):
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = work()
        return tracemalloc.get_traced_memory()[1] - before, result
    finally:
        tracemalloc.stop()


def test_packing_and_unpacking_hold_little_beside_their_results(layers):
    mask = layers[1]
    held, packed = largest_array(lambda: pack(mask))
    assert held < 1.1 * N / 8
    held, again = largest_array(lambda: unpack(packed, mask.shapes))
    assert again == mask
    assert held < 1.01 * N


def test_a_mask_of_new_arrays_is_not_copied():
    array = np.ones(1000, dtype=np.bool_)
    mask = Mask.of_new({"w": array})
    assert np.shares_memory(mask["w"], array)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = False


def test_help_loads_few_modules_and_hardly_any_of_ours():
    code = "import sys\nfrom ticketcli.cli.app import main\nsys.argv = ['ticket', '--help']\ntry:\n    main()\nfinally:\n    print('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.splitlines()[-1].split()
    own = [name for name in modules if name.startswith("ticketcli.")]
    assert len(modules) <= MODULES_OF_HELP
    assert len(own) <= OWN_OF_HELP, own


def test_the_list_of_suites_loads_no_torch_and_no_numpy():
    code = "import sys\nfrom ticketcli.cli.app import main\nsys.argv = ['ticket', 'bench', '--list']\ntry:\n    main()\nfinally:\n    print('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "scipy"} & set(done.stdout.splitlines()[-1].split())
    assert "coco-eval" in done.stdout
