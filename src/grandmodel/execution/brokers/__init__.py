"""Ways to a venue outside this process: what is asked of one (``requests``), and a venue to test with (``loopback``)."""
