"""Whether the sets of image files that a step opens are still those it was begun with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ticketcli.errors import StaleError
from ticketcli.events import Opened
from ticketcli.store.manifest import Manifest


class OpenedSets:
    """The sets of image files that one step opens: name -> digest of the list of its files, in `found`.

    Args:
        step: its name.
        own: the sets as they were when what is made of the step so far, or its saved state, was made.
        inputs: the records of the steps whose results it takes.
        say: told of a set that has changed since an input was made from it.
    """

    def __init__(
        self, step: str, own: Mapping[str, str], inputs: Iterable[Manifest], say: Callable[[str], None]
    ) -> None:
        self.step, self.own, self.inputs, self.say = step, own, tuple(inputs), say
        self.found: dict[str, str] = {}

    def hear(self, event: Opened) -> None:
        """A set is opened.

        Raises:
            StaleError: its files are not those that the step was begun with.
        """
        first = event.name not in self.found
        self.found[event.name] = event.files
        if self.own.get(event.name, event.files) != event.files:
            raise StaleError(
                f"{event.name} has other files now than when '{self.step}' was begun",
                hint="bring its files back; or make the whole step anew with --resume never",
            )
        for made in self.inputs if first else ():
            if opened_for(made).get(event.name, event.files) != event.files:
                self.say(f"{event.name} has other files now than when '{made.step}' was made of it")


def opened_for(manifest: Manifest) -> dict[str, str]:
    """The sets that a step has opened, as its last unit met them."""
    return {name: files for unit in manifest.units.values() for name, files in unit.opened.items()}
