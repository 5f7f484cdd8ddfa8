"""What runs inside the sandbox: the standard library and our extension only, and nothing of the rest of qanat.

There the package is loaded by its folder under the name `qanat_worker`, so its modules import one another relatively.
"""
