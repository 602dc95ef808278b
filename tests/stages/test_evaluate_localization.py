import pytest
import torch

from tests.drained import drained
from tests.stages.coloured import colour_network, coloured, wanted
from ticketcli.errors import UsageError
from ticketcli.recipe.evaluate_config import EvaluateConfig
from ticketcli.stage import EVALUATE
from ticketcli.stages.evaluate_localization import localization_metrics, measure_localization
from ticketcli.stages.job import Job
from ticketcli.stages.localized_pictures import localized_sheets

SHAPES = [
    [(0, (4, 6, 20, 22))],
    [(1, (22, 10, 44, 36)), (0, (2, 2, 12, 10))],
    [(1, (6, 8, 18, 34))],
    [(0, (20, 2, 46, 18))],
]
LOOKING = ("fr", "fsp", "fsp-unguarded", "gradient", "guided", "gradcam")


def job(batch=512, **settings):
    config = EvaluateConfig.parse({"of": "it", "batch": batch, "localize": {"name": "x", **settings}}, where="evaluate")
    return Job(config, {}, {}, EVALUATE.units(config), None, None, torch.device("cpu"))


def measured(images, *networks, batch=512, **settings):
    order, found = job(batch, **settings), wanted(images)
    rows = drained(measure_localization(order, networks, found))
    refs = ["it", "other"][: len(networks)]
    return rows, localization_metrics(rows, refs, order.config.localize, found, 0)


@pytest.fixture
def images(tmp_path):
    return coloured(tmp_path, *SHAPES)


def test_a_network_that_looks_at_the_objects_finds_them_by_every_method(images):
    _, found = measured(images, colour_network(), methods=[*LOOKING, "centre", "whole"])
    assert found["localization_of"]["rows"] == 5
    assert found["localization_of"]["images"] == 4
    assert found["localization_of"]["classes"] == {"red": 3, "green": 2}
    for method in LOOKING:
        one = found["localization"][method]
        assert (one["gt_error"], one["pointing"], one["iou"]) == (0, 1, 1), method
    assert found["localization"]["whole"]["gt_error"] == 1
    assert found["localization"]["whole"]["iou"] < 0.5
    assert found["localization"]["centre"]["gt_error"] > 0


def test_the_class_of_an_image_with_two_is_right_if_it_is_one_of_them(images):
    _, found = measured(images, colour_network(), methods=["gradient"])
    assert found["localization_of"]["top1"] == 1
    assert found["localization"]["gradient"]["top1_error"] == 0


def test_a_network_that_takes_images_for_another_class_is_wrong_by_top_1_alone(images):
    biased = colour_network()
    with torch.no_grad():
        biased[-1].bias.copy_(torch.tensor([0.0, 5.0]))  # everything is green
    _, found = measured(images, biased, methods=["fr"])
    assert found["localization"]["fr"]["gt_error"] == 0
    assert found["localization"]["fr"]["top1_error"] == 0.5  # of the image with both, green is there
    assert found["localization_of"]["top1"] == 0.5


def test_another_network_is_compared_on_the_same_rows(images):
    blind = colour_network(seen=(1.0, 0.0))  # nothing moves the logit of green: its maps are 0
    _, found = measured(images, blind, colour_network(), methods=["gradient", "centre"])
    one = found["localization"]["gradient"]
    assert one["gt_error"] == 2 / 5
    assert one["beside"]["gt_error"] == 0
    assert one["less"]["gt_error"] == 2 / 5
    assert one["less"]["iou"] < 0
    low, high = one["less"]["gt_error_interval"]
    assert low <= 2 / 5 <= high
    assert "less" not in found["localization"]["centre"], "no network is in it"
    assert found["localization_of"]["beside"] == "other"


def test_gates_are_told_by_layer_and_compared_with_the_other_networks(images):
    _, found = measured(images, colour_network(), colour_network(), methods=["fr", "gradient"])
    one = found["localization"]["fr"]
    assert list(one["open"]) == found["localization_of"]["gates"] == ["1"]
    assert 0 < one["open"]["1"] <= 1
    assert set(one["shared"].values()) == {1.0}
    assert one["score_after"] >= one["score_before"]
    assert "open" not in found["localization"]["gradient"]


def test_settings_of_fsp_fr_reach_its_search(images):
    as_published = {"methods": ["fsp-fr-unguarded"], "sweeps": 1, "ratio": 0.1, "border": True}
    _, found = measured(images, colour_network(), **as_published, fsp_ratio=1.0)
    assert found["localization_of"]["data"]["fsp_ratio"] == 1
    _, other = measured(images, colour_network(), **as_published, fsp_ratio=50.0)  # nothing stays open
    scores = [one["localization"]["fsp-fr-unguarded"]["score_after"] for one in (found, other)]
    assert scores[0] != scores[1]
    with pytest.raises(UsageError, match="no ReLU 'layer9'"):
        measured(images, colour_network(), **as_published, middle="layer9")


def test_the_gates_of_the_network_beside_are_told_as_its_own_evaluation_tells_them(images):
    other = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.ReLU(), colour_network()).eval()
    methods = ["fr", "fsp", "gradient"]
    _, found = measured(images, colour_network(), other, methods=methods)
    _, alone = measured(images, other, methods=methods)
    _, first = measured(images, colour_network(), methods=methods)
    told = ("score_before", "score_after", "sweeps", "converged", "open")
    for method in ("fr", "fsp"):
        one, other_alone = found["localization"][method], alone["localization"][method]
        assert [one["beside"][name] for name in told] == [other_alone[name] for name in told]
        assert {name: one[name] for name in one if name not in ("beside", "less")} == first["localization"][method]
    assert found["localization"]["fr"]["beside"]["open"].keys() == {"1", "2.1"}
    assert not set(told) & found["localization"]["gradient"]["beside"].keys()


def test_networks_of_other_layers_are_compared_without_their_gates(images):
    deeper = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.ReLU(), colour_network()).eval()
    _, found = measured(images, colour_network(), deeper, methods=["fr"])
    assert "shared" not in found["localization"]["fr"]
    assert "gt_error" in found["localization"]["fr"]["less"]


@pytest.mark.parametrize("batch", [1, 3])
def test_how_many_images_are_looked_at_together_changes_nothing(images, batch):
    rows, _ = measured(images, colour_network(), methods=["fr", "fsp", "gradcam"])
    assert measured(images, colour_network(), methods=["fr", "fsp", "gradcam"], batch=batch)[0] == rows


def test_a_threshold_that_is_given_is_that_of_all_rows(images):
    _, found = measured(images, colour_network(), methods=["gradient"], threshold=0.4)
    assert found["localization"]["gradient"]["box_thresholds"] == [0.4]


def test_pointing_is_tolerant_by_a_share_of_the_longer_side(images):
    def pointed(tolerance):
        _, found = measured(images, colour_network(), methods=["centre"], tolerance=tolerance)
        return found["localization"]["centre"]["pointing"]

    assert pointed(1.0) == 1
    assert pointed(0.2) == 4 / 5  # 9.6 of 48 pixels; one object is farther from the centre
    assert pointed(0.0) == 1 / 5


def test_sheets_show_so_many_rows_and_the_same_bytes_each_time(images):
    networks = [("it", colour_network()), ("other", colour_network())]
    order, found = job(methods=["fr", "gradcam", "whole"]), wanted(images)
    rows = drained(measure_localization(order, [network for _, network in networks], found))
    made = [localized_sheets(networks, rows, order.config.localize, found, n, torch.device("cpu")) for n in (3, 3, 100)]
    assert list(made[0]) == ["localized-1.png"]
    assert made[0] == made[1] != made[2]
    assert all(png.startswith(b"\x89PNG") for png in made[2].values())
