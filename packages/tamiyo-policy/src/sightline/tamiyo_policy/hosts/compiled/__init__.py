"""Train hosts with compiled kernels, behind the interface of stacked hosts."""
