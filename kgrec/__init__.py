"""kgrec: a recommender engine whose center is a knowledge graph.

import kgrec
graph = kgrec.open_graph("shop.lbug")
kgrec.load("movielens", into=graph)
model = kgrec.Recommender().fit(graph)
model.recommend(["196"], k=10)
"""

import logging
from importlib.metadata import version

import lazy_loader

__version__ = version("kgrec")

# A public name is imported when it is first used: `import kgrec` is fast and needs no torch. The names are in the .pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

logging.getLogger(__name__).addHandler(logging.NullHandler())
