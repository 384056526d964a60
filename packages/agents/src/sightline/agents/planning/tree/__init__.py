"""One Monte Carlo tree search with two executors: in step over many roots, or in plain Python over one."""
