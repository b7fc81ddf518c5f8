"""`relu-pipeline doctor`: checks of the installation, the project and the machine."""
