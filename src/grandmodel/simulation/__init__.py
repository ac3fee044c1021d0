"""The simulated venue (fees, latency, slippage, fills, compiled matching) and the simulated market that it trades."""
