"""A room of sixty from one laptop: the course on the local network, and its predictions counted."""
