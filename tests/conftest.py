from search import environment  # noqa: F401  (Ray's settings count only before the first test imports ray)
