"""One module a stage: generators that read like the paper, and neither read paths nor write files."""
