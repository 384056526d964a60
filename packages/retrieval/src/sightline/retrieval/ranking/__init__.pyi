from .diversity import diversified as diversified
from .diversity import maximal_marginal_relevance as maximal_marginal_relevance
from .fusion import reciprocal_rank_fusion as reciprocal_rank_fusion
from .hybrid import HybridHit as HybridHit
from .reranking import CrossEncoderReranker as CrossEncoderReranker
from .reranking import RerankedDocument as RerankedDocument
from .reranking import Reranker as Reranker
from .word_index import WordIndex as WordIndex
