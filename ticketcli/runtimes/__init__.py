"""What networks run in besides training: torch as it is and compiled, ONNX Runtime; and how long each takes."""
