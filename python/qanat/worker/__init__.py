"""What runs inside the sandbox: the zygote, and the run of a statement.

There this folder is loaded under the name `qanat_worker`, so its modules import one another relatively. It needs the
standard library and the extension `_worker` only, and never imports the rest of qanat.
"""
