"""`relu-pipeline predict`: a model of `models/` on files and tables, without a service and without torch."""
