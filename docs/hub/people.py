"""Draw the list of people for the hub: `python people.py 40 > people.txt` gives 40 names with a password each."""

import secrets
import sys

if __name__ == "__main__":
    for number in range(1, int(sys.argv[1]) + 1):
        sys.stdout.write(f"person{number:02} {secrets.token_urlsafe(12)}\n")
