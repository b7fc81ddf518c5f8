"""Which model of the registry is the champion, and why: promote, roll back, fetch, trace."""
