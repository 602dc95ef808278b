"""One page for everything that a run found: figures, tables, pictures, and how they were made."""
