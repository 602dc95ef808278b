"""What networks weigh, on the page."""

from tests.report.page.test_families import COMPACT, subject
from tests.report.sweep import unit
from ticketcli.report.page.costs import costs
from ticketcli.report.page.masks import Masks
from ticketcli.report.page.section import Shown


def test_a_compact_network_is_weighed_too():
    of = subject(COMPACT, {"small@seed=0": {"compact": unit({"parameters": 250, "macs": 4000})}})
    (table,) = [block for block in costs(of, Masks(of)).blocks if isinstance(block, Shown)]
    assert table.grid.rows[0][:4] == ("small", "compact", "250", "4,000")
