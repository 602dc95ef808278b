import dataclasses

import pytest
import torch
from torch.nn import functional as F

from tests.stages.small_job import DATA, encoder_input, prune_job, run_prune
from ticketcli.errors import UsageError
from ticketcli.events import Progress
from ticketcli.models.architectures import build_encoder
from ticketcli.models.decoder import build_decoder
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.stages.job import freeze
from ticketcli.stages.objective import Objective
from ticketcli.stages.prune import prune
from ticketcli.store.mask import Mask

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0])


def network(seed=0):
    return build_encoder("resnet_small", n_classes=3, seed=seed).eval()


def objective(**settings):
    model = network()
    decoder = freeze(build_decoder(model, image_size=32, hints=("layer3", "layer4"), width=1.0, seed=0))
    return Objective(PruneConfig.parse(settings, where="prune"), model, decoder, 0.1, freeze(network()))


def rebuilt(made):
    return made.decoder(made.model.taps(IMAGES), t=0.1)


def test_cls_rec_is_equation_11():
    made = objective(**{"lambda": 3.0})
    expected = F.cross_entropy(made.model(IMAGES), LABELS) + 3 * (rebuilt(made) - IMAGES).square().mean()
    assert made(IMAGES, LABELS)["loss"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_cls_is_the_classification_alone():
    assert objective(loss="cls")(IMAGES, LABELS)["loss"].item() == pytest.approx(
        F.cross_entropy(network()(IMAGES), LABELS).item()
    )


def test_rec_is_the_reconstruction_alone_and_never_reads_labels():
    made = objective(loss="rec")
    expected = (rebuilt(made) - IMAGES).square().mean()
    wrong_labels = torch.full((4,), 10**6)
    assert made(IMAGES, wrong_labels)["loss"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_placebo_asks_for_another_image_of_the_batch():
    made = objective(loss="rec", target="placebo")
    others = torch.stack([IMAGES[3], IMAGES[0], IMAGES[1], IMAGES[2]])
    assert made(IMAGES, LABELS)["loss"].item() == pytest.approx(
        (rebuilt(made) - others).square().mean().item(), rel=1e-6
    )


def test_feat_is_zero_at_theta_pre_and_rises_away_from_it():
    made = objective(loss="feat")
    assert made(IMAGES, LABELS)["loss"].item() == 0
    made.model = network(seed=1)
    assert made(IMAGES, LABELS)["loss"].item() > 0.1


def test_feat_counts_every_tap_alike_whatever_its_scale():
    made = objective(loss="feat")
    made.model = network(seed=1)
    wanted, found = made.teacher.taps(IMAGES), made.model.taps(IMAGES)
    expected = [((found[name] - wanted[name]).square().mean() / wanted[name].square().mean()).item() for name in found]
    assert made(IMAGES, LABELS)["loss"].item() == pytest.approx(sum(expected) / len(expected), rel=1e-5)


def test_a_reconstruction_without_a_decoder_is_refused():
    with pytest.raises(UsageError, match="needs a decoder"):
        Objective(PruneConfig(), network(), None, 0.0, None)


@pytest.mark.parametrize("loss", ["rec", "feat"])
def test_pruning_without_labels_runs_on_any_images(loss):
    """Product images: another number of classes than the encoder's head, or none."""
    produced, _ = run_prune(loss=loss, rounds=1, data={**DATA, "classes": [5, 6, 7, 8]})
    assert produced["round-01"].metrics["sparsity"] == pytest.approx(0.2, abs=1e-5)


def test_a_classification_loss_refuses_images_of_other_classes():
    with pytest.raises(UsageError, match="needs the 3 classes of the encoder; these images have 4 classes"):
        next(prune(prune_job(loss="cls", data={**DATA, "classes": [5, 6, 7, 8]})))


def test_the_losses_are_reported_by_name():
    events = [event for event in prune(prune_job(rounds=1)) if isinstance(event, Progress)]
    assert set(events[-1].values) == {"loss", "class", "rec"}


def test_theta_pre_stays_as_it_is_while_feat_prunes():
    source = encoder_input()
    before = {name: value.clone() for name, value in source.values.items()}
    run_prune(loss="feat", rounds=1, inputs={"encoder": dataclasses.replace(source)})
    assert all(torch.equal(value, before[name]) for name, value in source.values.items())


def test_masks_are_measured_on_the_part_that_is_asked_for():
    for split, part in (("validation", "validation"), ("test", "test")):
        produced, _ = run_prune(rounds=1, heal="0it", split=split, **{"lambda": 0})
        metrics = produced["round-01"].metrics
        assert metrics["healed_before"]["n"] == metrics["images"][part]
        assert metrics["unhealed"]["literal"]["n"] == metrics["images"][part]
    assert metrics["images"]["validation"] != metrics["images"]["test"]


def test_a_dense_network_that_was_transferred_is_pruned_on_its_target_like_any_other():
    source = encoder_input()
    moved = dataclasses.replace(source, kind="task", about={**source.about, "task": "classification"})
    settings = {"rounds": 1, "heal": "0it", "lambda": 0}
    expected = run_prune(inputs={"encoder": source}, **settings)[0]["round-01"].outputs[0]
    output = run_prune(inputs={"encoder": moved}, **settings)[0]["round-01"].outputs[0]
    assert output.mask == expected.mask
    assert output.about == expected.about  # a ticket of it is no transferred network


@pytest.mark.parametrize(("changed", "words"), [({"task": "semantic"}, "a network for semantic"), ({}, "a ticket")])
def test_a_ticket_or_a_network_for_pixels_is_not_pruned_again(changed, words):
    source = encoder_input()
    mask = None if changed else Mask.full({"conv1.weight": (16, 3, 3, 3)})
    moved = dataclasses.replace(source, kind="task", about={**source.about, **changed}, mask=mask)
    with pytest.raises(UsageError, match=f"{words}, and pruning begins with a dense classifier"):
        run_prune(inputs={"encoder": moved}, **{"lambda": 0})
