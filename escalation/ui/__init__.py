"""The front end: pages that explore, simulate, compare, conduct and teach. Every number comes from the engines."""
