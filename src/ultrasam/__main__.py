"""`python -m ultrasam`: the command line, as torchrun wants it."""

from ultrasam.cli.main import run

if __name__ == "__main__":
    run()
