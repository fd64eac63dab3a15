"""Everything that is compiled into the core: vector loops, trees, scores; and the checks and merges of their state."""
