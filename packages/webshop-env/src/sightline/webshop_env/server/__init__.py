"""The shop over HTTP: a JSON API for machines, pages for people, and the adapters' protocols, in one process.

`create_app` makes the application and `sightline-webshop serve` runs it; both
need the extra `server`. `server.sessions` needs nothing but the shop.
"""
