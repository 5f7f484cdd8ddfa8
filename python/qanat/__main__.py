"""`python -m qanat`: the same program as `qanat`."""

from qanat.cli.main import main

if __name__ == "__main__":
    main()
