"""Choose among a page's candidate actions: a local language model, and a scorer of shared words."""
