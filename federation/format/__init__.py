"""The bytes that hosts exchange: lines, keys, kinds of event, tags, limits.

Nothing here reads a file but ``keyfile``, and nothing imports the packages above:
``log`` keeps the lines, ``exchange`` moves them, ``trust`` decides what they mean.
"""
