"""Light. From a recipe to the jobs of a cluster: what they are, their scripts, and the queue they wait in."""
