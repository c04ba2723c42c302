"""Amalgamation: K readings of an image into one map; modules that take K B C H W and give B C H W."""
