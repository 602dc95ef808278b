import numpy as np
import torch

from ticketcli.overlays.semantic import GREY, colour_of, coloured, image_miou, legend, semantic_row

NAMES = ("background", "inside", "border")


def test_each_label_has_a_colour_of_its_own_and_ignored_is_grey():
    assert len({colour_of(label) for label in range(256)}) == 256
    assert colour_of(255) == GREY
    assert all(max(colour_of(label)) - min(colour_of(label)) > 15 for label in range(255)), "no other grey"


def test_eighty_classes_are_well_apart():
    colours = np.array([colour_of(label) for label in range(80)], dtype=float)
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=2) + 999 * np.eye(80)
    assert distances.min() > 12


def test_a_label_map_is_enlarged_without_mixing_labels():
    image = np.asarray(coloured(np.array([[0, 255], [1, 2]], dtype=np.uint8), (4, 4)))
    assert image[0, 0].tolist() == list(colour_of(0))
    assert image[1, 3].tolist() == list(GREY)
    assert image[3, 1].tolist() == list(colour_of(1))
    shrunk = np.asarray(coloured(np.tile(np.array([[1, 2]], dtype=np.uint8), (9, 50)), (33, 3)))
    assert {tuple(pixel) for pixel in shrunk.reshape(-1, 3).tolist()} <= {colour_of(1), colour_of(2)}


def test_the_legend_names_what_occurs():
    entries = legend([np.array([[0, 2]]), torch.tensor([[255, 9]])], NAMES)
    assert [entry.text for entry in entries] == ["background", "border", "label 9", "ignored"]
    assert entries[1].style.colour == colour_of(2)
    assert all(entry.filled for entry in entries)


def test_a_row_shows_the_image_the_truth_and_each_prediction():
    wanted = torch.tensor([[0, 1], [1, 255]], dtype=torch.uint8)
    better, worse = torch.tensor([[0, 1], [1, 0]]), torch.tensor([[0, 0], [1, 0]])
    row = semantic_row("image 4", np.full((2, 2, 1), 9, dtype=np.uint8), wanted, (better, worse), 3, 300)
    assert [cell.caption for cell in row.cells] == ["", "", "mean IoU 1.000", "mean IoU 0.500"]
    assert all(cell.image.size == (300, 300) for cell in row.cells)
    assert np.asarray(row.cells[0].image)[0, 0].tolist() == [9, 9, 9]
    assert np.asarray(row.cells[1].image)[299, 299].tolist() == list(GREY)
    assert np.asarray(row.cells[3].image)[0, 299].tolist() == list(colour_of(0))


def test_an_image_of_which_nothing_is_judged_is_no_mistake():
    assert image_miou(np.zeros((2, 2)), np.full((2, 2), 255), 3) == 1
