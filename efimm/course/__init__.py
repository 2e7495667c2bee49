"""The notebooks as a course: what it is made of, and the ways in which it reaches a reader."""
