"""What the test vectors ask of this implementation, one module per group.

`vector_ops/<group>.py` has `answer(value)`: from the `input` of a case, as read
from JSON, to its `expect`. It is a thin layer over the modules that do the work;
the vectors themselves are made by tools/federation_vectors/<group>.py.
"""
