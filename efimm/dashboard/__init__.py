"""The pictures as one page for a projector: the notebook, and the server that shows it."""
