"""The main picture: blocks of memory, the slots of the table in force, one arrow, and the slider over RAM sizes."""
