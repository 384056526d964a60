from .official.reading import iter_products as iter_products
from .stored.writing import verify_catalogue as verify_catalogue
from .stored.writing import write_catalogue as write_catalogue
