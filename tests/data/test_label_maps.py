import numpy as np
import pytest
import torch

from ticketcli.data.instances import Objects, Shown
from ticketcli.data.label_maps import batch_of_maps, boundary_map, category_map
from ticketcli.errors import UsageError


def objects(*drawn, labels=None, crowd=()):
    """Each drawing is one mask; anything but a dot is the object."""
    masks = torch.tensor([[[letter != "." for letter in row] for row in one.split()] for one in drawn]).to(torch.uint8)
    n = len(drawn)
    numbers = torch.tensor(labels if labels is not None else list(range(n)), dtype=torch.int64)
    return Objects(
        torch.zeros(n, 4), numbers, masks, torch.tensor([place in crowd for place in range(n)], dtype=torch.bool)
    )


def nothing(h, w):
    return Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, h, w, dtype=torch.uint8), torch.zeros(0, dtype=torch.bool))  # fmt: skip


def drawn(found):
    assert found.dtype == torch.uint8
    return ["".join("#" if value == 255 else str(value) for value in row) for row in found.tolist()]


SQUARE = "...... .xxxx. .xxxx. .xxxx. ......"


def test_the_boundary_of_an_object_is_its_own_outermost_pixel():
    assert drawn(boundary_map(objects(SQUARE))) == ["000000", "022220", "021120", "022220", "000000"]


def test_diagonal_neighbours_make_no_boundary():
    cross = "..xx.. .xxxx. .xxxx. ..xx.."  # (1, 2) has background at (0, 1) alone
    assert drawn(boundary_map(objects(cross))) == ["002200", "021120", "021120", "002200"]


def test_the_edge_of_the_image_is_no_boundary():
    assert drawn(boundary_map(objects("xxx. xxx. xxx."))) == ["1120"] * 3


def test_touching_objects_have_a_boundary_between_them_on_both_sides():
    assert drawn(boundary_map(objects("xxx... xxx...", "...xxx ...xxx"))) == ["112211"] * 2


def test_of_overlapping_objects_the_smaller_has_the_pixels_wherever_it_stands_in_the_list():
    large, small = "xxxxxx xxxxxx xxxxxx", "...... ..xx.. ......"
    for found in (objects(large, small, labels=[3, 5]), objects(small, large, labels=[5, 3])):
        assert drawn(category_map(found)) == ["444444", "446644", "444444"]
        assert drawn(boundary_map(found)) == ["112211", "122221", "112211"]


def test_of_equally_large_objects_the_later_has_the_pixels():
    assert drawn(category_map(objects("xx.", ".xx"))) == ["122"]


def test_crowds_are_ignored_where_no_object_is():
    found = objects("xxxx..", "..xx..", labels=[0, 1], crowd=[0])
    assert drawn(category_map(found)) == ["##2200"]
    assert drawn(boundary_map(found)) == ["##2200"]


def test_crowds_alone_and_images_without_objects():
    assert drawn(category_map(objects("xx..", crowd=[0]))) == ["##00"]
    assert drawn(boundary_map(nothing(2, 3))) == drawn(category_map(nothing(2, 3))) == ["000"] * 2


def test_labels_up_to_253_have_room_in_a_byte_and_254_has_not():
    assert int(category_map(objects("x", labels=[253])).max()) == 254
    with pytest.raises(UsageError, match="room for 254 classes"):
        category_map(objects("x", labels=[254]))


def test_maps_need_masks():
    found = objects(SQUARE)
    bare = Objects(found.boxes, found.labels, found.masks[:0], found.crowd)
    with pytest.raises(UsageError, match="need the objects' masks"):
        boundary_map(bare)


def shown(*each, canvas=(4, 8)):
    sizes = tuple(tuple(one.masks.shape[1:]) for one in each)
    return Shown(torch.zeros(len(each), 3, *canvas), sizes, each, tuple(range(len(each))))


def test_around_the_images_of_a_batch_everything_is_ignored():
    found = batch_of_maps(shown(objects(".x. ..."), nothing(1, 2)), "category")
    assert found.dtype == torch.int64
    assert drawn(found[0].to(torch.uint8)) == ["010#####", "000#####", "########", "########"]
    assert drawn(found[1].to(torch.uint8)) == ["00######", *["########"] * 3]


def test_label_images_are_shown_as_they_are():
    one = nothing(1, 3)
    numbers = torch.tensor([[9, 0, 255]], dtype=torch.uint8)
    drawn_by_hand = Objects(one.boxes, one.labels, one.masks, one.crowd, numbers)
    assert drawn(batch_of_maps(shown(drawn_by_hand, canvas=(1, 4)), "image")[0].to(torch.uint8)) == ["90##"]
    with pytest.raises(UsageError, match="no label image"):
        batch_of_maps(shown(one), "image")


def test_the_map_says_of_every_pixel_what_a_loop_would():
    random = np.random.default_rng(0)
    masks = torch.from_numpy((random.random((4, 9, 11)) < 0.4).astype(np.uint8))
    found = Objects(torch.zeros(4, 4), torch.tensor([2, 0, 2, 1]), masks, torch.tensor([False] * 3 + [True]))
    areas = masks.flatten(1).sum(1).tolist()
    owner = -np.ones((9, 11), int)
    for place in sorted(range(3), key=lambda place: -areas[place]):
        owner[masks[place].numpy().astype(bool)] = place
    for i in range(9):
        for j in range(11):
            near = [
                owner[a, b] for a, b in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)) if 0 <= a < 9 and 0 <= b < 11
            ]
            background = 255 if masks[3, i, j] else 0
            kind = background if owner[i, j] < 0 else 1 + any(other != owner[i, j] for other in near)
            assert boundary_map(found)[i, j] == kind
            assert category_map(found)[i, j] == (background if owner[i, j] < 0 else 1 + [2, 0, 2][owner[i, j]])
