"""Files: the one writer, masks, manifests, the run folder, locks."""
