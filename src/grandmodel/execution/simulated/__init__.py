"""The simulated exchange: named models for fees, latency, slippage and fills, and the compiled matching."""
