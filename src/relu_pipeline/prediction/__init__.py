"""`relu-pipeline predict`: batch prediction on files and tables by a model of `models/`, without torch."""
