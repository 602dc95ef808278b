"""ticketcli: universal winning tickets from the command line (independent and unofficial)."""

__version__ = "0.1.0"
