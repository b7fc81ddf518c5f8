"""Evaluation of the service's drift monitor on artificial distribution shifts."""
