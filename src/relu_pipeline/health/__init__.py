"""ReLU health: dead units, zero fractions and gradients, measured by hooks without changes to the network."""
