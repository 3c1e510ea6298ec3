"""Puts this folder on the import path, so that tests can share the modules that lie in it."""

import torch

# The nets here are tiny: a second thread only waits, and waits long when other programs want the cores.
torch.set_num_threads(1)
