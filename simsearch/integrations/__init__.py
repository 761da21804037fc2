"""simsearch as other libraries want it. Each module needs the library that it is named after.

::

    simsearch.integrations.langchain     Embeddings and a VectorStore
    simsearch.integrations.llama_index   an embedding and a vector store
    simsearch.integrations.sklearn       a transformer
    simsearch.integrations.mteb          a model to evaluate
    simsearch.integrations.arrow         documents from tables, hits as a table

All of them use an encoder that is loaded once, and an index folder such as ``simsearch build``
makes: what one of them puts in, the command line finds.
"""
