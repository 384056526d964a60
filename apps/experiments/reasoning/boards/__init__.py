"""E4 and E5: search and self-play on boards, against exact truth."""
