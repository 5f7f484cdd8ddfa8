"""The command line: main.py, and one command_*.py each."""
