"""Read and write the official WebShop files."""
