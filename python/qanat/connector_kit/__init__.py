"""The conformance kit of `qanat connector test`: a connector is asked everything a host may ask, and judged.

`kit.examine()` runs the checks, `scaffold.create()` is `qanat connector new`. The kit speaks the protocol by itself,
byte by byte (`talk.py`), so that it hears what a host would not notice; the checks are in `checks_*.py`.
"""
