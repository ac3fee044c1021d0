"""The engine step and everything around it that makes a run: sequencer, journal, replay, recovery, wiring."""
