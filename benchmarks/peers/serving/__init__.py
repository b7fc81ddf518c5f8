"""Services of the same graphs, each written as its framework's users would, and what starts and loads them."""
