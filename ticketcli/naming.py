"""How files are named whose ending says what they are, to those who read names alone."""

from __future__ import annotations

PACKED = ".ticket.safetensors"  # what `ticket export` packs, and `ticket import` brings back
GATES = ".gates.safetensors"  # what feedback leaves open, image by image
MASK = ".mask.safetensors"
