"""`python -m ticketcli` is `ticket`."""

from ticketcli.cli.app import main

main()
