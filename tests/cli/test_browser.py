"""The page in a real browser, where one is installed: every figure is there, nothing is asked for, nothing complains."""

import json
import os
import re
import shutil
import subprocess

import pytest

from tests.cli.command_line import ticket

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
         "--enable-logging=stderr", "--log-level=0")  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser is installed: none of {', '.join(BROWSERS)}")
    return found


@pytest.fixture(scope="module")
def made(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("seen") / "out"
    result = ticket("report", finished.root, "--page", folder)
    assert result.code == 0, result
    return folder


def opened(browser, page, tmp_path, *flags):
    """What the browser makes of a page, and what it says meanwhile."""
    done = subprocess.run(
        [browser, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *flags, page.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


@pytest.mark.slow
def test_a_browser_shows_every_figure_and_its_console_stays_empty(browser, made, tmp_path):
    dom, said = opened(browser, made / "report.html", tmp_path, "--dump-dom")
    (run,) = json.loads((made / "summary.json").read_text())["runs"]
    shown = re.findall(r'<figure id="([^"]+)"', dom)
    assert shown == [figure["name"] for figure in run["figures"]]
    assert dom.count('role="img"') + len(re.findall("<img ", dom)) == len(shown) > 15
    assert not said


@pytest.mark.slow
def test_a_browser_complains_where_something_is_wrong(browser, made, tmp_path):
    """The test above can fail: what is refused by the page's own policy is told on the console."""
    spoilt = tmp_path / "spoilt.html"
    text = (made / "report.html").read_text()
    spoilt.write_text(text.replace("</body>", '<img src="http://localhost:9/x.png" alt=""></body>'))
    _, said = opened(browser, spoilt, tmp_path, "--dump-dom")
    assert said


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_pictures_of_the_page_at_the_width_of_a_phone_and_of_a_desk(browser, made, tmp_path, width):
    """Kept in $TICKET_SCREENSHOTS, if that is set, for people to look at."""
    to = tmp_path / f"page-{width}.png"
    opened(browser, made / "report.html", tmp_path, f"--window-size={width},4000", f"--screenshot={to}")
    assert to.stat().st_size > 20_000
    if keep := os.environ.get("TICKET_SCREENSHOTS"):
        shutil.copy(to, keep)
