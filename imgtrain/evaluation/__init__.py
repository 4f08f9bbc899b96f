"""How good the model is: probabilities from the network, and every score from stored predictions."""
