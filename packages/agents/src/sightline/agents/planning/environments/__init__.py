"""Planning in text environments: worlds of pages, rewards that are known or learnt, plans and their rivals."""
