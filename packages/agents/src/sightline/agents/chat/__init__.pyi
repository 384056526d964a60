from .cache import AnswerCache as AnswerCache
from .client import ChatClient as ChatClient
from .config import ChatConfig as ChatConfig
from .ledger import LedgerRow as LedgerRow
from .ledger import LedgerSummary as LedgerSummary
from .ledger import TokenLedger as TokenLedger
from .prices import TokenPrices as TokenPrices
