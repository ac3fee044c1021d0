"""Ways to a venue outside this process: what is asked of one (``requests``), and how it fails (``errors``)."""
