"""Tables for people, from manifests alone."""
