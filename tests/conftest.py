"""Settings for all tests: no deadlines (machines are noisy), one thread (the nets are tiny)."""

import hypothesis
import torch

hypothesis.settings.register_profile("ticketcli", deadline=None, max_examples=60, derandomize=True)
hypothesis.settings.load_profile("ticketcli")
torch.set_num_threads(1)
