from .grammar import TaskGrammar as TaskGrammar
from .webshop import ShopAction as ShopAction
from .webshop import ShopEnding as ShopEnding
from .webshop import ShopPage as ShopPage
from .webshop import webshop_grammar as webshop_grammar
