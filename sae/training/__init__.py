"""Training dictionaries: one loop, with the loss and the activation as arguments."""
