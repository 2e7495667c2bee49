"""One address through the tables, bit by bit."""
