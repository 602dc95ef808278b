"""What leaves a run: packed tickets, ONNX, bundles, and the card beside each."""
