"""Hosts as stacked tensors: the interface of any way to compute them, and the reference by autograd."""
