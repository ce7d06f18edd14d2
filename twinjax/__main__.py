"""`python -m twinjax`."""

from twinjax.app import main

if __name__ == "__main__":
    main()
