"""The command line: one file a command. Light; torch is loaded only inside a command that computes."""
