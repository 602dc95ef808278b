"""What a network still sees: gates behind every ReLU that maximise a score, and the maps and boxes that follow."""
