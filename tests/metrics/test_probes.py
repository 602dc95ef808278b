import numpy as np
import pytest
import torch

from tests.drained import drained
from tests.metrics.test_features import Seen
from ticketcli.errors import UsageError
from ticketcli.metrics.features import Pair, feature_distances
from ticketcli.metrics.probes import fitted, probes_of
from ticketcli.tensors.seeds import generator


def images(n, *, told, seed):
    """Images of three classes, whose first channel's mean tells the class if `told`."""
    labels = torch.randint(0, 3, (n,), generator=generator(seed, "labels"))
    pixels = torch.randn((n, 3, 4, 4), generator=generator(seed, "pixels"))
    if told:
        pixels[:, 0] += 20 * labels.view(-1, 1, 1)
    return pixels, labels


def split(pixels, labels, size):
    return list(zip(pixels.split(size), labels.split(size), strict=True))


def accuracy(told, *, scale=1.0):
    encoder = Seen(layer1=lambda x: scale * x)
    (probes,) = drained(probes_of([encoder], split(*images(300, told=told, seed=0), 64)))
    pair = Pair(encoder, encoder, probes, probes)
    tested = split(*images(600, told=told, seed=1), 100)
    return drained(feature_distances(pair, tested, seen=lambda batch: batch, what="features"))["layer1"]["probe"]


def test_classes_that_features_tell_apart_are_all_found():
    assert accuracy(told=True) == {"top1": 1.0, "correct": 600, "n": 600}


def test_labels_that_have_nothing_to_do_with_features_are_found_by_chance():
    assert accuracy(told=False)["top1"] == pytest.approx(1 / 3, abs=0.07)


def test_the_scale_of_features_is_no_matter():
    assert accuracy(told=False, scale=1e5) == accuracy(told=False)


def test_each_network_has_its_own_probe():
    sees, blind = Seen(layer1=lambda x: x), Seen(layer1=lambda x: x[:, 1:])
    pixels, labels = images(300, told=True, seed=0)
    ours, theirs = drained(probes_of([blind, sees], split(pixels, labels, 128)))
    means = pixels.mean(dim=(2, 3), dtype=torch.float64)
    assert theirs["layer1"].right(means, labels) == 300
    assert ours["layer1"].right(means[:, 1:], labels) < 200


def test_images_of_one_class_teach_nothing():
    pixels, labels = images(10, told=True, seed=0)
    with pytest.raises(UsageError, match="all of one class"):
        drained(probes_of([Seen(layer1=lambda x: x)], [(pixels, 0 * labels)]))


def test_a_feature_that_never_changes_does_no_harm():
    labels = np.arange(40) % 2
    features = np.stack([labels.astype(np.float64), np.full(40, 7.0)], axis=1)
    probe = fitted(features, labels)
    assert probe.converged
    assert probe.right(torch.from_numpy(features), torch.from_numpy(labels)) == 40
