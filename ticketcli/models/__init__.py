"""Encoders with taps, the decoder, and the table of architectures."""
