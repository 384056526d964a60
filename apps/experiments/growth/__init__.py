"""The experiment with policies that grow networks, against rules and fixed topologies."""
