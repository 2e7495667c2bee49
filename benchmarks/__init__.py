"""How fast efimm translates addresses and builds tables, beside other people's walkers on the same bytes."""
