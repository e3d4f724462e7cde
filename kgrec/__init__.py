"""kgrec: a recommender engine on a knowledge graph.

Examples:
    >>> graph = kgrec.open("shop.lbug")
    >>> kgrec.load("movielens", into=graph)
    >>> model = kgrec.Recommender().fit(graph)
    >>> model.recommend(["196"], k=10)
"""

import logging
from importlib.metadata import version

import lazy_loader

__version__ = version("kgrec")

# Public names, listed in the .pyi file, are imported on first use: `import kgrec` is fast and does not load torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__.remove("open")  # `from kgrec import *` leaves Python's own `open` in place

logging.getLogger(__name__).addHandler(logging.NullHandler())
