"""Find products as Lucene's BM25 would: analysis, index and ranking."""
