"""Search: where in the photos of a store is this part."""

from shiftless.searching.index import Hit, SearchIndex

__all__ = ["Hit", "SearchIndex"]
