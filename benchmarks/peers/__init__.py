"""The other libraries, one a file.

Each has a class `Peer(threads)` with a `version` and a method for every `Case.op` that it can run, which returns a
`Job`. A library that is not installed raises ImportError and is left out.
"""
