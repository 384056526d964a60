"""What decides which chunks a gated agent reads: the page-aware gates, and the scorer that a state steers."""
