"""What a ticket is transferred to: a file and a line in a table for each kind of target."""
