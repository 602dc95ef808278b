"""Which weights fall: one file a criterion, one line in the table."""
