"""A network as the graph of its operations, or an error that names the part where following them ended."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from ticketcli.errors import UsageError


class Follower(fx.Tracer):
    """Remembers in which part it failed."""

    failed = ""

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """As torch's own."""
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:  # whatever it is, it goes on; here is known where it came from
            self.failed = self.failed or self.path_of_module(m)
            raise

    def follow(self, network: nn.Module, what: str, *, instead: str = "") -> fx.Graph:
        """The network's operations; nothing is computed, nothing changes.

        Args:
            network: in any mode.
            what: of the network is followed, for the error.
            instead: what can be done with a network that cannot be followed.

        Raises:
            UsageError: it cannot be followed; names the part where that ended.
        """
        try:
            return self.trace(network)
        except Exception as error:  # whatever the network's own code makes of a tensor without values
            reason = (str(error) or type(error).__name__).splitlines()[0]
            hints = ("which way a network takes must not depend on the values of tensors", instead)
            raise UsageError(
                f"the {what} of this network cannot be followed: {reason}",
                where=self.failed or type(network).__name__, hint="; ".join(filter(None, hints)),
            ) from None  # fmt: skip
