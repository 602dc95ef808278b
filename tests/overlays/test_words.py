import numpy as np
from PIL import Image

from ticketcli.overlays.canvas import INK
from ticketcli.overlays.words import Words, write_at_boxes

BLUE, YELLOW = (40, 150, 255), (255, 230, 60)


def page(width=200, height=100):
    return Image.new("RGB", (width, height))


def test_words_stand_above_their_box_or_beneath_it_where_there_is_no_room():
    above, beneath = write_at_boxes(
        page(), [Words("cat", "", (10, 50, 60, 90), BLUE), Words("dog", "", (90, 2, 140, 60), BLUE)]
    )
    assert (above[0], above[3]) == (10, 50)
    assert (beneath[0], beneath[1]) == (90, 60)


def test_words_never_lie_over_others_and_the_first_goes_first():
    canvas = page(60, 40)
    plates = write_at_boxes(
        canvas, [Words("cat", "", (0, 0, 60, 40), YELLOW)] + [Words("dog", "", (0, 0, 60, 40), BLUE)] * 9
    )
    assert 1 < len(plates) < 10
    for place, one in enumerate(plates):
        for other in plates[:place]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    assert np.asarray(canvas)[plates[0][1], plates[0][0]].tolist() == list(YELLOW)


def test_words_stay_on_the_page():
    plates = write_at_boxes(page(), [Words("a rather long name", "0.50", (190, 40, 199, 60), BLUE)])
    assert plates[0][2] <= 200


def test_a_long_name_is_cut_and_its_score_is_not():
    short, long = (
        write_at_boxes(page(400), [Words(name, "0.50", (0, 50, 9, 90), BLUE)])[0] for name in ("x", "long " * 20)
    )
    cut = write_at_boxes(page(400), [Words("long " * 20, "", (0, 50, 9, 90), BLUE)])[0]
    assert short[2] < long[2] <= 400 // 3 + 1
    assert cut[2] <= 400 // 3 + 1
    with_score, without = (page(400) for _ in range(2))
    write_at_boxes(with_score, [Words("long " * 20, "0.50", (0, 50, 9, 90), BLUE)])
    write_at_boxes(without, [Words("long " * 20, "", (0, 50, 9, 90), BLUE)])
    assert with_score.tobytes() != without.tobytes()


def test_letters_are_dark_on_light_plates_and_light_on_dark_ones():
    for colour, ink in ((YELLOW, INK), ((120, 20, 20), (255, 255, 255))):
        canvas = page()
        write_at_boxes(canvas, [Words("cat", "", (10, 50, 60, 90), colour)])
        assert (np.asarray(canvas) == ink).all(axis=2).any()


def test_nothing_to_write_is_nothing_drawn():
    assert write_at_boxes(page(), [Words("", "", (10, 50, 60, 90), BLUE)]) == []
