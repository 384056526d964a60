from .catalogue import write_catalogue as write_catalogue
from .official.reading import iter_products as iter_products
