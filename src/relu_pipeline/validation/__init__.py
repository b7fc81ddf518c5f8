"""A report on the raw data: what they are, and what is wrong with them, before anything is trained."""
