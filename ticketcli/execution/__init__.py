"""How a step is run: inputs read, a stage driven, its outputs committed, states saved; on which device, by how many."""
