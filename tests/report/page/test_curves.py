from ticketcli.report.page.curves import history


def line(what, done, total, loss):
    return {"event": "progress", "what": what, "done": done, "total": total, "loss": loss}


def test_trainings_follow_each_other_and_each_beginning_is_known():
    lines = [line("round 1/2", 50, 70, 3.0), line("round 1/2", 70, 70, 2.0), {"event": "unit"},
             line("round 2/2", 50, 70, 2.5), line("heal 2/2", 10, 10, 1.0)]  # fmt: skip
    found = history(lines)
    assert found.losses == ((50, 3.0), (70, 2.0), (120, 2.5), (150, 1.0))
    assert found.begins == ((0, "round 1/2"), (70, "round 2/2"), (140, "heal 2/2"))


def test_a_training_of_the_same_name_that_begins_again_is_another():
    found = history([line("transfer", 50, 50, 1.0), line("transfer", 50, 50, 0.5)])
    assert found.begins == ((0, "transfer"), (50, "transfer"))


def test_losses_that_are_no_numbers_are_left_out():
    lines = [line("pretrain", 50, 100, float("nan")), line("pretrain", 100, 100, float("inf"))]
    assert history(lines).losses == ()


def test_measurements_without_a_loss_are_no_training():
    assert history([{"event": "progress", "what": "x", "done": 1, "total": 2}]).begins == ()
