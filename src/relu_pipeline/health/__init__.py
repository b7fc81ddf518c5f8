"""What the ReLUs do: measured by forward hooks, without a change to the network."""
