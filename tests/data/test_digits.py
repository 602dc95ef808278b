import hashlib

import pytest
import torch

from ticketcli.data.digits import NORMALIZATION
from ticketcli.data.instances import InstanceSet
from ticketcli.data.sets import load_splits
from ticketcli.data.table import DATASETS, is_outlined, terms_of
from ticketcli.errors import UsageError


def digits(classes=None, per_class=None, seed=0):
    return load_splits("digits", classes=classes, per_class=per_class, seed=seed)


def parts(splits):
    return splits.train, splits.validation, splits.test


def test_the_split_never_changes():
    whole = b"".join(part.images.numpy().tobytes() + part.labels.numpy().tobytes() for part in parts(digits()))
    assert hashlib.sha256(whole).hexdigest()[:16] == "ee8659d549e366d7"


def test_the_parts_are_disjoint_and_hold_every_digit():
    seen = [{image.numpy().tobytes() for image in part.images} for part in parts(digits())]
    assert sum(len(part.labels) for part in parts(digits())) == 1797
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]
    assert all(set(part.labels.tolist()) == set(range(10)) for part in parts(digits()))


def test_narrowing_keeps_the_listed_classes_relabelled_in_their_order():
    splits = digits(classes=(9, 5))
    assert splits.train.class_names == ("9", "5")
    nines = digits().train.images[digits().train.labels == 9]
    assert torch.equal(splits.train.images[splits.train.labels == 0], nines)


def test_per_class_narrows_training_only_and_by_seed():
    splits = digits(classes=(5, 6), per_class=20)
    assert torch.bincount(splits.train.labels).tolist() == [20, 20]
    assert len(splits.test.labels) == len(digits(classes=(5, 6)).test.labels)
    assert not torch.equal(splits.train.images, digits(classes=(5, 6), per_class=20, seed=1).train.images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": (10,)}, "no class 10"),
        ({"classes": (1, 1)}, "listed twice"),
        ({"classes": ()}, "there are none"),
        ({"per_class": 500}, "has 107 training images"),
    ],
)
def test_what_the_set_has_not_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        digits(**arguments)


def test_an_unknown_set_is_refused_with_a_suggestion():
    with pytest.raises(UsageError, match="unknown image set 'digit'") as caught:
        load_splits("digit", classes=None, per_class=None, seed=0)
    assert "digits" in caught.value.hint


def test_the_recorded_normalisation_is_that_of_the_training_images():
    images = NORMALIZATION.normalize(digits().train.images)
    assert abs(float(images.mean())) < 0.0005
    assert abs(float(images.std()) - 1) < 0.0005
    assert torch.allclose(
        NORMALIZATION.denormalize(images).permute(0, 2, 3, 1) * 255, digits().train.images.float(), atol=1e-3
    )


def test_every_set_says_its_terms_unless_it_is_the_users_own_or_made_of_another():
    own = [name for name, known in DATASETS.items() if not terms_of(name)]
    assert own == ["folder", "images", "maps"]
    assert terms_of("scenes") == terms_of("digits") == "public (UCI)"
    assert terms_of("scenes:svhn") == terms_of("svhn")
    assert terms_of("a set of former days") == ""


@pytest.mark.parametrize("name", ["digits", "scenes"])
def test_outlined_sets_say_so(name):
    assert isinstance(load_splits(name, images=4).train, InstanceSet) == is_outlined(name)


def test_narrowed_sets_share_the_normalisation_of_the_whole():
    assert digits(classes=(0, 1)).normalization == digits(classes=(8, 9)).normalization == NORMALIZATION


def test_so_many_training_images_are_kept_by_seed():
    one, again, other = (load_splits("digits", images=30, seed=seed).train for seed in (0, 0, 1))
    assert len(one.labels) == 30
    assert torch.equal(one.images, again.images)
    assert not torch.equal(one.images, other.images)
    with pytest.raises(UsageError, match="training images"):
        load_splits("digits", images=10**6)
