"""What `ticket doctor` looks at: the machine, before a run has to find out. Every finding can be acted on."""
