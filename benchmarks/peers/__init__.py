"""Alternatives to the project, implemented as in their documentation."""
