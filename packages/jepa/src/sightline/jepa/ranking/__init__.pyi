from .evaluation import Method as Method
from .evaluation import method_scores as method_scores
from .evaluation import of_fixed_vectors as of_fixed_vectors
from .fusion import SharedWords as SharedWords
from .fusion import fit_lexical_index as fit_lexical_index
from .fusion import with_bm25 as with_bm25
from .lexical import LexicalIndex as LexicalIndex
from .metrics import QueryMetrics as QueryMetrics
