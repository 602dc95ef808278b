"""Drawings as SVG, from numbers and words alone: no plotting library, no fonts, the same bytes everywhere."""
