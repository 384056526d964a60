from .langchain import LangChainEncoder as LangChainEncoder
from .langchain import LangChainStore as LangChainStore
from .llama_index import LlamaIndexStore as LlamaIndexStore
