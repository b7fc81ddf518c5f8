"""Services of the same graphs in other frameworks, implemented as in their documentation, and the load test."""
