"""Tables of films: readers, pairs, splits, the drawn phantom set, overview, cache."""
