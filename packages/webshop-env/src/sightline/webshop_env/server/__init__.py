"""The shop over HTTP: a JSON API for machines, pages for people, and the adapters' protocols, in one process.

:func:`sightline.webshop_env.server.app.create_app` makes the application and ``sightline-webshop serve`` runs it; both
need the extra ``server``. :mod:`sightline.webshop_env.server.sessions` needs nothing but the shop.
"""
