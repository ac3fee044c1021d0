"""``python -m grandmodel``: the same as the command ``grandmodel``. Read next: ``grandmodel.cli.main``."""

from grandmodel.cli.main import main

if __name__ == "__main__":
    main()
