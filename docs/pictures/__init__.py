"""Scripts that make the pictures of docs/ from a finished project: `python -m docs.pictures.NAME PROJECT`."""
