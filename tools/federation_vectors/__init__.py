"""Makes federation/vectors/*.jsonl, the test vectors of the protocol.

One module per group, each with `cases()`; a group's file is what its module
returns, so the same code always writes the same bytes. What is expected is
worked out here, or made by construction, and not copied from the answers of
federation/: a vector that the implementation wrote about itself proves nothing.

    python -m tools.federation_vectors          write all files
    python -m tools.federation_vectors --check  say which are not up to date
"""
