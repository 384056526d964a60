"""The commands of the program `sightline-webshop`."""
