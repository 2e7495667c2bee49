"""The top-level tables side by side: who has which entry, and who has fallen behind."""
