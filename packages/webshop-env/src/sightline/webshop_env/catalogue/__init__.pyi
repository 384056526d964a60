from .catalogue import write_catalogue as write_catalogue
from .injections import Injection as Injection
from .injections import inject as inject
from .injections import obeyed as obeyed
from .official.reading import iter_products as iter_products
