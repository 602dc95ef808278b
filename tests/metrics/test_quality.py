import pytest
import torch
from torch import nn

from tests.drained import drained
from ticketcli.metrics.quality import Rebuild, quality


class Toy(nn.Module):
    """Its tap is the image; it says the label that the first pixel holds."""

    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(3)

    def taps_and_logits(self, x):
        assert not self.training
        return {"layer1": x}, nn.functional.one_hot(x[:, 0, 0, 0].long().clamp(0, 9), 10).float()


class Copy(nn.Module):
    """Gives the image back, off by `error`."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, taps, *, t):
        return taps["layer1"] + self.error * (1 - t)


def batch(values, labels):
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, 4, 4), torch.tensor(labels)


def test_accuracy_counts_every_image_once_over_uneven_batches():
    found = drained(quality(Toy(), [batch([1, 2, 3], [1, 2, 0]), batch([4], [4])]))
    assert found == {"top1": 0.75, "correct": 3, "n": 4}


def test_psnr_is_the_mean_over_images_in_decibel():
    found = drained(quality(Toy(), [batch([0.5, 0.5], [0, 0])], Rebuild(Copy(0.1), lambda x: x, t=0.0)))
    assert found["psnr"] == pytest.approx(20.0, abs=1e-4)


def test_psnr_is_measured_with_and_without_hints():
    found = drained(quality(Toy(), [batch([0.5], [0])], Rebuild(Copy(0.1), lambda x: x, t=0.9)))
    assert found["psnr"] == pytest.approx(40.0, abs=1e-3)
    assert found["psnr_without_hints"] == pytest.approx(20.0, abs=1e-4)


def test_images_are_clipped_before_they_are_compared():
    found = drained(quality(Toy(), [batch([1.0], [1])], Rebuild(Copy(5.0), lambda x: x, t=0.0)))
    assert found["psnr"] == pytest.approx(100.0)


def test_modes_are_put_back_as_they_were():
    model, decoder = Toy().train(), Copy(0.1).train()
    drained(quality(model, [batch([1], [1])], Rebuild(decoder, lambda x: x, t=0.1)))
    assert model.training
    assert decoder.training


def test_psnr_of_unequal_images_is_the_mean_of_decibels_not_of_errors():
    """Errors of 0.1 and 0.01 are 20 and 40 dB: 30 in the mean, and 22.97 from the mean error."""

    class Uneven(Copy):
        def forward(self, taps, *, t):
            return taps["layer1"] + torch.tensor([0.1, 0.01]).view(2, 1, 1, 1)

    found = drained(quality(Toy(), [batch([0.5, 0.5], [0, 0])], Rebuild(Uneven(0.0), lambda x: x, t=0.0)))
    assert found["psnr"] == pytest.approx(30.0, abs=1e-3)


def test_both_images_are_denormalised_before_they_are_compared():
    found = drained(quality(Toy(), [batch([1.0], [0])], Rebuild(Copy(0.4), lambda x: 0.25 * x + 0.5, t=0.0)))
    assert found["psnr"] == pytest.approx(20.0, abs=1e-4)


def test_the_decoder_is_measured_in_eval_mode_and_modes_survive_an_error():
    class Broken(Copy):
        def forward(self, taps, *, t):
            assert not self.training
            raise ValueError("broken")

    model, decoder = Toy().train(), Broken(0.1).train()
    model.bn.eval()  # frozen on purpose
    with pytest.raises(ValueError, match="broken"):
        drained(quality(model, [batch([1], [1])], Rebuild(decoder, lambda x: x, t=0.1)))
    assert (model.training, model.bn.training, decoder.training) == (True, False, True)
