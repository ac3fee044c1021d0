"""Orders on their way to a venue and back: the simulated exchange, and brokers outside."""
