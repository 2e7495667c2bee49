"""For people: the same facts as text, as pictures, and as controls to move."""
