"""`relu-pipeline doctor`: what a user needs, checked."""
