"""Cut texts into chunks and encode them as unit vectors."""
