"""Promotion of registered models: compare candidate and champion, promote, roll back, pull, trace."""
